package push

import (
	"fmt"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Counting ends while proxies go on confirming, however many objects are open; what they have confirmed meanwhile counts the next time.
func TestCountingEnds(t *testing.T) {
	t.Parallel()
	const objects, most = mostVisits + 1, 3
	e := NewEngine(Config{Reaches: true})
	e.snapshot = mesh.NewSnapshot("cluster.local")
	p := &Proxy{settled: 0}
	en := &entry{owned: map[mesh.Ref]int64{}, subscribers: map[*Proxy]struct{}{p: {}}}
	r := &e.reaches
	for i := range objects {
		ref := mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: fmt.Sprint(i)}
		en.owned[ref] = 1 // the proxy has confirmed 0
		r.by[ref] = map[*entry]struct{}{en: {}}
	}
	r.stale[en] = struct{}{}
	pass := func() (confirmed, calls int) {
		for more := true; more && calls < 10; calls++ {
			var list []Reach
			list, _, more = e.Reaches()
			for _, one := range list {
				confirmed += one.Confirmed
			}
			r.moved = true // as when any proxy confirms anything
		}
		return confirmed, calls
	}
	if confirmed, calls := pass(); confirmed != 0 || calls > most {
		t.Errorf("%d open objects are counted in %d calls, with %d confirmed", objects, calls, confirmed)
	}
	p.settled = 1
	if confirmed, calls := pass(); confirmed != objects || calls > most {
		t.Errorf("then %d of %d are confirmed, after %d calls", confirmed, objects, calls)
	}
}
