package kube_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// keepIn keeps what is known in a folder, until the returned function is called.
func keepIn(t *testing.T, dir string) (c *cache.Cache, stop func()) {
	t.Helper()
	c, err := cache.Open(cache.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(stop)
	return c, stop
}

// call has a proxy of somebody else connect, which calls a service.
func (r *rig) call(proxy *meshtest.FakeProxy, host string) {
	r.t.Helper()
	_, err := r.SetRegistry(r.t.Context(), "callers", mesh.Registry{Workloads: []*mesh.Workload{{
		Name: proxy.Node.Name, Namespace: proxy.Node.Namespace, Type: proxy.Node.Type, Address: proxy.Node.Address, Outbound: 15001,
	}}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.fake.Connect(proxy)
	if err := proxy.Await(r.t.Context(), xds.VirtualHostType, view.VirtualHostOf(host).Name); err != nil {
		r.t.Fatal(err)
	}
	r.fake.Confirmed(r.Snapshot().Revision())
}

// mark changes something of every kind, and returns when all of it is known: so everything else that was to come has come too.
func (r *rig) mark(s *kubetest.Server, namespace, name, clusterIP, address string) {
	r.t.Helper()
	s.Kubectl(r.t, app(name, clusterIP)+rule(name, name), "create", "-n", namespace, "-f", "-")
	up(r.t, s, namespace, name, address, true)
	r.await("the marks", func() bool {
		return r.endpoints(name, namespace) == address+"=healthy" && r.rules(name, namespace) == name &&
			r.Snapshot().Workload(mesh.NewProxyID(name+"-0", namespace)) != nil
	})
}

// TestAPIServerAway takes the API server away and brings it back, then starts anew while it is away: nobody is sent anything that
// did not change, and nothing is removed before the API server has said so.
func TestAPIServerAway(t *testing.T) {
	t.Parallel()
	s := kubetest.StartOwn(t)
	install(t, s)
	ns := s.Namespace(t)
	s.Kubectl(t, app("web", "10.96.5.1")+rule("first", "web")+rule("gone", "db"), "create", "-n", ns, "-f", "-")
	up(t, s, ns, "web", "10.244.5.1", true)
	dir := t.TempDir()
	kept, stopKeeping := keepIn(t, dir)
	r := watch(t, options{kubeconfig: s.Kubeconfig, namespaces: []string{ns}, cache: kept})
	r.await("everything is known", r.ready)
	web := mesh.ServiceHost("web", ns, domain)
	spelled := string(web) + ":80"
	proxy := meshtest.NewFakeProxy(mesh.Node{Type: mesh.Sidecar, Address: "10.244.9.9", Name: "caller", Namespace: ns, Domain: domain}, spelled)
	r.call(proxy, spelled)
	before, sent := r.Snapshot(), r.fake.Engine.Counters().Sends.Load()
	if sent == 0 {
		t.Fatal("the proxy was sent nothing")
	}
	r.published()

	s.Stop(t)
	r.await("it is noticed", func() bool { return strings.Contains(r.logged(), "the API server does not answer") })
	s.Resume(t)
	r.mark(s, ns, "mark", "10.96.5.2", "10.244.5.2")
	after := r.Snapshot()
	if before.Service(web) != after.Service(web) || before.Endpoints(web) != after.Endpoints(web) || before.Rules(web) != after.Rules(web) ||
		before.Workload(mesh.NewProxyID("web-0", ns)) != after.Workload(mesh.NewProxyID("web-0", ns)) {
		t.Error("what did not change has lost its pointer")
	}
	if got := r.fake.Engine.Counters().Sends.Load(); got != sent {
		t.Errorf("%d resources were sent that did not change: %v", got-sent, proxy.Got())
	}
	if got := r.published(); strings.Contains(got, string(web)) {
		t.Errorf("published: %s", got)
	}

	r.stop()
	stopKeeping()
	s.Kubectl(t, "", "delete", "routerule", "gone", "-n", ns)
	s.Stop(t)
	kept, _ = keepIn(t, dir)
	r = watch(t, options{kubeconfig: s.Kubeconfig, namespaces: []string{ns}, cache: kept, patience: 50 * time.Millisecond})
	r.await("what is kept counts", r.ready)
	if got := r.endpoints("web", ns) + " " + r.rules("web", ns) + " " + r.rules("db", ns); got != "10.244.5.1=healthy first gone" {
		t.Errorf("kept: %s", got)
	}
	if got := strings.Count(r.problems(), "["+config.CodeSourceStale+"]"); got != 2 {
		t.Errorf("%d times told that it is old: %s", got, r.problems())
	}
	proxy.Got()
	r.call(proxy, spelled)
	s.Resume(t)
	r.await("the rule goes that was deleted meanwhile", func() bool { return r.rules("db", ns) == "" })
	r.mark(s, ns, "another", "10.96.5.3", "10.244.5.3")
	r.fake.Confirmed(r.Snapshot().Revision())
	if strings.Contains(r.problems(), config.CodeSourceStale) {
		t.Errorf("still told: %s", r.problems())
	}
	if got := proxy.Got(); len(got) > 0 {
		t.Errorf("sent again: %v", got)
	}
}
