package bookinfo

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	noDatabase = `{"error":"could not connect to ratings database"}`
	fixed      = `{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}`
)

func TestDatabaseAddress(t *testing.T) {
	tests := []struct{ host, port, want string }{
		{"mysqldb", "3306", "mysqldb:3306"},
		{"10.0.0.1", "3307", "10.0.0.1:3307"},
		{"mysqldb.vm.svc.cluster.local:3308", "3306", "mysqldb.vm.svc.cluster.local:3308"},
		{"127.0.0.1:3308", "", "127.0.0.1:3308"},
		{"::1", "3306", "[::1]:3306"},
		{"[::1]", "3306", "[::1]:3306"},
		{"[::1]:3308", "3306", "[::1]:3308"},
		{"mysqldb", "", ""},
		{"mysqldb", "0", ""},
		{"mysqldb", "65536", ""},
		{"mysqldb", "mysql", ""},
		{"mysqldb:", "3306", ""},
		{":3308", "3306", ""},
		{"my sql", "3306", ""},
		{"root:secret@mysqldb", "3306", ""},
		{"root@mysqldb:3308", "3306", ""},
		{"mysql://root:secret@mysqldb:3308/test", "3306", ""},
	}
	for _, tt := range tests {
		got, err := Database{Host: tt.host, Port: tt.port}.address()
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("host %q, port %q: %q, %v; want %q", tt.host, tt.port, got, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("host %q: the error tells the secret: %v", tt.host, err)
		}
	}
}

// The variables are the old sample's.
func TestDatabaseFromEnvironment(t *testing.T) {
	t.Setenv("DB_TYPE", "mysql")
	t.Setenv("MYSQL_DB_HOST", "db.example")
	t.Setenv("MYSQL_DB_PORT", "3307")
	t.Setenv("MYSQL_DB_USER", "ada")
	t.Setenv("MYSQL_DB_PASSWORD", "lovelace")
	want := Database{Type: "mysql", Host: "db.example", Port: "3307", User: "ada", Password: "lovelace"}
	if diff := cmp.Diff(want, Database{}.withDefaults()); diff != "" {
		t.Errorf("from the environment (-want +got):\n%s", diff)
	}
	own := Database{Type: "mysql", Host: "127.0.0.1:1", Port: "1", User: "u", Password: "p"}
	if diff := cmp.Diff(own, own.withDefaults()); diff != "" {
		t.Errorf("with values of its own (-want +got):\n%s", diff)
	}
}

func TestRatingsVersion(t *testing.T) {
	nobody := closedPort(t)
	tests := []struct {
		name, dbType, host string
		config             Config
		want               string
	}{
		{"nothing said", "", "", Config{}, fixed},
		{"database by environment", "mysql", nobody, Config{}, noDatabase},
		{"database, but v1", "mysql", nobody, Config{Version: "v1"}, fixed},
		{"type alone", "mysql", "", Config{}, fixed},
		{"another type", "mongodb", nobody, Config{}, fixed},
		{"v2, host by environment", "", nobody, Config{Version: "v2"}, noDatabase},
		{"v2, database by config", "", "", Config{Version: "v2", Database: Database{Host: nobody}}, noDatabase},
		{"database by config", "", "", Config{Database: Database{Type: "mysql", Host: nobody}}, noDatabase},
		{"config before environment", "mongodb", "", Config{Version: "v2", Database: Database{Type: "mysql", Host: nobody}}, noDatabase},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("DB_TYPE", tt.dbType)
			t.Setenv("MYSQL_DB_HOST", tt.host)
			h, err := New("ratings", tt.config)
			if err != nil {
				t.Fatal(err)
			}
			if got := ask(h, "GET", "/ratings/0", "").Body.String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// closedPort is an address on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// silent accepts connections and says nothing on them.
func silent(t *testing.T) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(io.Discard, conn) // until the other side goes away
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait() // for ever if the pool keeps a connection that leads to nothing
	})
	return l.Addr().String()
}

// A database that does not answer holds a request for two seconds, however many
// there are; health does not depend on it, and the log never has the password.
func TestSilentDatabase(t *testing.T) {
	t.Parallel()
	const many, password = 3 * maxConns, "correct-horse"
	var out bytes.Buffer
	h, err := New("ratings", Config{
		Version:  "v2",
		Database: Database{Type: "mysql", Host: silent(t), User: "root", Password: password},
		Logger:   slog.New(slog.NewTextHandler(&out, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	answers := make(chan *httptest.ResponseRecorder, many)
	for range many {
		go func() { answers <- ask(h, "GET", "/ratings/0", "") }()
	}
	if got := ask(h, "GET", "/health", ""); got.Code != 200 {
		t.Errorf("health is %d, want 200", got.Code)
	}
	for range many {
		if got := <-answers; got.Code != 500 || got.Body.String() != noDatabase {
			t.Errorf("got %d %s, want 500 %s", got.Code, got.Body, noDatabase)
		}
	}
	if took := time.Since(begun); took < queryTimeout || took > 2*queryTimeout {
		t.Errorf("took %v, want %v", took, queryTimeout)
	}
	if log := out.String(); strings.Count(log, "no stars from the database") != many || strings.Contains(log, password) {
		t.Errorf("logged:\n%s", log)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	db, err := Database{}.open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // it was never used
	if n := db.Stats().MaxOpenConnections; n != maxConns {
		t.Errorf("%d connections may be open, want %d", n, maxConns)
	}
}
