// Package state is the source of the objects that are written with commands: it keeps them in the mesh's state folder.
//
// What comes in: objects that were parsed and checked, to be created, replaced, applied or deleted. What goes out: all
// objects, handed to a [Sink] whenever one changes. Each object is a YAML file of its own,
// PLURAL/NAMESPACE/NAME.yaml, with its comments, and with a metadata.resourceVersion from one counter for the whole
// mesh that never goes back, so that who replaces an object can tell whether it is still the one that was read.
//
// It promises that a file is there whole or not at all, also after a crash, and that no name leads out of the folder.
// A file that it cannot read is told as a problem and otherwise left alone. It checks no specs, and it expects to be
// the only one who writes in the folder.
package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Sink takes everything that a source knows, and returns the revision of the snapshot that holds it.
type Sink func(ctx context.Context, objects []config.Object, problems []mesh.Problem) (revision int64, err error)

// Config is what a Source is made with.
type Config struct {
	Dir   string       // made if need be
	Kinds config.Kinds // of the objects that may be written
	Sink  Sink
	// Edit takes only what changed since everything was handed over: objects that were written, and the names of those
	// that were deleted; the problems are the same. nil: Sink takes everything each time.
	Edit func(ctx context.Context, written []config.Object, deleted []mesh.Ref) (revision int64, err error)
	Log  *slog.Logger
}

// Stored is an object as it is kept.
type Stored struct {
	config.Object
	Version int64 // its resourceVersion
}

// Source keeps objects in a folder. Its methods may be called from any goroutine.
type Source struct {
	config Config
	folder *folder

	mu       sync.Mutex
	objects  map[mesh.Ref]Stored
	problems []mesh.Problem // of files that could not be read
	version  int64          // the highest ever given
	revision int64          // of the snapshot that holds the objects
	complete bool           // all objects and problems, and each change since, were handed over
}

// Open reads the objects in the folder.
func Open(c Config) (*Source, error) {
	opened, err := disk.Open(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("folder of objects: %w", err)
	}
	s := &Source{config: c, folder: &folder{disk: opened, kinds: c.Kinds}}
	if s.objects, s.problems, err = s.folder.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("folder of objects: %w", err), opened.Close())
	}
	if s.version, err = s.folder.counter(); err != nil {
		return nil, errors.Join(fmt.Errorf("folder of objects: %w", err), opened.Close())
	}
	for _, o := range s.objects {
		s.version = max(s.version, o.Version)
	}
	return s, nil
}

// Run hands over what was read, and ends with the context. The source cannot be used afterwards.
func (s *Source) Run(ctx context.Context) error {
	s.mu.Lock()
	err := s.publish(ctx, nil)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	<-ctx.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.folder.disk.Close()
}

// Objects returns all objects, sorted.
func (s *Source) Objects() []Stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sorted()
}

func (s *Source) sorted() []Stored {
	return slices.SortedFunc(maps.Values(s.objects), func(a, b Stored) int { return a.Compare(b.Ref) })
}

// handOver bounds how long a change waits to be taken over.
const handOver = 10 * time.Second

// publish hands over what changed, or all objects. What is in the folder is handed over even when whoever asked for it
// has gone. The lock is held.
func (s *Source) publish(ctx context.Context, changes []Change) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handOver)
	defer cancel()
	var revision int64
	var err error
	if s.complete && s.config.Edit != nil {
		written, deleted := s.changed(changes)
		revision, err = s.config.Edit(ctx, written, deleted)
	} else {
		objects := make([]config.Object, 0, len(s.objects))
		for _, o := range s.sorted() {
			objects = append(objects, o.Object)
		}
		revision, err = s.config.Sink(ctx, objects, slices.Clone(s.problems))
	}
	s.complete = err == nil // else nobody knows what arrived
	if err != nil {
		return fmt.Errorf("hand over objects: %w", err)
	}
	s.revision = cmp.Or(revision, s.revision)
	return nil
}

// changed returns the objects that changes wrote, and the names of those that they deleted, once each.
func (s *Source) changed(changes []Change) (written []config.Object, deleted []mesh.Ref) {
	seen := map[mesh.Ref]bool{}
	for _, c := range changes {
		if seen[c.Object] || c.Verb == Unchanged {
			continue
		}
		seen[c.Object] = true
		if o, ok := s.objects[c.Object]; ok {
			written = append(written, o.Object)
		} else {
			deleted = append(deleted, c.Object)
		}
	}
	return written, deleted
}
