// Package unixsocket listens on Unix sockets that only their owner may open.
//
// A socket on which nobody answers was left by a crash and is replaced; one on which somebody does is an error
// ([InUse]). The socket gets its name only when it has its mode, so that it is never open to others, and takes its
// file away when it is closed, unless another socket has taken its place.
package unixsocket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// maxPath is what the kernel takes as a socket's path (unix(7)), in bytes.
const maxPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// unnamedSuffix ends the name under which a socket is made ready, beside its place.
const unnamedSuffix = "~"

// InUse is the error that another process serves on the socket.
type InUse struct{ Path string }

func (e *InUse) Error() string { return "another process serves on " + e.Path }

// socket is a listening Unix socket that takes its file away when it is closed, unless another has taken its place.
type socket struct {
	*net.UnixListener
	path string
	file os.FileInfo
}

// Listen listens on the path with mode 0600.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	temporary := path + unnamedSuffix
	if len(temporary) > maxPath {
		return nil, fmt.Errorf("socket %s: the path has %d bytes, at most %d are possible", path, len(path), maxPath-len(unnamedSuffix))
	}
	if connection, err := new(net.Dialer).DialContext(ctx, "unix", path); err == nil {
		return nil, errors.Join(&InUse{Path: path}, connection.Close())
	}
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	s := &socket{UnixListener: l, path: path}
	if err := s.place(temporary); err != nil {
		return nil, errors.Join(fmt.Errorf("socket %s: %w", path, err), l.Close())
	}
	return s, nil
}

func (s *socket) place(temporary string) (err error) {
	if err := os.Chmod(temporary, 0o600); err != nil {
		return err
	}
	if s.file, err = os.Lstat(temporary); err != nil {
		return err
	}
	return os.Rename(temporary, s.path)
}

// Addr returns the address at which clients find the socket.
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

func (s *socket) Close() error {
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.file) {
		_ = os.Remove(s.path) // what is left is taken for what it is by the next listen
	}
	return s.UnixListener.Close()
}
