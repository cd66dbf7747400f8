// Package admin serves what people and programs ask the control plane: the API of package api on a Unix socket, and
// health and metrics on a TCP port.
//
// What comes in: HTTP requests. What goes out: answers in the forms of package api. Requests to write objects are
// checked whole before anything is stored: an object with an error is not written, and every other one is. Whoever may
// open the socket (mode 0600) may do everything. On the TCP port nothing can be changed: health, metrics and counts are for
// everybody on the machine, and debug pages, profiles and the reading part of the API for who shows a token ([Gate]).
//
// It promises that bodies, answers and waiting are bounded, and that every refusal says what was wrong. It holds no
// state: what it is asked for is known by the parts in its [Config].
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/explain"
	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/places"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/source/state"
	"github.com/lateen-mesh/lateen/internal/store"
	"github.com/lateen-mesh/lateen/internal/unixsocket"
)

// Store is what is known of the mesh.
type Store interface {
	Snapshot() *mesh.Snapshot
	Objects() []store.Stored // that hold their names
	Problems() []mesh.Problem
	Missing() []string    // sources that have not reported yet
	Stale() []store.Stale // those that have not either, and whose last registry counts
}

// Registry takes what the one-machine supervisor says runs.
type Registry interface {
	SetRegistry(ctx context.Context, source string, r mesh.Registry) (revision int64, err error)
	EditRegistry(ctx context.Context, source string, e mesh.RegistryEdit) (revision int64, err error)
}

// Files holds the objects that belong to watched files.
type Files interface {
	Objects() []config.Object
}

// Proxies are the connected proxies.
type Proxies interface {
	Connected() []push.Connected
	Problems() []mesh.Problem // what they refuse
	Uses() []push.Use         // what their next replicas are given
	NextIsGiven(proxy mesh.ProxyID) []string
	Progress(ctx context.Context, revision int64, wait time.Duration) push.Progress
}

// Handovers tell which hosts are on their way from one way of securing their ports to another.
type Handovers interface {
	Moving() []handover.Moving
	// Await waits until those are where they are wanted that a revision moves, and returns those that are not.
	Await(ctx context.Context, revision int64, wait time.Duration) []handover.Moving
}

// Watcher tells how the proxies are, and waits for that to change.
type Watcher interface {
	Look(ctx context.Context) []push.Connected
	Absent() []push.Absent
	// Strangers lists those that wait since nobody knows their workload.
	Strangers() []push.Stranger
	// SecuredSince tells when how the ports of a host are secured changed last; zero: not known.
	SecuredSince(h mesh.Host) time.Time
	Travels(after int64) (list []push.Travel, newest int64)
	Changed(ctx context.Context, cursor string, wait time.Duration) string
}

// Explainer shows what proxies are sent, the stages of the pipeline that lead there, and what comes of them for a request.
type Explainer interface {
	Resolve(name string) (mesh.ProxyID, error)
	Sent(ctx context.Context, proxy mesh.ProxyID) ([]push.Sent, error)
	Explain(proxy mesh.ProxyID, resource, stage string) (text string, err error)
	Decide(proxy mesh.ProxyID, r explain.Request) (push.Decided, error)
}

// Authority gives workloads their certificates, and tokens with which they ask for the first one.
type Authority interface {
	Status() ca.Status
	Bundle() identity.Bundle
	Tokens() *attest.Tokens
}

// Config is what a Server is made with.
type Config struct {
	Socket   string       // path of the API's Unix socket
	Listener net.Listener // of health and metrics; nil: none
	// Reading is where the reading part of the API is for whoever can connect; nil: nowhere.
	Reading   net.Listener
	Version   string // of this program
	Mesh      string // name of the mesh; "": not known
	Kinds     config.Kinds
	Objects   *state.Source
	Files     Files    // nil: none
	Clusters  []string // names of sources of the store whose objects are kept by the API server of a cluster
	Store     Store
	Registry  Registry
	Proxies   Proxies
	Handovers Handovers
	Watch     Watcher
	Explain   Explainer
	Work      Work
	Replica   string // name of this one; "": it has none
	Peers     Peers  // nil: there are none
	// Authority gives workloads their certificates; nil: there are no identities.
	Authority Authority
	Secure    string // HOST:PORT where workloads ask it
	Metrics   prometheus.Gatherer
	Await     string // how to tell the control plane what runs
	Gate      Gate   // of the pages on the listener that are not for everybody
	Log       *slog.Logger
}

// RegistrySource is the name of the source under which the store knows what PUT and PATCH
// /v1/registry say.
const RegistrySource = "local"

// Bounds of a connection.
const (
	maxBody      = 8 << 20
	maxHeader    = 64 << 10
	readTimeout  = 30 * time.Second // of a header, and of a body
	writeTimeout = time.Minute      // beyond what a request waits on purpose
	idleTimeout  = 2 * time.Minute
	stopTimeout  = 5 * time.Second // that answers in flight have to end

	// mostConnections bounds those at one port: in a pod the whole cluster can make them. Further ones wait.
	mostConnections = 4096
	// eachConnections bounds those from one address. Further ones are closed.
	eachConnections = 64
)

// Server serves both.
type Server struct {
	config Config
}

// New returns a server.
func New(c Config) *Server { return &Server{config: c} }

// Run serves until the context ends. Then no new request is taken, and those in flight are answered.
func (s *Server) Run(ctx context.Context) error {
	socket, err := unixsocket.Listen(ctx, s.config.Socket)
	if inUse, ok := errors.AsType[*unixsocket.InUse](err); ok {
		return &api.Error{
			Message: "another control plane serves on " + inUse.Path,
			Hint:    "give this one a state folder of its own with --state-dir",
		}
	}
	if err != nil {
		return fmt.Errorf("serve the API: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serve(ctx, socket, s.own(), s.config.Log) })
	if s.config.Listener != nil {
		group.Go(func() error { return serve(ctx, bounded(s.config.Listener), s.health(), s.config.Log) })
	}
	if s.config.Reading != nil {
		group.Go(func() error { return serve(ctx, bounded(s.config.Reading), s.reading(), s.config.Log) })
	}
	return group.Wait()
}

// hasty bounds how long a body takes, in whatever request it is. A deadline for reading where there is none would end a request
// that waits, even when everything was read: net/http goes on reading to see when the client leaves.
func hasty(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout)) // connections know it
		}
		h.ServeHTTP(w, r)
	})
}

func bounded(l net.Listener) net.Listener { return places.Listen(l, mostConnections, eachConnections) }

// serve answers requests until the context ends. Requests that wait are told through their context.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler:           hasty(handler),
		ReadHeaderTimeout: readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err := server.Shutdown(stop)
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("stop serving %s: %w", listener.Addr(), errors.Join(err, server.Close()))
	}
	return nil
}
