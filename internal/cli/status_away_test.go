package cli

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// valve is a listener behind which nobody can be reached while it is shut.
type valve struct {
	net.Listener

	mu   sync.Mutex
	shut bool
	open []net.Conn
}

// Accept implements [net.Listener].
func (v *valve) Accept() (net.Conn, error) {
	for {
		c, err := v.Listener.Accept()
		if err != nil {
			return nil, err
		}
		v.mu.Lock()
		shut := v.shut
		if !shut {
			v.open = append(v.open, c)
		}
		v.mu.Unlock()
		if !shut {
			return c, nil
		}
		_ = c.Close()
	}
}

// turn shuts the valve, and ends what came through it, or opens it.
func (v *valve) turn(shut bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shut = shut
	for _, c := range v.open {
		_ = c.Close()
	}
	v.open = nil
}

// A replica that lives, as its Lease says, and cannot be asked by the leader, may have proxies that have an object or lack it. The status says
// so, and names it; what is wrong with an object is told all the same. When the replica can be asked again, or goes, all are counted.
func TestStatusOfWhoCannotBeAsked(t *testing.T) {
	t.Parallel()
	c := newShared(t, 2)
	a, b := c.start("a"), c.start("b")
	for _, r := range []*sharing{a, b} {
		meshtest.Await(t, "both replicas know each other", func() bool { return strings.Contains(r.log.String(), "another replica of the control plane is there") })
	}
	c.call(0, a, "reviews:9080")
	c.call(1, b, "reviews:9080")
	c.apply(ruleFor("good", ""))
	c.await("rr/good", "1 Accepted=True/Accepted Programmed=True/Confirmed 2 of 2")
	away := b
	if strings.Contains(b.log.String(), "this replica leads") {
		away = a
	}

	away.secure.turn(true)
	c.apply(ruleFor("good", ", precedence: 2"))
	c.await("rr/good", "2 Accepted=True/Accepted Programmed=Unknown/NotAllKnown 1 of 1 or more")
	if said, want := c.get("rr/good", "{.status.conditions[1].message}"), "in at least 1 of 1 proxies: replica "+away.name+" cannot be asked"; said != want {
		t.Errorf("the status says %q, want %q", said, want)
	}
	c.apply(ruleFor("wrong", ", precedence: high"))
	c.await("rr/wrong", "1 Accepted=False/WrongType Programmed=False/NotAccepted ")

	away.secure.turn(false)
	c.await("rr/good", "2 Accepted=True/Accepted Programmed=True/Confirmed 2 of 2")

	away.secure.turn(true)
	c.apply(ruleFor("good", ", precedence: 3"))
	c.await("rr/good", "3 Accepted=True/Accepted Programmed=Unknown/NotAllKnown 1 of 1 or more")
	away.stop() // which it says
	c.await("rr/good", "3 Accepted=True/Accepted Programmed=True/Confirmed 1 of 1")
}
