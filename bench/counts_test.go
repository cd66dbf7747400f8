package bench

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// What the benchmark measures at full size is counted here at a small one: a change is sent to those who subscribe to
// what it changes and to nobody else, and who comes back is sent nothing that it has.
func TestScaleCounts(t *testing.T) {
	t.Parallel()
	r := newRig(t, newWorld(10, 10, 5), -1)
	r.fleet.fill()
	r.inSync()
	sent := r.fleet.counted()
	none := func(what string) {
		t.Helper()
		if now := r.fleet.counted(); now != sent {
			t.Errorf("%s: sent %+v, want nothing", what, now.since(sent))
		}
	}

	const moved, ruled = 3, 0
	callers := int64(r.callers(moved))
	w := r.fleet.watch(xds.EndpointsType, endpointsAt(moved))
	r.edit(r.move(moved))
	r.fleet.await(&w.arrivals, "endpoint")
	r.inSync()
	if got := r.fleet.counted().since(sent); got.messages != callers || got.resources != callers {
		t.Errorf("one endpoint: sent %+v, want one resource to each of %d callers", got, callers)
	}

	sent, callers = r.fleet.counted(), int64(r.callers(ruled))
	w = r.fleet.watch(xds.VirtualHostType, view.VirtualHostOf(spelling(ruled)).Name)
	r.write(rule(ruled, 40))
	r.fleet.await(&w.arrivals, "route")
	r.inSync()
	if got := r.fleet.counted().since(sent); got.messages != callers || got.resources != callers {
		t.Errorf("one route: sent %+v, want one resource to each of %d callers", got, callers)
	}

	sent = r.fleet.counted()
	r.edit(r.add(r.services))
	r.inSync()
	none("a service that nobody calls")

	r.fleet.disconnect()
	r.connected(0)
	r.fleet.connect()
	r.inSync()
	none("reconnection")

	r.server.kill()
	r.server.start()
	r.server.answers()
	r.tell()
	r.inSync()
	none("restart of the server")
	r.fleet.whole()
}
