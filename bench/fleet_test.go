package bench

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lateen-mesh/lateen/internal/view"
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

	mu      sync.Mutex
	filling arrivals // proxies that have all virtual hosts that they want
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

// watch waits for a new version of one resource.
type watch struct {
	typ  xds.Type
	name string
	arrivals
}

// count counts what a response carries.
func (f *fleet) count(r *response) {
	f.messages.Add(1)
	f.resources.Add(int64(len(r.resources)))
	f.bytes.Add(int64(r.size))
}

// counted is what all proxies were sent.
type counted struct{ messages, resources, bytes int64 }

func (f *fleet) counted() counted {
	return counted{f.messages.Load(), f.resources.Load(), f.bytes.Load()}
}

func (c counted) since(before counted) counted {
	return counted{c.messages - before.messages, c.resources - before.resources, c.bytes - before.bytes}
}

// filled notes that a proxy lacks so many of the virtual hosts that it wants.
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
	if w == nil || w.typ != t || w.name != n.text {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if w.got < w.want {
		w.add(at)
	}
}

// watch begins to wait for another version of a resource at all proxies that have it.
func (f *fleet) watch(t xds.Type, resource string) *watch {
	f.tb.Helper()
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
	w := &watch{typ: t, name: resource, arrivals: newArrivals(holders)}
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

// fill has all proxies connect for the first time, and returns when each has every virtual host that it wants.
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
func newFleet(tb testing.TB, s *server, w *world) *fleet {
	tb.Helper()
	f := &fleet{tb: tb, server: s, names: names{all: map[string]*name{}}}
	for i := range w.proxies {
		f.proxies = append(f.proxies, newLean(f, w.node(i), w.spellings(i)))
	}
	tb.Cleanup(f.disconnect)
	return f
}

// asked returns every host that some proxy wants, as it is spelled.
func (f *fleet) asked() []string {
	all := map[string]bool{}
	for _, p := range f.proxies {
		p.mu.Lock()
		for host := range p.wants {
			all[strings.TrimPrefix(host, view.VirtualHostOf("").Name)] = true
		}
		p.mu.Unlock()
	}
	return slices.Sorted(maps.Keys(all))
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
