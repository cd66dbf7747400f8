package agent

import (
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/xds"
)

const trustDomain = "cluster.local"

// web is whom most tests are about.
var web = identity.Peer{
	ID:       identity.ID{TrustDomain: trustDomain, Namespace: "default", Account: "web"},
	Workload: "web-v1-0.default", Address: netip.MustParseAddr("127.0.0.2"),
}

// plane is a control plane with the real authority and little to say: proxies get the same resources, of types that they may
// ask everything of.
type plane struct {
	t         testing.TB
	authority *ca.Authority
	address   string
	resources map[xds.Type][]*xds.Resource
	opened    chan *x509.Certificate // what the peer has shown, for each stream
	ended     chan struct{}          // for each stream

	mu    sync.Mutex
	conns []net.Conn
}

// openAuthority opens an authority with a state folder of its own, whose certificates are good for a while (0: a day).
func openAuthority(t testing.TB, ttl time.Duration) *ca.Authority {
	t.Helper()
	authority, err := ca.Open(ca.Config{State: t.TempDir(), TrustDomain: trustDomain, TTL: ttl, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = authority.Close() })
	return authority
}

// newPlane starts a control plane that gives certificates which are good for a while (0: a day).
func newPlane(t testing.TB, ttl time.Duration) *plane {
	t.Helper()
	p := &plane{
		t: t, authority: openAuthority(t, ttl), address: "127.0.0.1:0",
		opened: make(chan *x509.Certificate, 1000), ended: make(chan struct{}, 1000),
	}
	p.serve()
	return p
}

// serve answers until the test ends or the returned function is called, and always at the same address.
func (p *plane) serve() (stop func()) {
	p.t.Helper()
	l, err := new(net.ListenConfig).Listen(p.t.Context(), "tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.address = l.Addr().String()
	return p.serveOn(l, grpc.Creds(credentials.NewTLS(p.authority.ServerTLS("localhost", "127.0.0.1"))))
}

// serveOn answers on a listener.
func (p *plane) serveOn(l net.Listener, options ...grpc.ServerOption) (stop func()) {
	server := xds.NewServer(func(ctx context.Context, _ xds.Peer) (xds.Client, error) {
		from, _ := peer.FromContext(ctx)
		if info, ok := from.AuthInfo.(credentials.TLSInfo); ok {
			p.opened <- info.State.PeerCertificates[0]
		} else {
			p.opened <- nil
		}
		return &said{plane: p, asked: map[xds.Type]bool{}}, nil
	}, nil, 0, options...)
	ca.NewService(p.authority, p.authority.Attestor()).Register(server)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(keeping{l, p}) // ends when it is stopped
	}()
	stop = func() {
		server.Stop()
		<-done
	}
	p.t.Cleanup(stop)
	return stop
}

// token returns a fresh join token.
func (p *plane) token(who identity.Peer) string {
	p.t.Helper()
	token, _, err := p.authority.Tokens().Issue(who, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	return token.Reveal()
}

// cut closes all connections.
func (p *plane) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// keeping keeps the connections of a listener in mind.
type keeping struct {
	net.Listener
	plane *plane
}

func (k keeping) Accept() (net.Conn, error) {
	c, err := k.Listener.Accept()
	if err == nil {
		k.plane.mu.Lock()
		defer k.plane.mu.Unlock()
		k.plane.conns = append(k.plane.conns, c)
	}
	return c, err
}

// said is the [xds.Client] of a plane: it answers each type once.
type said struct {
	plane *plane
	asked map[xds.Type]bool
}

func (s *said) Handle(_ *xds.Session, e xds.Event) {
	if e.First {
		s.asked[e.Type] = true
	}
}

func (s *said) Next(session *xds.Session) (responses []*xds.Response, _ time.Duration) {
	for t := range s.asked {
		if r, _ := session.Respond(t, s.plane.resources[t], nil); r != nil {
			responses = append(responses, r)
		}
		delete(s.asked, t)
	}
	return responses, 0
}

func (s *said) Wake() <-chan struct{} { return nil }
func (s *said) Close()                { s.plane.ended <- struct{}{} }

// slogTo writes to a writer.
func slogTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
