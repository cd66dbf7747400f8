package ca_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/ca/catest"
	"github.com/lateen-mesh/lateen/internal/disk"
)

func TestFilesConform(t *testing.T) {
	t.Parallel()
	catest.Run(t, func(t *testing.T) catest.Subject {
		dir := t.TempDir()
		path := map[ca.Part]string{ca.RootPart: filepath.Join(dir, rootFile), ca.MarkPart: filepath.Join(dir, markerFile)}
		return catest.Subject{
			Alone: true,
			Open: func(t *testing.T) ca.Storage {
				folder, err := disk.Open(dir)
				must(t, err)
				t.Cleanup(func() { must(t, folder.Close()) })
				return ca.NewFiles(folder)
			},
			Put: func(t *testing.T, part ca.Part, text []byte) {
				if text != nil {
					must(t, os.WriteFile(path[part], text, 0o600))
				} else if err := os.Remove(path[part]); !errors.Is(err, fs.ErrNotExist) {
					must(t, err)
				}
			},
			Aside: func(t *testing.T) (all [][]byte) {
				names, err := filepath.Glob(path[ca.RootPart] + ".found*")
				must(t, err)
				for _, name := range names {
					text, err := os.ReadFile(name)
					must(t, err)
					all = append(all, text)
				}
				return all
			},
		}
	})
}
