package api

import (
	"fmt"
	"path/filepath"
	"syscall"
)

// SocketName is the name of the API's socket in the state folder.
const SocketName = "api.sock"

// Socket returns the path of the API's socket in a state folder. Paths of Unix sockets are short by nature (unix(7)):
// one that is too long, together with the "~" that it has while it is made ready, is an [*Error].
func Socket(stateDir string) (string, error) {
	path := filepath.Join(stateDir, SocketName)
	const most = len(syscall.RawSockaddrUnix{}.Path) - 2
	if len(path) > most {
		return "", &Error{
			Message: fmt.Sprintf("the path %s has %d bytes: that of a Unix socket has at most %d", path, len(path), most),
			Hint:    "choose a folder with a shorter path with --state-dir",
		}
	}
	return path, nil
}
