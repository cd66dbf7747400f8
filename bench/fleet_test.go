package bench

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lateen-mesh/lateen/internal/xds"
)

// patience bounds every wait for something that must happen.
const patience = 5 * time.Minute

// fleet is all proxies, and what they were sent.
type fleet struct {
	tb      testing.TB
	server  *server
	proxies []*lean
	names   names

	messages, resources, bytes atomic.Int64 // received
	scopes, scopeBytes         atomic.Int64 // of those, scopes

	mu      sync.Mutex
	filling arrivals // proxies that have all that they call
	watched atomic.Pointer[watch]
}

// arrivals are moments at which proxies got something.
type arrivals struct {
	got, want   int
	first, last time.Time
	done        chan struct{} // closed when all have
}

func newArrivals(want int) arrivals {
	a := arrivals{want: want, done: make(chan struct{})}
	if want == 0 {
		close(a.done)
	}
	return a
}

func (a *arrivals) add(at time.Time) {
	if a.got == 0 {
		a.first = at
	}
	if at.After(a.last) {
		a.last = at
	}
	if a.got++; a.got == a.want {
		close(a.done)
	}
}

// watch waits for new versions of some resources of a type.
type watch struct {
	typ   xds.Type
	names map[string]bool
	seen  []arrival
	arrivals
}

// arrival is when some proxy got a resource.
type arrival struct {
	name string
	at   time.Time
}

// count counts what a response carries.
func (f *fleet) count(r *response) {
	f.messages.Add(1)
	f.resources.Add(int64(len(r.resources)))
	f.bytes.Add(int64(r.size))
	if r.typ == xds.ScopeType {
		f.scopes.Add(int64(len(r.resources)))
		f.scopeBytes.Add(int64(r.size))
	}
}

// counted is what all proxies were sent.
type counted struct{ messages, resources, bytes, scopes, scopeBytes int64 }

func (f *fleet) counted() counted {
	return counted{f.messages.Load(), f.resources.Load(), f.bytes.Load(), f.scopes.Load(), f.scopeBytes.Load()}
}

func (c counted) since(before counted) counted {
	return counted{
		c.messages - before.messages, c.resources - before.resources, c.bytes - before.bytes,
		c.scopes - before.scopes, c.scopeBytes - before.scopeBytes,
	}
}

// filled notes that a proxy lacks so much of what it calls.
func (f *fleet) filled(empty int, at time.Time) {
	if empty != 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.filling.got < f.filling.want {
		f.filling.add(at)
	}
}

// arrived notes that a proxy got another version of a resource.
func (f *fleet) arrived(t xds.Type, n *name, at time.Time) {
	w := f.watched.Load()
	if w == nil || w.typ != t || !w.names[n.text] {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if w.got < w.want {
		w.seen = append(w.seen, arrival{n.text, at})
		w.add(at)
	}
}

// watch begins to wait for another version of resources at all proxies that have them.
func (f *fleet) watch(t xds.Type, resources ...string) *watch {
	f.tb.Helper()
	all := 0
	for _, resource := range resources {
		n := f.names.of([]byte(resource))
		holders := 0
		for _, p := range f.proxies {
			p.mu.Lock()
			if _, ok := p.held[t][n]; ok {
				holders++
			}
			p.mu.Unlock()
		}
		if holders == 0 {
			f.tb.Fatalf("nobody holds %s", resource)
		}
		all += holders
	}
	return f.expect(t, all, resources...)
}

// expect begins to wait until resources have come so often.
func (f *fleet) expect(t xds.Type, times int, resources ...string) *watch {
	w := &watch{typ: t, names: map[string]bool{}, arrivals: newArrivals(times)}
	for _, resource := range resources {
		w.names[resource] = true
	}
	f.watched.Store(w)
	return w
}

// await waits for arrivals.
func (f *fleet) await(a *arrivals, what string) {
	f.tb.Helper()
	select {
	case <-a.done:
	case <-time.After(patience):
		f.mu.Lock()
		defer f.mu.Unlock()
		f.tb.Fatalf("%s: %d of %d after %v", what, a.got, a.want, patience)
	}
}

// connect has all proxies connect at once.
func (f *fleet) connect() {
	for _, p := range f.proxies {
		p.come(context.WithoutCancel(f.tb.Context()))
	}
}

// disconnect ends all streams. What the proxies hold stays.
func (f *fleet) disconnect() {
	var leaving errgroup.Group
	for _, p := range f.proxies {
		leaving.Go(p.leave)
	}
	if err := leaving.Wait(); err != nil {
		f.tb.Error(err)
	}
}

// fill has all proxies connect for the first time, and returns when each has all that it calls.
func (f *fleet) fill() arrivals {
	f.tb.Helper()
	f.mu.Lock()
	f.filling = newArrivals(len(f.proxies))
	f.mu.Unlock()
	f.connect()
	f.await(&f.filling, "proxies with all they want")
	f.whole()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.filling
}

// whole wants every proxy to have all that it asked for.
func (f *fleet) whole() {
	f.tb.Helper()
	for _, p := range f.proxies {
		if err := p.whole(); err != nil {
			f.tb.Fatal(err)
		}
	}
}

// newFleet returns proxies that are not connected.
func newFleet(tb testing.TB, s *server, members []member) *fleet {
	tb.Helper()
	f := &fleet{tb: tb, server: s, names: names{all: map[string]*name{}}}
	for _, m := range members {
		f.proxies = append(f.proxies, newLean(f, m))
	}
	tb.Cleanup(f.disconnect)
	return f
}

// asked returns everything that some proxy calls.
func (f *fleet) asked() []target {
	all := map[string]target{}
	for _, p := range f.proxies {
		p.mu.Lock()
		maps.Copy(all, p.wants)
		p.mu.Unlock()
	}
	return slices.Collect(maps.Values(all))
}

// held counts the resources that all proxies hold.
func (f *fleet) held() int {
	n := 0
	for _, p := range f.proxies {
		p.mu.Lock()
		for _, resources := range p.held {
			n += len(resources)
		}
		p.mu.Unlock()
	}
	return n
}
