// Package mariadb gives a test a real MariaDB server of its own, for BookInfo's ratings v2.
//
// [Start] makes a data folder, starts Debian's mariadbd on an address that the test chooses, and returns when the server
// has answered a query: what then is there is the user root, who signs in over TCP from anywhere with the password
// "password", and the database `test` with the table `ratings` of the old sample, stars 5 and 4. The server ends with the
// test, also when the test panics or is killed. Start works for root and for every other user, and in a network of
// package netns.
//
// The server is the one that `make mariadb` puts at bin/mariadb, else the one in /usr/sbin or on PATH. A test that finds
// none fails. Only tests import this package. Linux only.
package mariadb

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/process"
)

// How to sign in, and where the table is.
const (
	User     = "root"
	Password = "password"
	Database = "test"
)

const (
	patience = 60 * time.Second // bounds a start
	stopTime = 10 * time.Second // bounds an orderly end
	tries    = 5                // at ports that were free a moment ago
)

// Server is a running server.
type Server struct {
	// Address is where it answers, as IP:PORT.
	Address string

	t       testing.TB
	process *process.Process
}

// Start starts a server on an IP:PORT of this machine. With port 0 a free one is taken; "" is 127.0.0.1:0. Several may run
// at a time.
func Start(t testing.TB, address string) *Server {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatalf("mariadb: address %q is not IP:PORT", address)
	}
	p, err := find()
	if err != nil {
		t.Fatalf("mariadb: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s := &Server{t: t}
	for range tries {
		s.Address, s.process, err = p.start(ctx, t.TempDir(), at)
		if at.Port() != 0 || !errors.Is(err, errTaken) {
			break
		}
	}
	if err != nil {
		t.Fatalf("mariadb: %v", err)
	}
	t.Cleanup(s.process.Kill) // nobody needs the data
	return s
}

// Stop ends the server as an administrator does: it closes the connections of its clients. The data are lost; another
// server may be started on the same address. A test that does not call it need not: the server ends with the test.
func (s *Server) Stop() {
	s.process.Stop(context.WithoutCancel(s.t.Context()), stopTime)
}
