package local

import (
	"context"
	"net/netip"
	"time"
)

// externalPatience is after how long it is told that something which should run already does not answer.
const externalPatience = 10 * time.Second

// awaitExternal asks what runs already until it takes connections; only then requests are sent there. When it does
// not for a while, that is told once.
func (r *runner) awaitExternal(ctx context.Context) {
	w := r.instance.Workload
	address := w.Runs
	if address.Port() == 0 {
		address = netip.AddrPortFrom(address.Addr(), uint16(w.Ports[0].Number))
	}
	told := false
	for ctx.Err() == nil {
		err := probe{address.String(), Ready{Timeout: externalPatience}}.await(ctx)
		if err == nil && ctx.Err() == nil {
			r.reporter(ctx)(partApp, up)
			return
		}
		if err != nil && !told {
			r.site.console.fail(r.instance.Name+" "+err.Error(), "start it: it is asked again until it answers, and gets no requests before")
			told = true
		}
	}
}
