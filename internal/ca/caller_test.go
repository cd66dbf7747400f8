package ca

import (
	"net"
	"testing"
	"time"
)

// deadlines is a connection that notes the last deadline.
type deadlines struct {
	net.Conn
	last time.Time
}

func (d *deadlines) SetDeadline(t time.Time) error {
	d.last = t
	return nil
}

// The server that a guest came through lifts its own bound after it has handed the guest over: the bound of the next server stays.
func TestGuestsKeepTheirBound(t *testing.T) {
	t.Parallel()
	conn := &deadlines{}
	c := &caller{Conn: conn, leave: func() {}}
	first, second := time.Unix(1, 0), time.Unix(2, 0)
	if err := c.SetDeadline(first); err != nil || !conn.last.Equal(first) {
		t.Errorf("%v, the deadline is %v, want %v", err, conn.last, first)
	}
	c.handOver()
	if err := (shaken{c}).SetDeadline(second); err != nil || !conn.last.Equal(second) {
		t.Errorf("%v, the deadline is %v, want %v", err, conn.last, second)
	}
	if err := c.SetDeadline(time.Time{}); err != nil || !conn.last.Equal(second) {
		t.Errorf("%v, the deadline is %v, want %v still", err, conn.last, second)
	}
}
