package bench

import (
	"os"
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/internal/xds"
)

// What the benchmark on Kubernetes measures at full size is counted here at a small one, against a real API server: each scope is made
// once for all and small; a change costs those who read it; whoever comes back is sent nothing that it has, whether its stream,
// the control plane or all that the control plane kept was lost. The proxies see to the order of what they are sent.
func TestKubernetesCounts(t *testing.T) {
	t.Parallel()
	c := newCluster(t, shape{20, 20, 5}, 1)
	r := newClusterRig(t, c, -1)
	r.start()
	r.enrol(r.tokens())
	b := r.base
	b.fleet.fill()
	b.inSync()

	scopes := c.scopes()
	all, proxies := int64(len(scopes)), int64(c.proxies)
	made, sent, size := r.ofScopes("lateen_resources_made_total"), r.ofScopes("lateen_resources_sent_total"), r.ofScopes("lateen_resource_bytes_sent_total")
	if made != all || sent != all*proxies || size > 200*sent {
		t.Errorf("%d scopes were made and %d sent in %d bytes, want %d, each once to %d proxies, of 200 bytes at most", made, sent, size, all, proxies)
	}
	for _, p := range b.fleet.proxies {
		var held []string
		for n := range p.held[xds.ScopeType] {
			held = append(held, n.text)
		}
		if slices.Sort(held); !slices.Equal(held, scopes) {
			t.Errorf("proxy %s has the scopes %v, want %v", p.node, held, scopes)
		}
		if got := len(p.held[xds.RouteType]); got != c.uses {
			t.Errorf("proxy %s has routes to %d services, want the %d that it calls", p.node, got, c.uses)
		}
	}

	before := b.fleet.counted()
	since := func(what string, messages, resources, scopes int64) {
		t.Helper()
		b.inSync()
		b.fleet.whole()
		if got := b.fleet.counted().since(before); got.messages != messages || got.resources != resources || got.scopes != scopes {
			t.Errorf("%s: sent %+v, want %d messages with %d resources, %d of them scopes", what, got, messages, resources, scopes)
		}
		before = b.fleet.counted()
	}
	const moved, ruled = 3, 10
	for range 2 { // one endpoint less, and one more
		w := b.fleet.watch(xds.EndpointsType, endpointsAt(moved))
		c.must(c.move(moved))
		b.fleet.await(&w.arrivals, "endpoint")
		callers := int64(c.callers(moved))
		since("one endpoint", callers, callers, 0)
	}
	w := b.fleet.watch(xds.RouteType, routes(ruled))
	c.must(c.rule(ruled, 40))
	b.fleet.await(&w.arrivals, "rule")
	callers := int64(c.callers(ruled))
	since("one rule", callers, callers, 0)

	next := c.services
	c.must(c.prepare(next))
	w = b.fleet.expect(xds.ScopeType, c.proxies, c.scope(next))
	c.must(c.expose(next))
	b.fleet.await(&w.arrivals, "scope")
	since("a service that nobody calls", proxies, proxies, proxies)
	if again := r.ofScopes("lateen_resources_made_total"); again != made+1 {
		t.Errorf("for one more service %d scopes were made", again-made)
	}

	b.fleet.disconnect()
	b.connected(0)
	b.fleet.connect()
	since("streams that were lost", 0, 0, 0)
	b.server.kill()
	r.start()
	since("a restart", 0, 0, 0)
	b.server.kill()
	c.must(os.RemoveAll(b.server.dir))
	c.must(os.Mkdir(b.server.dir, 0o700))
	r.start()
	since("another control plane in its place", 0, 0, 0)
}
