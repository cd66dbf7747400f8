// Package serve is the control plane: it puts sources, store, push engine, xDS server and API together and runs them
// as one.
//
// What comes in: watched files, objects written with commands, and what the one-machine supervisor says runs. What
// goes out: xDS on STATE/xds.sock, the API on STATE/api.sock, health and metrics on a TCP port. It keeps the objects
// written with commands, and in STATE/cache what it needs to go on after a restart. It may be killed at any time: proxies
// go on with what they have and come back.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/internal/admin"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/dialect/ingress"
	"github.com/lateen-mesh/lateen/internal/dialect/v1alpha2"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/source/file"
	"github.com/lateen-mesh/lateen/internal/source/state"
	"github.com/lateen-mesh/lateen/internal/store"
	"github.com/lateen-mesh/lateen/internal/unixsocket"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// Domain is the DNS suffix of the services of a mesh.
const Domain = "cluster.local"

// Names of the sources, by rank: a watched file wins over an object that was written with a command.
const (
	filesSource = "files"
	stateSource = "state"
)

// Kinds are the kinds of objects that the control plane understands.
func Kinds() config.Kinds { return append(v1alpha2.Kinds(Domain), ingress.Kinds(Domain)...) }

// XDSSocket is the path of the socket on which proxies find the control plane that keeps its state in a folder.
func XDSSocket(stateDir string) string { return filepath.Join(stateDir, "xds.sock") }

// Config says how a control plane runs.
type Config struct {
	StateDir string
	Mesh     string   // name of the mesh; "": not known
	Paths    []string // watched files and folders; none: no files
	// RegistryFile holds what runs, as JSON, for a control plane without a supervisor; "": it is told over the API.
	RegistryFile string
	Namespace    string       // of objects that name none
	Carried      config.Kinds // kinds that may stand in the files but mean nothing here
	Admin        net.Listener // of health and metrics; nil: none. Run closes it
	Version      string
	Patience     time.Duration // how long sources may be silent before what is kept of them counts; 0: as package store says
	Push         push.Config
	Log          *slog.Logger
}

// Plane is a control plane.
type Plane struct {
	config Config
	store  *store.Store
	engine *push.Engine
	files  *file.Source // nil: no files
	cache  *cache.Cache
	state  *state.Source
	admin  *admin.Server

	registry *mesh.Registry // of the registry file; nil: there is none
	told     *mesh.Settings // that were logged last
}

// New puts a control plane together. It starts nothing.
func New(c Config) (*Plane, error) {
	socket, err := api.Socket(c.StateDir)
	if err != nil {
		return nil, err
	}
	p := &Plane{config: c}
	if c.RegistryFile != "" {
		r, err := readRegistry(c.RegistryFile)
		if err != nil {
			return nil, err
		}
		p.registry = &r
	}
	kinds := append(Kinds(), c.Carried...)
	sources := []string{stateSource, admin.RegistrySource}
	if len(c.Paths) > 0 {
		sources = append([]string{filesSource}, sources...)
	}
	p.cache, err = cache.Open(cache.Config{Dir: filepath.Join(c.StateDir, "cache"), Mesh: c.Mesh, Log: c.Log})
	if err != nil {
		return nil, err
	}
	p.engine = push.NewEngine(p.pushConfig())
	p.store = store.New(store.Config{
		Kinds: kinds, Domain: Domain, Sources: sources, Last: p.cache, Patience: c.Patience, Publish: p.publish, Log: c.Log,
	})
	if len(c.Paths) > 0 {
		if p.files, err = file.New(p.fileConfig(kinds)); err != nil {
			return nil, err
		}
	}
	p.state, err = state.Open(state.Config{
		Dir: filepath.Join(c.StateDir, "objects"), Kinds: Kinds(), Log: c.Log,
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
	gate := admin.Gate{}
	if c.Admin != nil {
		if gate, err = openGate(c.StateDir); err != nil {
			return nil, err
		}
	}
	p.admin = admin.New(admin.Config{
		Socket: socket, Listener: c.Admin, Version: c.Version, Mesh: c.Mesh, Kinds: Kinds(), Objects: p.state, Files: p.filesOrNil(),
		Store: p.store, Registry: p.store, Proxies: p.engine, Watch: p.engine, Explain: p.engine, Work: p.engine,
		Metrics: p.metrics(), Await: awaitHint(socket), Gate: gate, Log: c.Log,
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

// publish hands a snapshot to the push engine.
func (p *Plane) publish(s *mesh.Snapshot, keys []mesh.Key) {
	p.tellSettings(s.Settings())
	p.engine.Apply(s, keys)
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

// Run runs the control plane until ctx ends or a part of it fails.
func (p *Plane) Run(ctx context.Context) error {
	socket, err := unixsocket.Listen(ctx, XDSSocket(p.config.StateDir))
	if err != nil {
		return fmt.Errorf("listen for proxies: %w", err)
	}
	defer p.keep(ctx)()
	group, ctx := errgroup.WithContext(ctx)
	server := xds.NewServer(p.engine.Open, ctx.Done(), 0)
	group.Go(func() error {
		if err := server.Serve(socket); !errors.Is(err, grpc.ErrServerStopped) { // stopped before it began
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		server.Stop()
		return nil
	})
	group.Go(func() error { return p.store.Run(ctx) })
	group.Go(func() error { return p.state.Run(ctx) })
	group.Go(func() error { return p.admin.Run(ctx) })
	if p.files != nil {
		group.Go(func() error { return p.files.Run(ctx) })
	}
	if p.registry != nil {
		group.Go(func() error { return p.handRegistry(ctx) })
	}
	p.tellStart()
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
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
