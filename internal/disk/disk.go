// Package disk keeps files that are there whole or not at all, also after a crash.
//
// What comes in: paths inside one folder, which nothing leads out of, and bytes. A file is written beside its place and
// put there when it is on the disk; folders are made as need be, for their owner only. A file is read up to a bound, and
// only a regular one: links and pipes are refused, since none of our programs makes them. [ReadFile] reads what others
// name, anywhere, and follows links.
//
// It knows nothing of what the files hold. Methods may be called from any goroutine; that nobody else writes in the
// folder is up to whoever opens it.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
	"syscall"
)

// unfinished is the name of a file that is being written. What a crash left of one is removed by the next write.
const unfinished = ".new"

// Folder is a folder with files in it. Names are paths below it, with slashes.
type Folder struct {
	root    *os.Root
	writing sync.Mutex
}

// Open opens a folder, and makes it if need be.
func Open(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Folder{root: root}, nil
}

// Path returns the path of a file as users see it.
func (f *Folder) Path(name string) string { return path.Join(f.root.Name(), name) }

// FS shows the folder for walking through it.
func (f *Folder) FS() fs.FS { return f.root.FS() }

// Close gives the folder back. The files stay.
func (f *Folder) Close() error { return f.root.Close() }

// Read returns what is in a file, which must be a regular one of at most so many bytes.
func (f *Folder) Read(name string, most int64) ([]byte, error) {
	file, err := f.open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := readAll(file, most)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

// openTries bounds how often a file is opened that is replaced again and again in that very moment.
const openTries = 100

// open opens a regular file: exactly the one that was found to be one, since a link or a pipe may have taken its place.
func (f *Folder) open(name string) (*os.File, error) {
	for range openTries {
		there, err := f.root.Lstat(name)
		if err != nil {
			return nil, err
		}
		if !there.Mode().IsRegular() {
			return nil, fmt.Errorf("%s: %w", name, ErrNotRegular)
		}
		file, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // opening a pipe would wait for a writer
		if err != nil {
			return nil, err
		}
		opened, err := file.Stat()
		if err == nil && os.SameFile(there, opened) {
			return file, nil
		}
		if err := errors.Join(err, file.Close()); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s is replaced all the time", name)
}

// Write puts a file in place as a whole, and returns when it is on the disk.
func (f *Folder) Write(name string, data []byte) error {
	f.writing.Lock()
	defer f.writing.Unlock()
	dir := path.Dir(name)
	if err := f.makeDir(dir); err != nil {
		return err
	}
	temporary := path.Join(dir, unfinished)
	if err := f.root.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := f.root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := f.root.Rename(temporary, name); err != nil {
		return err
	}
	return f.sync(dir)
}

// Remove takes a file away, and returns when the disk knows.
func (f *Folder) Remove(name string) error {
	f.writing.Lock()
	defer f.writing.Unlock()
	if err := f.root.Remove(name); err != nil {
		return err
	}
	return f.sync(path.Dir(name))
}

// makeDir makes a folder and those above it.
func (f *Folder) makeDir(dir string) error {
	if _, err := f.root.Stat(dir); err == nil || dir == "." {
		return err
	}
	if err := f.makeDir(path.Dir(dir)); err != nil {
		return err
	}
	if err := f.root.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return f.sync(path.Dir(dir))
}

// sync makes what changed in a folder durable (fsync(2): a file's own fsync does not cover its name).
func (f *Folder) sync(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
