package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/linelog"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/netns"
	"github.com/lateen-mesh/lateen/internal/serve"
)

const (
	// patience bounds everything that a test waits for.
	patience = 60 * time.Second
	// planeAddress and otherAddress are those of the control plane's Service, one after the other.
	planeAddress = "10.96.0.15"
	otherAddress = "10.96.0.16"
)

// build builds the program as it is in an image, and returns its path.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lateen-agent")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// cluster is a node with a control plane, its name in DNS, and pods.
type cluster struct {
	t       *testing.T
	network *netns.Network
	plane   *door
	dir     string
	names   sync.Map // host name to address
}

// newCluster starts a control plane that knows the workloads of a registry.
func newCluster(t *testing.T, r mesh.Registry) *cluster {
	t.Helper()
	c := &cluster{t: t, network: netns.NewNetwork(t), dir: t.TempDir()}
	for _, address := range []string{planeAddress, otherAddress} {
		c.network.Outside(address)
	}
	c.plane = newDoor(t, planeAddress+":15012")
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	registry := filepath.Join(c.dir, "registry.json")
	if err := os.WriteFile(registry, text, 0o600); err != nil {
		t.Fatal(err)
	}
	plane, err := serve.New(serve.Config{
		StateDir: filepath.Join(c.dir, "s"), RegistryFile: registry, Secure: c.plane, Log: linelog.New(t.Output(), slog.LevelWarn),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- plane.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	c.names.Store("lateen.lateen-system.svc.cluster.local.", planeAddress)
	c.serveDNS()
	return c
}

// serveDNS answers on the node for the names of Services.
func (c *cluster) serveDNS() {
	c.t.Helper()
	packets, err := new(net.ListenConfig).ListenPacket(c.t.Context(), "udp4", netns.NodeAddress+":53")
	if err != nil {
		c.t.Fatal(err)
	}
	server := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		var answer dns.Msg
		answer.SetReply(q)
		address, known := c.names.Load(q.Question[0].Name)
		if !known {
			answer.Rcode = dns.RcodeNameError
		} else if q.Question[0].Qtype == dns.TypeA {
			answer.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.ParseIP(address.(string)),
			}}
		}
		_ = w.WriteMsg(&answer) // who does not hear it asks again
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ActivateAndServe()
	}()
	c.t.Cleanup(func() {
		_ = server.Shutdown()
		<-done
	})
}

// token returns a join token for a workload.
func (c *cluster) token(w *mesh.Workload) string {
	c.t.Helper()
	client := api.NewClient(filepath.Join(c.dir, "s", "api.sock"))
	var token api.JoinToken
	until(c.t, "a token", func() (err error) {
		token, err = client.NewToken(c.t.Context(), api.NewToken{Workload: w.Name, Namespace: w.Namespace, Account: w.Account, Address: w.Address})
		return err
	})
	return token.Token
}

// until calls f until it returns no error.
func until(t *testing.T, what string, f func() error) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// door is where the control plane listens, and can move.
type door struct {
	t        *testing.T
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once

	mu       sync.Mutex
	listener net.Listener
	open     []net.Conn
}

func newDoor(t *testing.T, address string) *door {
	t.Helper()
	d := &door{t: t, accepted: make(chan net.Conn), closed: make(chan struct{})}
	d.listen(address)
	return d
}

func (d *door) listen(address string) {
	d.t.Helper()
	l, err := new(net.ListenConfig).Listen(d.t.Context(), "tcp4", address)
	if err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	d.listener = l
	d.mu.Unlock()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.open = append(d.open, conn)
			d.mu.Unlock()
			select {
			case d.accepted <- conn:
			case <-d.closed:
				conn.Close()
			}
		}
	}()
}

// move closes the old address with all its connections, and listens at another one.
func (d *door) move(address string) {
	d.t.Helper()
	d.mu.Lock()
	d.listener.Close()
	for _, conn := range d.open {
		conn.Close()
	}
	d.open = nil
	d.mu.Unlock()
	d.listen(address)
}

// count returns how many connections were made since the last move.
func (d *door) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.open)
}

func (d *door) Accept() (net.Conn, error) {
	select {
	case conn := <-d.accepted:
		return conn, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

func (d *door) Close() error {
	d.once.Do(func() { close(d.closed) })
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.listener.Close()
}

func (d *door) Addr() net.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.listener.Addr()
}
