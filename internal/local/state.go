package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// stateDir is the folder of a running mesh:
//
//	lock                   held while the mesh runs; has the supervisor's process ID
//	bin/lateen             this program, for commands in Mesh files
//	proxies/ID/            one folder for each proxy: bootstrap.json, its sockets, identity.json, access.log, agent.log
//
// The control plane has its own files beside them.
type stateDir struct {
	path string
	lock *os.File
}

// openState makes the folder if need be and locks it.
func openState(path, meshName string) (*stateDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, unusable(err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, unusable(err)
	}
	if err := checkOwn(path); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unusable(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer lock.Close()
		return nil, inUse(lock, path, meshName, err)
	}
	s := &stateDir{path: path, lock: lock}
	if err := errors.Join(
		lock.Truncate(0), writeAt(lock, fmt.Sprintln(os.Getpid())),
		os.RemoveAll(filepath.Join(path, "proxies")), os.RemoveAll(s.bin()), os.Mkdir(s.bin(), 0o700), s.dropToken(),
	); err != nil {
		_ = lock.Close() // nothing that counts was written
		return nil, unusable(err)
	}
	return s, nil
}

// checkOwn returns an error when others may write in the folder: what they put there would be taken for the mesh's own.
func checkOwn(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return unusable(err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return &Failure{
			Message: "others may write in the state folder " + path,
			Advice:  "take that from them, chmod go-w " + path + ", or choose another folder with --state-dir",
		}
	}
	return nil
}

// unusable says that the state folder cannot be used, and what to do.
func unusable(err error) error {
	advice := "choose another folder with --state-dir"
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		advice = "make room on its disk, or " + advice
	}
	return &Failure{Message: "the state folder cannot be used", Advice: advice, Cause: err}
}

// Runs tells whether a supervisor holds the state folder: its mesh runs, though its control plane may be away for a moment.
func Runs(stateDir string) bool {
	lock, err := os.Open(filepath.Join(stateDir, "lock"))
	if err != nil {
		return false
	}
	defer lock.Close()
	return errors.Is(unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

func inUse(lock *os.File, path, meshName string, err error) error {
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	who := make([]byte, 20)
	n, _ := lock.ReadAt(who, 0) // what it reads is only shown
	return &Failure{
		Message: fmt.Sprintf("mesh %s already runs (process %s)", meshName, strings.TrimSpace(string(who[:n]))),
		Advice:  "end it with Ctrl-C, edit its files while it runs, or start another one with --mesh NAME",
	}
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// close gives the folder back; what is written in it stays, but for the token, which is of one run.
func (s *stateDir) close() error { return errors.Join(s.dropToken(), s.lock.Close()) }

// dropToken removes the token of a control plane that has ended.
func (s *stateDir) dropToken() error {
	if err := os.Remove(filepath.Join(s.path, api.TokenFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("state folder: %w", err)
	}
	return nil
}

// bin holds what commands in Mesh files find first: this program as `lateen`.
func (s *stateDir) bin() string { return filepath.Join(s.path, "bin") }

func (s *stateDir) linkProgram(executable string) error {
	if err := os.Symlink(executable, filepath.Join(s.bin(), "lateen")); err != nil {
		return unusable(err)
	}
	return nil
}

// proxyDir makes the folder of a proxy. Of an instance that had the same name before, only what it logged stays: it may have
// been somebody else.
func (s *stateDir) proxyDir(id mesh.ProxyID) (string, error) {
	dir := filepath.Join(s.path, "proxies", string(id))
	if err := errors.Join(os.MkdirAll(dir, 0o700), keepLogs(dir)); err != nil {
		return "", fmt.Errorf("folder of proxy %s: %w", id, err)
	}
	return dir, nil
}

// keepLogs removes everything but logs from the folder of a proxy.
func keepLogs(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if !strings.Contains(e.Name(), ".log") {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
