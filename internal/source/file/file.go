// Package file is the source of the objects that stand in watched files and folders.
//
// What comes in: paths of files, and of folders whose *.yaml, *.yml and *.json files count, in subfolders too. What goes
// out: all objects and what is wrong with them, handed to a [Sink] at the start and whenever a file changes.
//
// It promises that a wrong file harms nothing. While a file cannot be read or is not YAML, its last good objects stay;
// while one object is broken, the last good version of that object stays; the problem is told. An object goes when it
// stands no longer in its file, or the file is no longer in its folder. A path that was named and is gone, or a file
// that is empty because somebody is about to write it, takes nothing with it. With a [cache.Cache] all of this holds over
// a restart too.
//
// A change is read when its folder has been quiet for a moment, since editors save in several steps. Besides it looks
// every few seconds, for file systems that report no changes.
package file

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Sink takes everything that the source knows. The objects are sorted by file and place.
type Sink func(ctx context.Context, objects []config.Object, problems []mesh.Problem) error

// Config is what a Source is made with.
type Config struct {
	Paths     []string // files and folders
	Namespace string   // of objects that name none; "": default
	// Check says what is wrong with an object beyond its YAML. One with an error is broken; what it finds wrong with
	// good objects is not told here. nil: nothing is.
	Check func(*config.Object) []mesh.Problem
	Sink  Sink
	// Beside says which files an object names: when one of them changes, all files are checked anew. nil: none.
	Beside func(o *config.Object) []string
	Cache  *cache.Cache                // where the last good objects are kept for a restart; nil: nowhere
	Keeps  func(o *config.Object) bool // whether an object may be written there: never one that holds secrets
	// Mended is told, once it is handed over, which object is good again after it was wrong, or which file, with no object.
	// nil: nobody is.
	Mended func(o mesh.Ref, file string)
	Rescan time.Duration // how often to look without being told of a change; 0: 10 s
	Log    *slog.Logger
}

// Times of waiting for a folder to become quiet.
const (
	defaultRescan = 10 * time.Second
	quiet         = 50 * time.Millisecond
	patience      = 500 * time.Millisecond // a folder that is never quiet is read this often
)

// Source watches files.
type Source struct {
	config  Config
	files   map[string]*watched // by path
	beside  beside
	objects atomic.Pointer[[]config.Object]

	dir        string                  // where this program runs
	remembered map[string][]keptObject // by path: last good objects from before this start; for the first look
	refused    []mesh.Problem          // of what was kept and is not used
	mended     []mesh.Problem          // that are gone since something was handed over
}

// New returns a source. It is an error if one of the paths does not exist.
func New(c Config) (*Source, error) {
	for _, path := range c.Paths {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("watch files: %w", err)
		}
	}
	if c.Rescan == 0 {
		c.Rescan = defaultRescan
	}
	s := &Source{config: c, files: map[string]*watched{}, beside: beside{}, remembered: map[string][]keptObject{}}
	if err := s.remember(); err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	return s, nil
}

// Objects returns the objects that were handed over last. It may be called from any goroutine.
func (s *Source) Objects() []config.Object {
	if objects := s.objects.Load(); objects != nil {
		return *objects
	}
	return nil
}

// Run watches until the context ends or the sink fails.
func (s *Source) Run(ctx context.Context) error {
	n := newNotices(s.config.Log)
	defer n.close()
	if err := s.look(ctx, n, true); err != nil {
		return err
	}
	rescan := time.NewTicker(s.config.Rescan)
	defer rescan.Stop()
	var settled, overdue <-chan time.Time
	for {
		slow := false
		select {
		case <-ctx.Done():
			return nil
		case event, ok := <-n.events():
			if ok && s.concerns(event) {
				settled = time.After(quiet)
				if overdue == nil {
					overdue = time.After(patience)
				}
			}
			continue
		case err := <-n.errors():
			s.config.Log.Warn("file changes were missed", "err", err)
		case <-settled:
		case <-overdue:
		case <-rescan.C:
			slow = true
		}
		settled, overdue = nil, nil
		if err := s.look(ctx, n, slow); err != nil {
			return err
		}
	}
}

// look reads all files, and hands over what they hold if something changed. A slow look is one that comes so long after
// the slow look before it that no file is still being written.
func (s *Source) look(ctx context.Context, n *notices, slow bool) error {
	found := s.find()
	n.watch(slices.Concat(found.folders, s.beside.folders()))
	changed := s.read(found, slow, s.beside.look())
	changed = s.keptAnew() || changed
	s.forgetBeside()
	if len(s.beside) > 0 {
		n.watch(slices.Concat(found.folders, s.beside.folders()))
	}
	if !changed && s.objects.Load() != nil {
		return nil
	}
	objects, problems := s.gather()
	s.objects.Store(&objects)
	s.keep()
	if err := s.config.Sink(ctx, objects, problems); err != nil {
		return fmt.Errorf("hand over watched files: %w", err)
	}
	for _, p := range s.mended {
		if s.config.Mended != nil {
			s.config.Mended(p.Object, p.Position.File)
		}
	}
	s.mended = nil
	return nil
}
