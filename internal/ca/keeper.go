package ca

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/lateen-mesh/lateen/internal/disk"
)

// lookEvery is how often the files of the authority are looked at.
const lookEvery = 5 * time.Second

// keeper looks after the files that the signer was read from. Signing does not depend on them.
type keeper interface {
	// look returns which files were put back, and what is wrong and stays so until somebody does something.
	look() (restored []restored, err error)
}

// restored is a file that was put back.
type restored struct {
	path string
	open bool   // its text was as it was, and others could get at it
	gone bool   // what stood there could not be set aside
	kept string // where that is now; "": there was nothing
}

// look looks after the files once, and tells what is new.
func (a *Authority) look() {
	files, err := a.keeper.look()
	for _, file := range files {
		if file.open {
			a.tellOpen(file.path)
			continue
		}
		a.c.Log.Error("a file of the certificate authority was lost or changed: it was put back, and signing went on", "file", file.path, "aside", file.kept)
		if file.gone {
			a.c.Log.Error("what stood in the place of the root's file is not kept: look at what was set aside before, and remove it", "file", file.path)
		}
	}
	if a.counts.looked(len(files), err) {
		a.c.Log.Error("a file of the certificate authority is not as it was: signing goes on", "err", err)
	}
}

// tellOpen tells that others could get at the root's file.
func (a *Authority) tellOpen(path string) {
	a.c.Log.Warn("others could read the root's key: it is for its owner only now, and whoever has read it can be anybody in the mesh", "file", path)
}

// ownKeeper keeps files that are ours.
type ownKeeper struct {
	folder *disk.Folder
	files  []keptFile
	owner  uint32 // of the root's file
}

type keptFile struct {
	name string
	text []byte
}

func (k *ownKeeper) look() ([]restored, error) {
	var all []restored
	var wrong []error
	for _, file := range k.files {
		found, err := k.folder.Read(file.name, maxRoot)
		same := err == nil && bytes.Equal(found, file.text)
		r := restored{path: k.folder.Path(file.name), open: same}
		switch {
		case same && (file.name != rootFile || k.closed()):
			continue
		case same || file.name != rootFile || len(found) == 0:
			err = nil
		default:
			r.kept, err = k.setAside(found)
			r.gone = err == nil && r.kept == ""
		}
		if err == nil {
			err = k.folder.Write(file.name, file.text)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s is lost or changed and cannot be put back: %w", r.path, err))
			continue
		}
		all = append(all, r)
	}
	return all, errors.Join(wrong...)
}

// closed tells whether the root's file is for its owner only, who is the one that it had, or who runs this.
func (k *ownKeeper) closed() bool {
	stat, err := os.Lstat(k.folder.Path(rootFile))
	if err != nil || stat.Mode().Perm()&0o077 != 0 {
		return false
	}
	owner := ownerOf(stat)
	return owner == k.owner || int64(owner) == int64(os.Geteuid())
}

// ownerOf returns the user whose a file is.
func ownerOf(stat fs.FileInfo) uint32 {
	if s, ok := stat.Sys().(*syscall.Stat_t); ok {
		return s.Uid
	}
	return 0
}

// setAside keeps what stood in the place of the root: somebody may have put another root there on purpose. It returns where,
// "" when all places are taken: a key that may be the only one of its kind is not overwritten.
func (k *ownKeeper) setAside(found []byte) (string, error) {
	for i := range mostFound {
		name := foundFile
		if i > 0 {
			name = fmt.Sprintf("%s.%d", foundFile, i+1)
		}
		there, err := k.folder.Read(name, maxRoot)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return k.folder.Path(name), k.folder.Write(name, found)
		case err == nil && bytes.Equal(there, found):
			return k.folder.Path(name), nil
		}
	}
	return "", nil
}

// pluggedKeeper watches files that are somebody else's, and changes nothing.
type pluggedKeeper struct {
	plugged Plugged
	texts   [][]byte
}

func (k *pluggedKeeper) look() ([]restored, error) {
	texts, err := k.plugged.read()
	if err != nil {
		return nil, fmt.Errorf("a file of the authority that is plugged in cannot be read, and the next start will fail: %w", err)
	}
	for i, path := range k.plugged.files() {
		if !bytes.Equal(texts[i], k.texts[i]) {
			return nil, fmt.Errorf("%s has changed: the control plane goes on with what it has read until it is started again", path)
		}
	}
	return nil, nil
}
