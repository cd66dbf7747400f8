package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
)

// ErrNotRegular is the error that what is to be read is a folder, a pipe, a device or a socket.
var ErrNotRegular = errors.New("no regular file")

// ErrTooLarge is the error that a file has more bytes than are read of it.
var ErrTooLarge = errors.New("too large")

// ReadFile returns what is in a file anywhere, which must be a regular one or a link to one. It never waits for somebody
// to write. Of a file that has more than so many bytes it returns those and [ErrTooLarge].
func ReadFile(path string, most int64) ([]byte, error) {
	// What is no file is not even opened: that may wait, or do something to a device.
	if stat, err := os.Stat(path); err != nil {
		return nil, err
	} else if !stat.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: path, Err: ErrNotRegular}
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe may have taken its place
	if err != nil {
		return nil, err
	}
	defer file.Close()
	stat, err := file.Stat()
	if err == nil && !stat.Mode().IsRegular() {
		err = &os.PathError{Op: "read", Path: path, Err: ErrNotRegular}
	}
	if err != nil {
		return nil, err
	}
	data, err := readAll(file, most)
	if errors.Is(err, ErrTooLarge) {
		err = &os.PathError{Op: "read", Path: path, Err: err}
	}
	return slices.Clip(data), err
}

// readAll returns at most so many bytes of a file, and [ErrTooLarge] where it has more.
func readAll(file io.Reader, most int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(data)) > most {
		return data[:most], fmt.Errorf("%w: more than %d bytes", ErrTooLarge, most)
	}
	return data, err
}
