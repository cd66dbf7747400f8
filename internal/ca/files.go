package ca

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/lateen-mesh/lateen/internal/disk"
)

// Files in the state folder.
const (
	// rootFile holds the root and its key.
	rootFile = "ca/root.pem"
	// markerFile remembers, apart from the folder of the root, that there is one and which.
	markerFile = "ca.made"
	// foundFile is where a file goes that stood in the place of the root's and is not it; further ones get a number behind it.
	foundFile = "ca/root.pem.found"
	mostFound = 9
)

// maxPart bounds a part in bytes.
const maxPart = 64 << 10

// Files keeps the parts in a folder, for one authority. It implements [Storage] and [Sealer].
type Files struct {
	folder *disk.Folder
	owner  uint32 // of the root's file, when it was opened
}

// NewFiles returns the storage in a folder, and changes nothing there.
func NewFiles(folder *disk.Folder) *Files {
	f := &Files{folder: folder, owner: uint32(os.Geteuid())} //nolint:gosec // a user is not negative
	if stat, err := os.Lstat(folder.Path(rootFile)); err == nil {
		f.owner = ownerOf(stat)
	}
	return f
}

func fileOf(part Part) string {
	if part == RootPart {
		return rootFile
	}
	return markerFile
}

// Where implements [Storage].
func (f *Files) Where(part Part) string { return f.folder.Path(fileOf(part)) }

// Read implements [Storage].
func (f *Files) Read(_ context.Context, part Part) ([]byte, error) {
	return f.folder.Read(fileOf(part), maxPart)
}

// Create implements [Storage].
func (f *Files) Create(_ context.Context, part Part, text []byte) error {
	if _, err := os.Lstat(f.Where(part)); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s: %w", f.Where(part), fs.ErrExist)
		}
		return err
	}
	return f.folder.Write(fileOf(part), text)
}

// Replace implements [Storage].
func (f *Files) Replace(ctx context.Context, part Part, text []byte) (aside Aside, err error) {
	found, err := f.Read(ctx, part)
	if part == RootPart && err == nil && len(found) > 0 && !bytes.Equal(found, text) {
		if aside, err = f.setAside(found); err != nil {
			return Aside{}, err
		}
	}
	return aside, f.folder.Write(fileOf(part), text)
}

// Sealed tells whether the root's file is for its owner only, who is the one that it had, or who runs this.
func (f *Files) Sealed(part Part) bool {
	if part != RootPart {
		return true
	}
	stat, err := os.Lstat(f.Where(part))
	if err != nil || stat.Mode().Perm()&0o077 != 0 {
		return false
	}
	owner := ownerOf(stat)
	return owner == f.owner || int64(owner) == int64(os.Geteuid())
}

// ownerOf returns the user whose a file is.
func ownerOf(stat fs.FileInfo) uint32 {
	if s, ok := stat.Sys().(*syscall.Stat_t); ok {
		return s.Uid
	}
	return 0
}

// setAside keeps what stood in the place of the root: somebody may have put another root there on purpose. It is lost when all
// places are taken: a key that may be the only one of its kind is not overwritten.
func (f *Files) setAside(found []byte) (Aside, error) {
	for i := range mostFound {
		name := foundFile
		if i > 0 {
			name = fmt.Sprintf("%s.%d", foundFile, i+1)
		}
		there, err := f.folder.Read(name, maxPart)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return Aside{Where: f.folder.Path(name)}, f.folder.Write(name, found)
		case err == nil && bytes.Equal(there, found):
			return Aside{Where: f.folder.Path(name)}, nil
		}
	}
	return Aside{Lost: true}, nil
}
