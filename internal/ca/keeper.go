package ca

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/lateen-mesh/lateen/internal/disk"
)

// lookEvery is how often the files of the authority are looked at.
const lookEvery = 5 * time.Second

// keeper looks after the files that the signer was read from. Signing does not depend on them.
type keeper interface {
	// look returns which files were put back, and what is wrong and stays so until somebody does something.
	look() (restored []string, err error)
}

// look looks after the files once, and tells what is new.
func (a *Authority) look() {
	restored, err := a.keeper.look()
	for _, path := range restored {
		a.c.Log.Error("a file of the certificate authority was lost or changed: it was put back, and signing went on", "file", path)
	}
	if a.counts.looked(len(restored), err) {
		a.c.Log.Error("a file of the certificate authority is not as it was: signing goes on", "err", err)
	}
}

// ownKeeper keeps files that are ours.
type ownKeeper struct {
	folder *disk.Folder
	files  []keptFile
}

type keptFile struct {
	name string
	text []byte
}

func (k *ownKeeper) look() ([]string, error) {
	var restored []string
	var wrong []error
	for _, file := range k.files {
		found, err := k.folder.Read(file.name, maxRoot)
		if err == nil && bytes.Equal(found, file.text) {
			continue
		}
		if err == nil && file.name == rootFile {
			// It may be a root that somebody has put there on purpose.
			err = k.folder.Write(foundFile, found)
		} else {
			err = nil
		}
		if err == nil {
			err = k.folder.Write(file.name, file.text)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s is lost or changed and cannot be put back: %w", k.folder.Path(file.name), err))
			continue
		}
		restored = append(restored, k.folder.Path(file.name))
	}
	return restored, errors.Join(wrong...)
}

// pluggedKeeper watches files that are somebody else's, and changes nothing.
type pluggedKeeper struct {
	plugged Plugged
	texts   [][]byte
}

func (k *pluggedKeeper) look() ([]string, error) {
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
