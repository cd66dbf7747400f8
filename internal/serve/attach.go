package serve

import (
	"context"
	"log/slog"
	"time"

	"github.com/lateen-mesh/lateen/internal/admin"
	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/store"
)

// Source is one more place where services and objects come from. It hands them to the store that it was made with.
type Source interface {
	Run(ctx context.Context) error
	Objects() []config.Object // that the store has taken, sorted
	// TakeSettings tells it the settings of the mesh, as the document or the mesh itself has them, and again whenever they change.
	TakeSettings(mesh.Settings)
}

// Attached says how to make one more source.
type Attached struct {
	Names []string // under which it reports; under each it must, before anything is published
	New   func(Attachment) (Source, error)
}

// Attachment is what a further source is made with.
type Attachment struct {
	Store    *store.Store
	Cache    *cache.Cache
	Kinds    config.Kinds // of the objects that the control plane understands
	Realm    mesh.Realm
	Patience time.Duration // how long it may be silent before what is kept of it counts; 0: as package store says
	Log      *slog.Logger
}

// attach makes the further sources.
func (p *Plane) attach(a Attachment) error {
	for _, attached := range p.config.Attached {
		source, err := attached.New(a)
		if err != nil {
			return err
		}
		p.attached = append(p.attached, source)
	}
	return nil
}

// sources are the names of those that must report, by rank. What runs is told over the API where nothing else tells it.
func (c Config) sources() []string {
	var names []string
	if c.Settings != nil {
		names = append(names, settingsSource)
	}
	if len(c.Paths) > 0 {
		names = append(names, filesSource)
	}
	names = append(names, stateSource)
	if c.awaitsRegistry() {
		names = append(names, admin.RegistrySource)
	}
	return append(names, c.attachedNames()...)
}

func (c Config) attachedNames() []string {
	var names []string
	for _, a := range c.Attached {
		names = append(names, a.Names...)
	}
	return names
}

// awaitsRegistry tells whether somebody must say over the API, or in a file, what runs.
func (c Config) awaitsRegistry() bool { return len(c.Attached) == 0 || c.RegistryFile != "" }
