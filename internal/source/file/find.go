package file

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of one path that is watched.
const (
	maxFiles = 10_000
	maxDepth = 32
)

// List returns the files that a path stands for: itself, or, if it is a folder, the *.yaml, *.yml and *.json files in it
// and in its subfolders, sorted. What is hidden is left out, and links are followed.
func List(path string) ([]string, error) {
	w := walk{failed: map[string]error{}}
	w.path(path)
	if failed := slices.Sorted(maps.Keys(w.failed)); len(failed) > 0 {
		return nil, w.failed[failed[0]]
	}
	slices.Sort(w.files)
	return w.files, nil
}

// walk finds files. What it cannot read does not keep it from finding the rest.
type walk struct {
	files   []string
	folders []string         // that were read, and those in which files lie
	failed  map[string]error // by path of a file or folder
	above   []string         // real paths of the folders that it is in
}

func (w *walk) path(path string) {
	stat, err := os.Stat(path)
	switch {
	case err != nil:
		w.failed[path] = err
	case stat.IsDir():
		w.folder(path)
	default:
		w.file(path)
	}
}

// file notes a file, with the folders in which it or what it links to can be replaced.
func (w *walk) file(path string) {
	w.files = append(w.files, path)
	w.folders = append(w.folders, filepath.Dir(path))
	if target, err := filepath.EvalSymlinks(path); err == nil {
		w.folders = append(w.folders, filepath.Dir(target))
	}
}

func (w *walk) folder(path string) {
	target, err := filepath.EvalSymlinks(path)
	if slices.Contains(w.above, target) {
		return // a link to a folder that it is in
	}
	if err == nil && len(w.above) == maxDepth {
		err = fmt.Errorf("%s: folders are nested more than %d deep", path, maxDepth)
	}
	var entries []os.DirEntry
	if err == nil {
		w.folders = append(w.folders, path)
		entries, err = os.ReadDir(path)
	}
	if err != nil {
		w.failed[path] = err
		return
	}
	w.above = append(w.above, target)
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), ".") {
			w.entry(path, filepath.Join(path, entry.Name()))
		}
	}
	w.above = w.above[:len(w.above)-1]
}

// entry visits what lies in a folder. A link that leads nowhere, or what has just been removed, is not there.
func (w *walk) entry(folder, path string) {
	stat, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		w.failed[path] = err
	case stat.IsDir():
		w.folder(path)
	case !isConfiguration(path) || !stat.Mode().IsRegular():
	case len(w.files) == maxFiles:
		w.failed[folder] = fmt.Errorf("%s: only the first %d files are read", folder, maxFiles)
	default:
		w.file(path)
	}
}

// isConfiguration tells by its name whether a file in a folder counts.
func isConfiguration(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return !strings.HasPrefix(filepath.Base(name), ".")
	default:
		return false
	}
}

// found is what the watched paths stand for at one moment.
type found struct {
	files   map[string]bool
	folders []string
	failed  map[string]error // by path: why it cannot be read
}

// find lists what the watched paths stand for.
func (s *Source) find() found {
	f := found{files: map[string]bool{}, failed: map[string]error{}}
	for _, path := range s.config.Paths {
		w := walk{failed: f.failed}
		w.path(filepath.Clean(path))
		for _, name := range w.files {
			f.files[name] = true
		}
		f.folders = append(f.folders, w.folders...)
	}
	for path := range f.failed {
		f.folders = append(f.folders, filepath.Dir(path)) // where it will come back
	}
	slices.Sort(f.folders)
	f.folders = slices.Compact(f.folders)
	return f
}

// keeps tells whether a file is, or lies in, what cannot be read now, so that it is not known to be gone.
func (f found) keeps(file string) bool {
	for path := range f.failed {
		if file == path || path == "." || strings.HasPrefix(file, strings.TrimSuffix(path, "/")+"/") {
			return true
		}
	}
	return false
}
