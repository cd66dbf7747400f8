// Package places bounds how many callers are let in at a time, in all and for each of them, so that none can take what the others
// need.
//
// A caller is known by a text: the address that it comes from ([From]), or whom its certificate speaks for. One whose text is
// empty has no share of its own: it is bounded with all. [Listen] does so for the connections of a listener.
package places

import (
	"net"
	"net/netip"
	"sync"

	"golang.org/x/net/netutil"
)

// Places are those that there are. Its methods may be called from any goroutine.
type Places struct {
	most, each int

	mu    sync.Mutex
	taken int
	by    map[string]int // of those that have any
}

// New returns places: so many in all, and so many for each caller. 0: that is not bounded.
func New(most, each int) *Places { return &Places{most: most, each: each, by: map[string]int{}} }

// Take takes a place for a caller, and returns what gives it back, once however often it is called; or tells that there is none.
func (p *Places) Take(caller string) (leave func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.most > 0 && p.taken >= p.most || p.each > 0 && caller != "" && p.by[caller] >= p.each {
		return nil, false
	}
	p.taken++
	if caller != "" {
		p.by[caller]++
	}
	return sync.OnceFunc(func() { p.leave(caller) }), true
}

func (p *Places) leave(caller string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if caller == "" {
		return
	}
	if p.by[caller]--; p.by[caller] == 0 {
		delete(p.by, caller)
	}
}

// Taken is how many are taken.
func (p *Places) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// From returns the caller that an address is: the host, whatever its port; "" for this machine, all of whose programs look alike, and
// for what is no address of the network.
func From(a net.Addr) string {
	at, err := netip.ParseAddrPort(a.String())
	if host := at.Addr().Unmap().WithZone(""); err == nil && !host.IsLoopback() {
		return host.String()
	}
	return ""
}

// Listen bounds the connections of a listener. Beyond most of them in all, further ones wait until others are closed; beyond each of
// one address, further ones of it are closed at once, so that they do not wait in the way of others.
func Listen(l net.Listener, most, each int) net.Listener {
	return &listener{Listener: netutil.LimitListener(l, most), places: New(0, each)}
}

type listener struct {
	net.Listener
	places *Places
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if leave, ok := l.places.Take(From(c.RemoteAddr())); ok {
			return &conn{c, leave}, nil
		}
		_ = c.Close() // nobody is left to tell
	}
}

type conn struct {
	net.Conn
	leave func()
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}
