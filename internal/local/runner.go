package local

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/guard"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const (
	settleBound   = 10 * time.Second // for callers to learn of a new instance
	withdrawBound = 5 * time.Second  // for callers to learn that one leaves
)

// site is what all instances of a mesh share.
type site struct {
	console    *console
	state      *stateDir
	guard      *guard.Guard
	roster     *roster
	announcer  *announcer
	api        API
	environ    []string
	executable string
	envoy      string
	log        *slog.Logger

	realm        mesh.Realm
	controlPlane netip.AddrPort // where it answers proxies
}

// part is one of the two processes of an instance.
type part int

const (
	partApp part = iota
	partProxy
	parts
)

// condition is how a part, or a whole instance, is.
type condition int

const (
	coming  condition = iota // not ready yet
	up                       // ready
	inForce                  // and the callers know it; only of an instance
	failed                   // it ended, or did not get ready in time, and is started again
	gone                     // it has left; only of an instance
)

// news is what a runner tells of its instance.
type news struct {
	id mesh.ProxyID
	is condition
}

// runner runs one instance: its proxy and its application. It lets the control plane know when both are ready.
type runner struct {
	site     *site
	instance *Instance
	tell     func(news)
	leave    chan struct{} // closed: end, and let the callers know first

	reports  chan report
	state    [parts]condition
	settled  chan struct{}      // callers know that it is ready
	settling sync.WaitGroup     // waits for that
	cancel   context.CancelFunc // ends the wait
}

type report struct {
	part part
	is   condition
}

func newRunner(s *site, i *Instance, tell func(news)) *runner {
	return &runner{
		site: s, instance: i, tell: tell, leave: make(chan struct{}),
		reports: make(chan report), settled: make(chan struct{}, 1), cancel: func() {},
	}
}

// run returns when the instance has ended: after leave was closed, or when ctx ends, which does not wait for callers.
// When kill ends, so do the processes, at once.
func (r *runner) run(ctx, kill context.Context) error {
	defer r.site.roster.remove(r.instance.ID())
	w := r.instance.Workload
	if w.external() {
		r.state[partProxy] = up
		asking, stop := context.WithCancel(kill)
		var asked sync.WaitGroup
		asked.Go(func() { r.awaitExternal(asking) })
		r.watch(ctx)
		stop()
		asked.Wait()
		return nil
	}
	p := newProxy(r.site, r.instance)
	if err := p.prepare(); err != nil {
		return err
	}
	defer p.close()
	proxyCtx, stopProxy := context.WithCancel(kill)
	defer stopProxy()
	appCtx, stopApp := context.WithCancel(kill)
	defer stopApp()
	p.report = r.proxyReporter(proxyCtx)
	var proxies, apps sync.WaitGroup
	proxies.Go(func() { p.keeper().run(proxyCtx, kill) })
	if w.Type == mesh.Ingress {
		r.state[partApp] = up
	} else {
		a := &application{site: r.site, instance: r.instance, bootstrap: p.bootstrap(), report: r.reporter(appCtx)}
		apps.Go(func() {
			if w.Type != mesh.Proxyless || p.await(appCtx) { // one without a proxy starts with what its agent gives it
				a.keeper().run(appCtx, kill)
			}
		})
	}
	r.watch(ctx)
	stopProxy()
	proxies.Wait()
	stopApp()
	apps.Wait()
	return nil
}

// reporter returns how a part reports, and learns whether somebody listens: nobody does when the instance is leaving.
func (r *runner) reporter(ctx context.Context) func(part, condition) bool {
	return func(p part, is condition) bool {
		select {
		case r.reports <- report{p, is}:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// proxyReporter is the reporter of the proxy. A workload without one does not need its agent to take requests: what the agent
// has given it stays.
func (r *runner) proxyReporter(ctx context.Context) func(part, condition) bool {
	report := r.reporter(ctx)
	if r.instance.Workload.Type != mesh.Proxyless {
		return report
	}
	ready := false // the agent reports, or that it has ended, never both at a time
	return func(p part, is condition) bool {
		if ready {
			return ctx.Err() == nil
		}
		ready = is == up
		return report(p, is)
	}
}

// watch follows the parts until the instance is to end.
func (r *runner) watch(ctx context.Context) {
	defer r.unsettle()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.leave:
			r.withdraw(ctx)
			return
		case now := <-r.reports:
			r.state[now.part] = now.is
			r.judge(ctx)
		case <-r.settled:
			r.tell(news{r.instance.ID(), inForce})
		}
	}
}

// judge lets callers come when both parts are ready, and keeps them away when one is not.
func (r *runner) judge(ctx context.Context) {
	id := r.instance.ID()
	r.unsettle()
	switch app, proxy := r.state[partApp], r.state[partProxy]; {
	case app == up && proxy == up:
		number := r.site.roster.set(id, mesh.Healthy)
		r.tell(news{id, up})
		waiting, cancel := context.WithCancel(ctx)
		r.cancel = cancel
		r.settling.Go(func() { r.settle(waiting, number) })
	case app == failed || proxy == failed:
		r.site.roster.set(id, "")
		r.tell(news{id, failed})
	default:
		r.site.roster.set(id, "")
		r.tell(news{id, coming})
	}
}

// settle waits until callers know that the instance is ready. One that does not confirm in time holds up nothing.
func (r *runner) settle(ctx context.Context, number int64) {
	if r.site.announcer.settle(ctx, number, settleBound) {
		r.settled <- struct{}{} // has room: see unsettle
	}
}

// unsettle forgets the wait for callers.
func (r *runner) unsettle() {
	r.cancel()
	r.settling.Wait()
	select {
	case <-r.settled:
	default:
	}
}

// withdraw makes callers go elsewhere.
func (r *runner) withdraw(ctx context.Context) {
	id := r.instance.ID()
	r.unsettle()
	bounded, cancel := context.WithTimeout(ctx, withdrawBound)
	defer cancel()
	if r.state[partApp] == up && r.state[partProxy] == up {
		r.site.announcer.settle(bounded, r.site.roster.set(id, mesh.Draining), withdrawBound)
	}
	r.site.roster.set(id, "")
}
