package places_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/lateen-mesh/lateen/internal/places"
)

// There are so many in all and so many for each; what is given back, also twice, can be taken once more.
func TestPlaces(t *testing.T) {
	t.Parallel()
	p := places.New(5, 2)
	take := func(caller string, want bool) func() {
		t.Helper()
		leave, ok := p.Take(caller)
		if ok != want {
			t.Fatalf("with %d taken, %q is let in: %t", p.Taken(), caller, ok)
		}
		return leave
	}
	leave := take("a", true)
	take("a", true)
	take("a", false)
	leave()
	leave()
	take("a", true)
	take("a", false)
	take("b", true)
	here := take("", true) // has no share
	take("", true)
	take("c", false) // all are taken
	take("", false)
	here()
	take("c", true)
	if p.Taken() != 5 {
		t.Errorf("%d are taken", p.Taken())
	}
}

// Without bounds there are as many as are wanted, and nothing is remembered of those that have left.
func TestUnbounded(t *testing.T) {
	t.Parallel()
	p := places.New(0, 0)
	for range 1000 {
		leave, ok := p.Take("a")
		if !ok {
			t.Fatal("one is not let in")
		}
		defer leave()
	}
}

func TestFrom(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]string{
		"10.1.2.3:80": "10.1.2.3", "[::ffff:10.1.2.3]:80": "10.1.2.3", "[fd00::1]:80": "fd00::1", "[fe80::1%eth0]:80": "fe80::1",
		"127.0.0.1:80": "", "127.9.8.7:80": "", "[::1]:80": "", "[::ffff:127.0.0.1]:1": "",
	} {
		if got := places.From(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(at))); got != want {
			t.Errorf("%s is %q, want %q", at, got, want)
		}
	}
	if got := places.From(&net.UnixAddr{Name: "/x", Net: "unix"}); got != "" {
		t.Errorf("a socket is %q", got)
	}
}

// queue is a listener to which connections come from any address.
type queue struct {
	net.Listener
	come chan net.Conn
}

func (q *queue) Accept() (net.Conn, error) {
	c, open := <-q.come
	if !open {
		return nil, net.ErrClosed
	}
	return c, nil
}

type from struct {
	net.Conn
	at string
}

func (f from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.at)) }

// A caller that holds its share is turned away at once, and others are let in; when one of its connections is closed it is let in too.
func TestListen(t *testing.T) {
	t.Parallel()
	q := &queue{come: make(chan net.Conn, 10)}
	l := places.Listen(q, 10, 2)
	dial := func(at string) net.Conn {
		near, far := net.Pipe()
		q.come <- from{far, at}
		return near
	}
	accept := func(want string) net.Conn {
		t.Helper()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got := c.RemoteAddr().String(); got != want {
			t.Fatalf("%s is let in, want %s", got, want)
		}
		return c
	}
	dial("10.0.0.1:1")
	first := accept("10.0.0.1:1")
	dial("10.0.0.1:2")
	accept("10.0.0.1:2")
	third := dial("10.0.0.1:3")
	dial("10.0.0.2:1")
	accept("10.0.0.2:1")
	if _, err := third.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the third one: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	dial("10.0.0.1:4")
	accept("10.0.0.1:4")
	close(q.come)
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("at the end: %v", err)
	}
}
