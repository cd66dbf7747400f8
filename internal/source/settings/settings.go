// Package settings is the source of the mesh's settings where they stand in a file of their own.
//
// What comes in: the path of a file. What goes out: its text, handed to a sink at the start and whenever it changes
// ([Watch]). What the text means, and what becomes of a wrong one, is the matter of who takes it.
//
// A file that is not there at the start says nothing. One that cannot be read any more is told as an error, and again as a
// text when it can. One that is empty, after it was not, counts when it stays so: somebody may be about to write it. Links are followed, also when they are put in place of others, as Kubernetes does with ConfigMaps.
package settings

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/lateen-mesh/lateen/internal/disk"
)

const (
	usualRescan = 10 * time.Second      // for file systems that report no changes
	quiet       = 50 * time.Millisecond // editors save in several steps
	maxFile     = 1<<20 + 1             // one byte more than is parsed, so that the parser tells that it is too large
)

// Reading is what a file says.
type Reading struct {
	Text  []byte
	Found bool  // false: there is no such file
	Err   error // why it cannot be read
}

// Config says what is watched.
type Config struct {
	Path   string
	Sink   func(ctx context.Context, r Reading) error
	Rescan time.Duration // how often to look without being told of a change; 0: 10 s
	Log    *slog.Logger
}

// Watch hands over what the file says until ctx ends or the sink fails.
func Watch(ctx context.Context, c Config) error {
	if c.Rescan == 0 {
		c.Rescan = usualRescan
	}
	w := &watching{config: c}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		c.Log.Warn("changes of the settings are noticed late", "err", err)
	} else {
		defer func() { _ = watcher.Close() }() // there is nothing left to do about it
		w.watcher, w.events = watcher, watcher.Events
	}
	rescan := time.NewTicker(c.Rescan)
	defer rescan.Stop()
	var settled <-chan time.Time
	slow := false
	for {
		if settled == nil {
			if err := w.look(ctx, slow); err != nil {
				return err
			}
		}
		slow = false
		select {
		case <-ctx.Done():
			return nil
		case <-w.events:
			settled = time.After(quiet)
		case <-settled:
			settled = nil
		case <-rescan.C:
			settled, slow = nil, true
		}
	}
}

// watching is one use of [Watch].
type watching struct {
	config  Config
	watcher *fsnotify.Watcher // nil: none
	events  chan fsnotify.Event
	last    *Reading
	empty   bool // a slow look found it empty, which it was not before
}

// look reads the file, and hands over what is new. A slow look is one that nothing gave rise to.
func (w *watching) look(ctx context.Context, slow bool) error {
	w.follow()
	var r Reading
	text, err := disk.ReadFile(w.config.Path, maxFile)
	switch {
	case err == nil, errors.Is(err, disk.ErrTooLarge):
		r.Text, r.Found = text, true
	case errors.Is(err, fs.ErrNotExist) && (w.last == nil || !w.last.Found && w.last.Err == nil):
	default:
		r.Err = err
	}
	if emptied := r.Found && len(r.Text) == 0 && w.last != nil && len(w.last.Text) > 0; emptied && !(slow && w.empty) {
		w.empty = w.empty || slow
		return nil
	}
	w.empty = false
	if w.last != nil && w.last.same(r) {
		return nil
	}
	w.last = &r
	return w.config.Sink(ctx, r)
}

func (r Reading) same(o Reading) bool {
	return bytes.Equal(r.Text, o.Text) && r.Found == o.Found && (r.Err == nil) == (o.Err == nil) && (r.Err == nil || r.Err.Error() == o.Err.Error())
}

// follow watches the folders in which the file, or what it links to, can be replaced.
func (w *watching) follow() {
	if w.watcher == nil {
		return
	}
	_ = w.watcher.Add(filepath.Dir(w.config.Path)) // a folder that comes later is found by looking
	if target, err := filepath.EvalSymlinks(w.config.Path); err == nil {
		_ = w.watcher.Add(filepath.Dir(target))
	}
}
