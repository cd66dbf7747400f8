package ca

import (
	"net"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/places"
)

// caller is a connection that came through the listener of a door. It has a place, first one of those that shake hands, then
// one of those that it is let in as, until it is closed.
type caller struct {
	net.Conn

	mu     sync.Mutex
	leave  func() // gives its place back
	closed bool
	handed bool // it is a guest of another server
}

// SetDeadline implements [net.Conn]. The server that took the connection lifts its own bound when the handshake is over, even where it
// has handed the connection over and the next server has set another.
func (c *caller) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handed {
		return nil
	}
	return c.Conn.SetDeadline(t)
}

// handOver leaves the deadlines to the next server, which has the connection as [shaken].
func (c *caller) handOver() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handed = true
}

// shaken is a caller's connection below its TLS, for whoever it is handed to.
type shaken struct{ *caller }

// SetDeadline implements [net.Conn].
func (s shaken) SetDeadline(t time.Time) error { return s.Conn.SetDeadline(t) }

// Close implements [net.Conn].
func (c *caller) Close() error {
	c.mu.Lock()
	c.closed = true
	c.leave()
	c.mu.Unlock()
	return c.Conn.Close()
}

// move gives the caller a place among others for the one it has, and tells whether there was one.
func (c *caller) move(to *places.Places, who string) bool {
	leave, ok := to.Take(who)
	if !ok {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave()
	if c.leave = leave; c.closed {
		leave()
	}
	return true
}

// callers are the connections of a listener that may shake hands.
type callers struct {
	net.Listener
	door *Door
}

// Listen returns a listener whose connections the door lets in, or not.
func (d *Door) Listen(l net.Listener) net.Listener { return &callers{l, d} }

// Accept implements [net.Listener].
func (l *callers) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		leave, ok := l.door.shaking.Take(places.From(c.RemoteAddr()))
		if ok {
			return &caller{Conn: c, leave: leave}, nil
		}
		l.door.refuse(c, ReasonBusy, errFull)
		_ = c.Close() // nobody is left to tell
	}
}
