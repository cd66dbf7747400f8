// Package kube is the source of what a Kubernetes cluster knows: services, their endpoints and pods with a proxy as a registry, and
// Ingress objects and objects of the config dialects as they are.
//
// What comes in: lists and watches of an API server. What goes out, to a [Sink]: everything once it is known, then what changes. Of
// each object only the fields are kept that count; one that says the same as before is nobody's business, so that whatever the
// API server sends again after an absence changes nothing. Objects are read without a schema: a bad one is a problem of its own.
//
// It promises that a kind which is not installed or may not be read is a problem and nothing else, and counts as soon as it can be
// read. While the API server is away, what it said last stays; after a start without it the objects count that were kept from the
// time before ([Config.Cache]), and of the registry what the sink has kept. Nothing is removed until the API server has said so.
//
// An endpoint whose pod is not known yet is none: nobody could tell how to call it. Of two pods with one address the newest has it.
// Of Secrets those are read, each by its name, that hold a certificate and that an Ingress names which counts, within bounds; one that is
// broken is known by what it held before, and one that cannot be read holds up nothing.
package kube

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Names under which a source hands over what it knows. All have to report before everything is known; the last does when it was
// told the settings of the mesh ([Source.TakeSettings]).
const (
	RegistryName = "kubernetes"         // services, endpoints and workloads
	ObjectsName  = "kubernetes-objects" // objects, and what is wrong with reading the cluster
	SecretsName  = "kubernetes-secrets" // certificates that Ingress objects name
)

// Sink takes what the source knows, under one of its names.
type Sink interface {
	SetRegistry(ctx context.Context, source string, r mesh.Registry) (revision int64, err error)
	EditRegistry(ctx context.Context, source string, e mesh.RegistryEdit) (revision int64, err error)
	SetObjects(ctx context.Context, source string, objects []config.Object, problems []mesh.Problem) (revision int64, err error)
	EditObjects(ctx context.Context, source string, objects []config.Object, removed []mesh.Ref) (revision int64, err error)
}

// Config is what a Source is made with.
type Config struct {
	Client     *rest.Config // how to reach the API server
	Namespaces []string     // whose services and objects count; none: all
	Realm      mesh.Realm   // domain of the services, trust domain of the identities
	// Kinds are the objects that are read, but for those that hold secrets.
	Kinds    config.Kinds
	Sink     Sink
	Cache    *cache.Cache  // where objects are kept for a start without the API server; nil: nowhere
	Patience time.Duration // how long to wait for the API server before what is kept counts; 0: 10 s
	Log      *slog.Logger
}

const defaultPatience = 10 * time.Second

// Source reads a cluster.
type Source struct {
	config  Config
	clients clients
	kinds   []*kind

	registryAwake chan struct{} // has a value when there may be something new
	objectsAwake  chan struct{}
	secretsAwake  chan struct{}

	mu      sync.Mutex
	model   *model
	objects *objects
	secrets secrets
	states  []*state
	away    time.Time // since when the API server does not answer; zero: it does
	told    bool      // that it does not

	logged map[mesh.Problem]bool // problems of services, of the goroutine that hands over what runs
}

// New returns a source. It asks nobody yet.
func New(c Config) (*Source, error) {
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	s := &Source{
		config: c, registryAwake: make(chan struct{}, 1), objectsAwake: make(chan struct{}, 1),
		secretsAwake: make(chan struct{}, 1), secrets: secrets{dirty: true, watched: map[name]*secret{}, lists: make(chan struct{}, secretLists)},
		model: newModel(c.Realm), objects: newObjects(),
	}
	s.model.part = len(c.Namespaces) > 0
	var err error
	if s.clients, err = newClients(c.Client); err != nil {
		return nil, err
	}
	s.kinds = append(s.coreKinds(), s.objectKinds()...)
	return s, nil
}

// Run reads the cluster until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	s.remember()
	group, ctx := errgroup.WithContext(ctx)
	for _, k := range s.kinds {
		for _, f := range s.feeds(k) {
			group.Go(func() error { f.run(ctx); return nil })
		}
	}
	group.Go(func() error { s.tellRegistry(ctx); return nil })
	group.Go(func() error { s.tellObjects(ctx); return nil })
	group.Go(func() error { s.tellSecrets(ctx); return nil })
	return group.Wait()
}

// wake has somebody look.
func wake(who chan struct{}) {
	select {
	case who <- struct{}{}:
	default: // it will look anyway
	}
}

// tellRegistry hands over what runs, and what changes of it, until ctx ends. What changes while something is being handed over is
// handed over together.
func (s *Source) tellRegistry(ctx context.Context) {
	whole, pause := true, firstPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.registryAwake:
		}
		s.mu.Lock()
		ready := s.complete(false)
		var edit *mesh.RegistryEdit
		var all mesh.Registry
		if ready {
			edit = s.model.edit()
			if whole {
				all = s.model.whole()
			}
		}
		s.mu.Unlock()
		var err error
		switch {
		case !ready:
			continue
		case whole:
			s.logged = s.tellProblems(s.logged, all.Problems)
			_, err = s.config.Sink.SetRegistry(ctx, RegistryName, all)
		case edit != nil:
			s.logged = s.tellProblems(s.logged, edit.Problems)
			_, err = s.config.Sink.EditRegistry(ctx, RegistryName, *edit)
		}
		if whole = err != nil; whole && ctx.Err() == nil {
			s.config.Log.Warn("what runs could not be handed over", "err", err)
			doze(ctx, &pause)
			wake(s.registryAwake)
		} else {
			pause = firstPause
		}
	}
}
