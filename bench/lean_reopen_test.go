package bench

import (
	"context"
	"testing"

	"github.com/lateen-mesh/lateen/internal/xds"
)

// A proxy whose stream ends when it has taken a response and not asked yet for what follows from it, or while it repeats its
// requests, asks for all that on the next stream: it would be waited for otherwise, for ever.
func TestFleetAsksForWhatFollows(t *testing.T) {
	t.Parallel()
	r := newRig(t, newWorld(4, 10, 5), -1)
	r.fleet.fill()
	r.inSync()
	for i, opened := range [][]xds.Type{
		{xds.ClusterType},
		{xds.ClusterType, xds.EndpointsType, xds.ListenerType},
		{xds.ClusterType, xds.EndpointsType, xds.ListenerType, xds.RouteType},
		{xds.ClusterType, xds.ListenerType, xds.RouteType, xds.VirtualHostType},
	} {
		p := r.fleet.proxies[i]
		if err := p.leave(); err != nil {
			t.Fatal(err)
		}
		p.opened = map[xds.Type]bool{}
		for _, typ := range opened {
			p.opened[typ] = true
		}
		p.come(context.WithoutCancel(t.Context()))
	}
	r.inSync()
	r.fleet.whole()
}
