package file

import (
	"cmp"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fsnotify/fsnotify"

	"github.com/lateen-mesh/lateen/internal/config"
)

// notices tells of changes in folders. Where the system has none to give, there are none, and only the slow looks
// remain.
type notices struct {
	watcher *fsnotify.Watcher // nil: none
	log     *slog.Logger
	failed  map[string]bool // folders that cannot be watched: told once
}

func newNotices(log *slog.Logger) *notices {
	n := &notices{log: log, failed: map[string]bool{}}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("changes of files are noticed late", "err", err)
		return n
	}
	n.watcher = watcher
	return n
}

func (n *notices) close() {
	if n.watcher != nil {
		_ = n.watcher.Close() // there is nothing left to do about it
	}
}

func (n *notices) events() <-chan fsnotify.Event {
	if n.watcher == nil {
		return nil
	}
	return n.watcher.Events
}

func (n *notices) errors() <-chan error {
	if n.watcher == nil {
		return nil
	}
	return n.watcher.Errors
}

// watch watches exactly these folders. One that was removed and made again is watched again.
func (n *notices) watch(folders []string) {
	if n.watcher == nil {
		return
	}
	for _, old := range n.watcher.WatchList() {
		if !slices.Contains(folders, old) {
			_ = n.watcher.Remove(old) // it may be gone already
		}
	}
	for _, folder := range folders {
		err := n.watcher.Add(folder)
		if err != nil && !n.failed[folder] {
			n.log.Warn("changes of files are noticed late", "err", err)
		}
		n.failed[folder] = err != nil
	}
}

// concerns tells whether an event can change what the watched paths say. Programs may write their logs beside a Mesh
// file: what is merely written, and is not configuration, does not count. Everything else does, since a link or a
// folder may have been put in place of another (as Kubernetes does with ConfigMaps).
func (s *Source) concerns(event fsnotify.Event) bool {
	if event.Has(fsnotify.Create) || event.Has(fsnotify.Rename) || event.Has(fsnotify.Remove) {
		return true
	}
	if !event.Has(fsnotify.Write) && !event.Has(fsnotify.Chmod) {
		return false
	}
	name := filepath.Clean(event.Name)
	_, named := s.beside[name]
	return named || isConfiguration(name) || strings.HasPrefix(filepath.Base(name), ".") || s.files[name] != nil
}

func compareOrigins(a, b config.Object) int {
	return cmp.Or(cmp.Compare(a.Origin.File, b.Origin.File), cmp.Compare(a.Origin.Line, b.Origin.Line), a.Compare(b.Ref))
}
