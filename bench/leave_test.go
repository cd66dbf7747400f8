package bench

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"
)

// A proxy that leaves while it is just coming asks for everything that it had when it comes back.
func TestProxyLeavesWhileItComes(t *testing.T) {
	t.Parallel()
	r := newRig(t, newWorld(4, 10, 5), -1)
	r.fleet.fill()
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		for _, p := range r.fleet.proxies {
			if err := p.leave(); err != nil {
				t.Fatal(err)
			}
			p.come(context.WithoutCancel(t.Context()))
			<-time.After(time.Duration(random.IntN(1000)) * time.Microsecond)
			if err := p.leave(); err != nil {
				t.Fatal(err)
			}
			p.come(context.WithoutCancel(t.Context()))
		}
		r.inSync()
	}
}
