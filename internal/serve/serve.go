// Package serve is the control plane: it puts sources, store, push engine, xDS server and API together and runs them
// as one.
//
// What comes in: watched files, objects written with commands, and what the one-machine supervisor says runs. What
// goes out: xDS and certificates over mutual TLS, the API on STATE/api.sock, health and metrics on a TCP port. It keeps the
// objects written with commands, in STATE/ca what its certificates are made with, and in STATE/cache what it needs to go on
// after a restart. It may be killed at any time: proxies go on with what they have and come back.
package serve

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/internal/admin"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/dialect/ingress"
	"github.com/lateen-mesh/lateen/internal/dialect/v1alpha2"
	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/peers"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/source/file"
	"github.com/lateen-mesh/lateen/internal/source/state"
	"github.com/lateen-mesh/lateen/internal/store"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// Domain is the DNS suffix of the services of a mesh.
const Domain = "cluster.local"

// Names of the sources, by rank: a watched file wins over an object that was written with a command.
const (
	filesSource = "files"
	stateSource = "state"
)

// readAhead is what each connection with TLS reads ahead, in bytes, and keeps a buffer for. TLS itself reads whole records.
const readAhead = 1 << 10

// writeTogether is what such a connection gathers before it writes, in bytes: a record of TLS. When all proxies connect at the same time
// each has a buffer of that size in use.
const writeTogether = 16 << 10

// Kinds are the kinds of objects that the control plane understands, of a mesh whose services live under [Domain].
func Kinds() config.Kinds { return KindsOf(Domain) }

// KindsOf are the same of a mesh whose services live under another domain.
func KindsOf(domain string) config.Kinds {
	return append(v1alpha2.Kinds(domain), ingress.Kinds(domain)...)
}

// XDSSocket is the path of the socket on which proxies without an identity find the control plane that keeps its state in a
// folder, where it lets them ([Config.PlainXDS]).
func XDSSocket(stateDir string) string { return filepath.Join(stateDir, "xds.sock") }

// Config says how a control plane runs.
type Config struct {
	StateDir string
	Mesh     string   // name of the mesh; "": not known
	Paths    []string // watched files and folders; none: no files
	// RegistryFile holds what runs, as JSON, for a control plane without a supervisor; "": it is told over the API.
	RegistryFile string
	Domain       string     // DNS suffix of the services; "": [Domain]
	Attached     []Attached // further sources
	Namespace    string     // of objects that name none
	// Settings hands over what the place says where the settings of the mesh stand, again whenever that changes, until ctx
	// ends. nil: settings come with the registry.
	Settings      func(ctx context.Context, sink SettingsSink) error
	SettingsPlace string       // where that is, for the log
	Carried       config.Kinds // kinds that may stand in the files but mean nothing here
	Admin         net.Listener // of health and metrics; nil: none. Run closes it
	// Reading is where the reading part of the API is for whoever can connect, without a token; nil: nowhere. Run closes it.
	Reading net.Listener
	// Clusters are names of sources of the store whose objects are kept by the API server of a cluster.
	Clusters []string
	// Secure is where agents get certificates and proxies with one their configuration, over mutual TLS; nil: there are no
	// identities. Run closes it.
	Secure net.Listener
	// PlainXDS is where proxies without an identity get their configuration, as whoever they say that they are; nil: nowhere.
	// Run closes it.
	PlainXDS    net.Listener
	TrustDomain string        // of the identities; "": [Domain]
	CertTTL     time.Duration // how long a workload's certificate holds; 0: a day
	Plugged     ca.Plugged    // the authority's certificates and key; zero: it makes its own
	Shared      Shared        // with other replicas
	Version     string
	Patience    time.Duration // how long sources may be silent before what is kept of them counts; 0: as package store says
	Pause       time.Duration // between two steps of a security handover; 0: as package handover says
	Push        push.Config
	XDS         []grpc.ServerOption // further ones of the servers that proxies and agents reach, by which a test sees what these say
	Log         *slog.Logger
}

// Plane is a control plane.
type Plane struct {
	config    Config
	store     *store.Store
	engine    *push.Engine
	handovers *handover.Runner
	files     *file.Source // nil: no files
	cache     *cache.Cache
	state     *state.Source
	admin     *admin.Server
	ca        *ca.Authority // nil: there are no identities
	attached  []Source
	peers     *peers.Peers // nil: there are no other replicas
	judge     *Judge       // nil: no source says enough of its objects

	registry *mesh.Registry // of the registry file; nil: there is none
	told     *mesh.Settings // that were logged last

	// Of who reads the document with the settings.
	badSettings    bool // it is not good now
	handedSettings bool // the attached sources were told settings
}

// New puts a control plane together. It starts nothing.
func New(c Config) (*Plane, error) {
	socket, err := api.Socket(c.StateDir)
	if err != nil {
		return nil, err
	}
	c.Domain = cmp.Or(c.Domain, Domain)
	c.TrustDomain = cmp.Or(c.TrustDomain, Domain)
	c.CertTTL = cmp.Or(c.CertTTL, ca.DefaultTTL)
	p := &Plane{config: c}
	if c.RegistryFile != "" {
		r, err := readRegistry(c.RegistryFile)
		if err != nil {
			return nil, err
		}
		p.registry = &r
	}
	own, realm := KindsOf(c.Domain), mesh.Realm{Domain: c.Domain, TrustDomain: c.TrustDomain, CertTTL: mesh.Duration(c.CertTTL)}
	kinds := append(slices.Clone(own), c.Carried...)
	p.cache, err = cache.Open(cache.Config{Dir: filepath.Join(c.StateDir, "cache"), Mesh: c.Mesh, Log: c.Log})
	if err != nil {
		return nil, err
	}
	p.engine = push.NewEngine(p.pushConfig())
	p.store = store.New(store.Config{
		Kinds: kinds, Domain: c.Domain, Realm: realm, Sources: c.sources(), Last: p.cache, Stances: c.Shared.Stances,
		Patience: c.Patience, Publish: p.publish, Log: c.Log,
	})
	if err := p.attach(Attachment{Store: p.store, Cache: p.cache, Kinds: own, Realm: realm, Patience: c.Patience, Log: c.Log}); err != nil {
		return nil, err
	}
	p.newJudge()
	p.handovers = handover.New(p.withPeers(handover.Config{Store: p.store, Proxies: p.engine, Pause: c.Pause, Log: c.Log}))
	if len(c.Paths) > 0 {
		if p.files, err = file.New(p.fileConfig(kinds)); err != nil {
			return nil, err
		}
	}
	p.state, err = state.Open(state.Config{
		Dir: filepath.Join(c.StateDir, "objects"), Kinds: own, Log: c.Log,
		Sink: func(ctx context.Context, objects []config.Object, problems []mesh.Problem) (int64, error) {
			return p.store.SetObjects(ctx, stateSource, objects, problems)
		},
		Edit: func(ctx context.Context, written []config.Object, deleted []mesh.Ref) (int64, error) {
			return p.store.EditObjects(ctx, stateSource, written, deleted)
		},
	})
	if err != nil {
		return nil, err
	}
	if c.Secure != nil {
		p.ca, err = ca.Open(ca.Config{
			State: c.StateDir, TrustDomain: c.TrustDomain, TTL: c.CertTTL, Plugged: c.Plugged, Storage: c.Shared.Root, Known: p.known, Log: c.Log,
		})
		if err != nil {
			return nil, err
		}
	}
	gate := admin.Gate{}
	if c.Admin != nil {
		if gate, err = openGate(c.StateDir); err != nil {
			return nil, err
		}
	}
	p.admin = admin.New(admin.Config{
		Socket: socket, Listener: c.Admin, Version: c.Version, Mesh: c.Mesh, Kinds: own, Objects: p.state, Files: p.filesOrNil(),
		Reading: c.Reading, Clusters: c.Clusters,
		Store: p.store, Registry: p.store, Proxies: p.engine, Handovers: p.handovers, Watch: p.engine, Explain: p.engine, Work: p.engine,
		Replica: c.Shared.Replica, Peers: p.peersOrNil(),
		Authority: p.authority(), Secure: addressOf(c.Secure), Metrics: p.metrics(), Await: awaitHint(socket), Gate: gate, Log: c.Log,
	})
	return p, nil
}

// Parts of the cache: what proxies have asked for, and what they have refused.
const (
	usesPart    = "uses"
	refusedPart = "refused"
)

// pushConfig returns the configuration of the push engine, with what its predecessor has learned.
func (p *Plane) pushConfig() push.Config {
	c := p.config.Push
	c.Log = p.config.Log
	c.Reaches = len(p.config.Clusters) > 0
	c.Learned = func() { p.cache.Keep(usesPart, func() any { return p.engine.Uses() }) }
	c.Refused = func() { p.cache.Keep(refusedPart, func() any { return p.engine.Rejected() }) }
	if _, err := p.cache.Load(refusedPart, &c.Rejected); err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.config.Log.Warn("what proxies have refused is not known any more", "err", err)
		c.Rejected = nil
	}
	if _, err := p.cache.Load(usesPart, &c.Uses); err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.config.Log.Warn("what proxies have asked for is not known any more", "err", err)
		c.Uses = nil
	}
	return c
}

func (p *Plane) fileConfig(kinds config.Kinds) file.Config {
	return file.Config{
		Paths: p.config.Paths, Namespace: p.config.Namespace, Log: p.config.Log,
		Check: func(o *config.Object) []mesh.Problem { _, problems := kinds.Read(o); return problems },
		Cache: p.cache, Keeps: mayBeKept(), Mended: p.mended,
		Sink: func(ctx context.Context, objects []config.Object, problems []mesh.Problem) error {
			problems = slices.DeleteFunc(problems, func(problem mesh.Problem) bool { return p.carries(problem.Object.Kind) })
			_, err := p.store.SetObjects(ctx, filesSource, objects, problems)
			return err
		},
	}
}

// carries tells whether objects of a kind may stand in the files and mean nothing here: what is wrong with them is told by
// whom they mean something to.
func (p *Plane) carries(kind string) bool {
	return slices.ContainsFunc(p.config.Carried, func(k config.Kind) bool { return k.Name == kind })
}

// mended says that something is good again, where it was said that it is wrong.
func (p *Plane) mended(o mesh.Ref, file string) {
	what := o.String()
	if o.IsZero() {
		what = file
	}
	if !p.carries(o.Kind) {
		p.config.Log.Warn("mended", "object", what, "problem", what+" is good again")
	}
}

// mayBeKept returns what tells whether an object may be written to the cache: one that steers traffic, and holds no
// secret.
func mayBeKept() func(*config.Object) bool {
	kinds := Kinds()
	return func(o *config.Object) bool {
		kind := kinds.Find(o.APIVersion, o.Kind)
		return kind != nil && !kind.Confidential
	}
}

// awaitHint says how to tell the control plane what runs.
func awaitHint(socket string) string {
	return "`lateen up` tells it, or `lateen serve --registry FILE`, or PUT /v1/registry on " + socket
}

// publish hands a snapshot to the push engine, and to who waits for it to be confirmed.
func (p *Plane) publish(s *mesh.Snapshot, keys []mesh.Key) {
	p.tellSettings(s.Settings())
	p.engine.Apply(s, keys)
	p.handovers.Published()
}

// filesOrNil returns no interface where there is no source, since an interface of a nil pointer is not nil.
func (p *Plane) filesOrNil() admin.Files {
	if p.files == nil {
		return nil
	}
	return p.files
}

// Engine returns the push engine, for tests that look at its counters.
func (p *Plane) Engine() *push.Engine { return p.engine }

// authority returns no interface where there is no authority, since an interface of a nil pointer is not nil.
func (p *Plane) authority() admin.Authority {
	if p.ca == nil {
		return nil
	}
	return p.ca
}

// Run runs the control plane until ctx ends or a part of it fails.
func (p *Plane) Run(ctx context.Context) (err error) {
	if p.ca != nil {
		defer func() { err = errors.Join(err, p.ca.Close()) }()
	}
	defer p.keep(ctx)()
	group, ctx := errgroup.WithContext(ctx)
	if p.config.PlainXDS != nil {
		serveXDS(ctx, group, p.config.PlainXDS, xds.NewServer(p.engine.Open, ctx.Done(), 0, p.config.XDS...))
	}
	if p.ca != nil {
		// A stream that begins with a certificate that was renewed in time, at half of its life, ends before that does. One that
		// begins late, since it could not be renewed, ends half a life after its beginning: the certificate may end meanwhile.
		certificates := ca.NewService(p.ca, p.ca.Attestor(p.config.Shared.Attestors...))
		door := ca.NewDoor(certificates, hostsOf(p.config.Secure)...)
		group.Go(func() error { return door.Run(ctx) })
		if p.peers != nil {
			group.Go(func() error { return p.peers.Serve(ctx, door.Replicas()) })
			group.Go(func() error { return p.peers.Run(ctx) })
		} else if err := door.Replicas().Close(); err != nil { // there are no others: who says so is refused
			return err
		}
		server := xds.NewServer(p.engine.Open, ctx.Done(), p.config.CertTTL/2, append([]grpc.ServerOption{
			grpc.Creds(door.Credentials()), grpc.ReadBufferSize(readAhead), grpc.WriteBufferSize(writeTogether), grpc.ConnectionTimeout(ca.HandshakeBound),
		}, p.config.XDS...)...)
		certificates.Register(server)
		serveXDS(ctx, group, door.Listen(p.config.Secure), server)
		group.Go(func() error { return p.ca.Run(ctx) })
	}
	if run := p.config.Shared.Run; run != nil {
		group.Go(func() error { return run(ctx) })
	}
	group.Go(func() error { return p.store.Run(ctx) })
	group.Go(func() error { return p.handovers.Run(ctx) })
	group.Go(func() error { return p.state.Run(ctx) })
	group.Go(func() error { return p.admin.Run(ctx) })
	if p.files != nil {
		group.Go(func() error { return p.files.Run(ctx) })
	}
	if p.config.Settings != nil {
		group.Go(func() error { return p.config.Settings(ctx, p.takeSettings) })
	}
	if p.registry != nil {
		group.Go(func() error { return p.handRegistry(ctx) })
	}
	for _, source := range p.attached {
		if p.config.Settings == nil {
			source.TakeSettings(mesh.DefaultSettings)
		}
		group.Go(func() error { return source.Run(ctx) })
	}
	p.tellStart()
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// serveXDS serves a listener until ctx ends.
func serveXDS(ctx context.Context, group *errgroup.Group, listener net.Listener, server *grpc.Server) {
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) { // stopped before it began
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		server.Stop()
		return nil
	})
}

// hostsOf returns the names under which clients that look at names find a listener.
func hostsOf(l net.Listener) []string {
	hosts := []string{"lateen", "localhost", mesh.SystemName + "." + mesh.SystemNamespace + ".svc"}
	if address, err := netip.ParseAddrPort(l.Addr().String()); err == nil && !address.Addr().IsUnspecified() {
		hosts = append(hosts, address.Addr().String())
	}
	return hosts
}

// keep has what is known kept for a restart, until the returned function is called, which saves what is left to save.
func (p *Plane) keep(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- p.cache.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			p.config.Log.Warn("what is known is not kept for a restart", "err", err)
		}
	}
}
