package file

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/disk"
)

// maxBeside bounds how many files that objects name are watched.
const maxBeside = 1000

// beside are the files that objects name, such as certificates, with what was in them when they were looked at last.
type beside map[string][sha256.Size]byte

// note has the files that an object names watched. It is called before somebody reads them.
func (b beside) note(paths []string) {
	for _, path := range paths {
		if path = filepath.Clean(path); len(b) < maxBeside {
			if _, known := b[path]; !known {
				b[path] = stampOf(path)
			}
		}
	}
}

// look tells whether a file says anything else than before.
func (b beside) look() (changed bool) {
	for path, before := range b {
		if now := stampOf(path); now != before {
			b[path] = now
			changed = true
		}
	}
	return changed
}

// folders returns the folders in which the files, or what they link to, can be replaced.
func (b beside) folders() []string {
	w := walk{}
	for _, path := range slices.Sorted(maps.Keys(b)) {
		w.file(path)
	}
	return w.folders
}

// stampOf says what is in a file, or why nothing is.
func stampOf(path string) [sha256.Size]byte {
	data, err := disk.ReadFile(path, maxFile)
	return sha256.Sum256(fmt.Append(data, err))
}

// forgetBeside drops the files that no object names any more.
func (s *Source) forgetBeside() {
	named := map[string]bool{}
	for _, w := range s.files {
		for _, path := range w.beside {
			named[filepath.Clean(path)] = true
		}
	}
	maps.DeleteFunc(s.beside, func(path string, _ [sha256.Size]byte) bool { return !named[path] })
}

// namedBy returns the files that an object names.
func (s *Source) namedBy(o *config.Object) []string {
	if s.config.Beside == nil {
		return nil
	}
	return s.config.Beside(o)
}
