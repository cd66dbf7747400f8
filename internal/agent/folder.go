package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lateen-mesh/lateen/internal/bootstrap"
	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/identity"
)

const (
	currentLink = "..data" // to the folder with the files that count
	nextLink    = "..next"
	versions    = "..data-" // begins the names of such folders
	maxFile     = 256 << 10 // bytes
)

// linkedFiles keeps a credential in three files for a program to read, all replaced in one moment: they are links into a
// folder that is itself reached through a link, which is made anew, as Kubernetes does with its volumes. The folder before
// stays, for who is just reading there.
type linkedFiles struct{ dir string }

// load returns nil when there is none.
func (f linkedFiles) load(trustDomain string) (*credential, error) {
	data := filepath.Join(f.dir, currentLink)
	folder, err := os.Readlink(data)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // none
	}
	if err != nil {
		return nil, err
	}
	data = filepath.Join(f.dir, filepath.Base(folder))
	key, err := readPrivate(filepath.Join(data, bootstrap.KeyFile))
	if err != nil {
		return nil, err
	}
	chain, err := disk.ReadFile(filepath.Join(data, bootstrap.CertificateFile), maxFile)
	if err != nil {
		return nil, err
	}
	roots, err := disk.ReadFile(filepath.Join(data, bootstrap.RootsFile), maxFile)
	if err != nil {
		return nil, err
	}
	c, err := parsePair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", data, err)
	}
	if c.roots, err = identity.ParseBundle(trustDomain, roots); err != nil {
		return nil, fmt.Errorf("%s: %w", data, err)
	}
	return c, nil
}

// save puts the credential in place.
func (f linkedFiles) save(c *credential) error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	before, _ := os.Readlink(filepath.Join(f.dir, currentLink)) // none at first
	data, err := os.MkdirTemp(f.dir, versions)
	if err != nil {
		return err
	}
	if err := f.fill(data, c); err != nil {
		return errors.Join(err, os.RemoveAll(data))
	}
	next := filepath.Join(f.dir, nextLink)
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(filepath.Base(data), next); err != nil {
		return err
	}
	if err := os.Rename(next, filepath.Join(f.dir, currentLink)); err != nil {
		return err
	}
	if err := f.link(); err != nil {
		return err
	}
	return f.clean(filepath.Base(data), before)
}

// fill writes the files of a version.
func (f linkedFiles) fill(data string, c *credential) error {
	key, err := c.keyPEM()
	if err != nil {
		return err
	}
	folder, err := disk.Open(data)
	if err != nil {
		return err
	}
	return errors.Join(
		folder.Write(bootstrap.CertificateFile, c.chainPEM()),
		folder.Write(bootstrap.KeyFile, key),
		folder.Write(bootstrap.RootsFile, c.roots.PEM()),
		folder.Close(),
	)
}

// link makes the names by which programs know the files.
func (f linkedFiles) link() error {
	for _, name := range []string{bootstrap.CertificateFile, bootstrap.KeyFile, bootstrap.RootsFile} {
		target := filepath.Join(currentLink, name)
		if now, err := os.Readlink(filepath.Join(f.dir, name)); err == nil && now == target {
			continue
		}
		next := filepath.Join(f.dir, nextLink)
		if err := os.Symlink(target, next); err != nil {
			return err
		}
		if err := os.Rename(next, filepath.Join(f.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// clean removes all versions but the one that counts and the one before it.
func (f linkedFiles) clean(now, before string) error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, versions) && name != now && name != before {
			err = errors.Join(err, os.RemoveAll(filepath.Join(f.dir, name)))
		}
	}
	return err
}
