package ca

import (
	"net"
	"sync"

	"github.com/lateen-mesh/lateen/internal/places"
)

// caller is a connection that came through the listener of a door. It has a place, first one of those that shake hands, then
// one of those that it is let in as, until it is closed.
type caller struct {
	net.Conn

	mu     sync.Mutex
	leave  func() // gives its place back
	closed bool
}

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
