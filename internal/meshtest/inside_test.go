package meshtest_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/dump"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// compare returns what an instance's Envoy has beside what it was sent, and both in one text.
func compare(t *testing.T, m *meshtest.Mesh, i *meshtest.Instance) (rows []dump.Row, text string) {
	t.Helper()
	resources := func(ctx context.Context) (api.Resources, error) { return m.API.Resources(ctx, string(i.ID()), "") }
	rows, sent, err := dump.Look(t.Context(), dump.Socket(filepath.Join(i.Dir, "admin.sock")), resources)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, r := range sent.Resources {
		all.Write(r.Body)
	}
	for _, r := range rows {
		fmt.Fprintf(&all, "%s %s %s %s %q\n%s\n%s\n", r.Kind, r.Name, r.State, r.Why, r.Lines(), r.Sent, r.Proxy)
	}
	return rows, all.String()
}

// wantAlike wants every resource of some proxies to be what was sent, and none of some words to be shown anywhere. It
// returns the kinds that there are.
func wantAlike(t *testing.T, m *meshtest.Mesh, hidden []string, instances ...*meshtest.Instance) map[view.Kind]bool {
	t.Helper()
	kinds := map[view.Kind]bool{}
	for _, i := range instances {
		rows, text := compare(t, m, i)
		for _, r := range rows {
			kinds[r.Kind] = true
			if !r.Alike() {
				t.Errorf("%s: %s %s is %s: %s\nsent  %s\nproxy %s", i.Name, r.Kind, r.Name, r.State, r.Why, r.Sent, r.Proxy)
			}
		}
		for _, word := range hidden {
			if strings.Contains(text, word) {
				t.Errorf("%s: %q is shown", i.Name, word)
			}
		}
		if i.Type == mesh.Ingress && !strings.Contains(text, "BEGIN CERTIFICATE") {
			t.Error("the certificate is not shown")
		}
	}
	return kinds
}

// insideMesh is a mesh with something of everything, whose caller has used it.
func insideMesh(t *testing.T) (m *meshtest.Mesh, caller, door *meshtest.Instance, hidden []string) {
	t.Helper()
	m = meshtest.New(t)
	o := newOutside(t, m)
	for _, version := range []string{"v1", "v2"} {
		m.Start("reviews", version, meshtest.Named(version))
		m.StartSpec(meshtest.Spec{Service: "db", Version: version, Ports: []meshtest.SpecPort{
			{Name: "mysql", Number: 3306, Target: greeter(t, version)},
		}})
	}
	caller = m.StartSpec(meshtest.Spec{
		Service: "caller", Version: "v1", Ports: []meshtest.SpecPort{{Name: "http", Number: 9080, App: meshtest.Named("caller")}},
		Upstreams: []mesh.Upstream{
			{Host: meshtest.HostOf("db"), Port: 3306}, {Host: meshtest.HostOf("reviews"), Port: meshtest.ServicePort},
		},
	})
	m.AddDeadEndpoint("reviews")
	plain, secure := o.serve("world"), o.serve("secure", "www.secure.test")
	secret, _ := secretOf(t, o.authority, "shop-tls", "shop.example.com")
	_, key, _ := strings.Cut(secret, "PRIVATE KEY-----\n")
	m.Apply(strings.Join([]string{
		rule("weights", "precedence: 1, route: [{labels: {version: v1}, weight: 75}, {labels: {version: v2}, weight: 25}]"),
		rule("headers", "precedence: 2, match: {request: {headers: {cookie: {regex: \"^(.*?;)?(user=jason)(;.*)?$\"}, authorization: {exact: tok3n-in}}}}, "+
			"route: [{labels: {version: v2}}], httpFault: {delay: {percent: 50, fixedDelay: 0.1s}, abort: {percent: 10, httpStatus: 503}}, "+
			"appendHeaders: {authorization: tok3n-out, x-plain: shown}"),
		policy("balance", "loadBalancing: {name: RANDOM}, circuitBreaker: {simpleCb: {maxConnections: 10, httpConsecutiveErrors: 3}}"),
		egress("plain", "*.outside.test", plain, "http"), egress("secure", "www.secure.test", secure, "https"),
		secret, "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: shop}\n" +
			"spec: {tls: [{secretName: shop-tls, hosts: [shop.example.com]}], backend: {serviceName: reviews, servicePort: 9080}}\n",
	}, "---\n"))
	door = m.Door()

	for _, url := range []string{reviews, "http://unknown:1/", fmt.Sprintf("http://www.outside.test:%d/", plain), "http://www.elsewhere.test/"} {
		caller.Get(url)
	}
	caller.Get(fmt.Sprintf("http://www.secure.test:%d/", secure))
	_, conn, _ := greeting(t, caller.Upstream("db", 3306))
	conn.Close()
	if _, err := meshtest.Fetch(t.Context(), http.DefaultClient, "http://"+caller.Upstream("reviews", meshtest.ServicePort)); err != nil {
		t.Error(err)
	}
	return m, caller, door, []string{"tok3n", "PRIVATE", strings.TrimSpace(strings.Split(key, "\n")[0])}
}

// What each proxy says it has is what it was sent, also when it comes back to another control plane and while an endpoint
// drains; and no key is in it.
func TestProxiesHaveWhatTheyWereSent(t *testing.T) {
	t.Parallel()
	m, caller, door, hidden := insideMesh(t)
	if kinds := wantAlike(t, m, hidden, caller, door); len(kinds) != 7 {
		t.Errorf("the kinds are %v, want all seven", kinds)
	}
	m.RestartWith(func(r *mesh.Registry) {
		for i, set := range r.Endpoints {
			drained := *set
			drained.Endpoints = slices.Clone(set.Endpoints)
			drained.Endpoints[0].Health = mesh.Draining
			r.Endpoints[i] = &drained
		}
	})
	wantAlike(t, m, hidden, caller, door)
}

// A resource that a proxy refuses is shown as refused, in the proxy's own words, and what does not go to it for that reason
// as different; all else is the same.
func TestRefusedResourceIsShown(t *testing.T) {
	t.Parallel()
	refused := mesh.Subset{Host: meshtest.HostOf("reviews"), Port: meshtest.ServicePort, Labels: mesh.Labels{"version": "v2"}}.String()
	m := meshtest.NewWith(t, meshtest.Config{Alter: func(r *xds.Resource) {
		if r.Type != xds.ClusterType || r.Name != refused {
			return
		}
		var c clusterv3.Cluster
		if err := proto.Unmarshal(r.Body, &c); err != nil {
			t.Error(err)
		}
		c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
		r.Body, _ = proto.Marshal(&c)
	}})
	m.Start("reviews", "v1", meshtest.Named("v1"))
	m.Start("reviews", "v2", meshtest.Named("v2"))
	caller := m.Caller("caller", mesh.Labels{"app": "caller"})
	caller.Get(reviews)
	written := m.TryApply(rule("second", "route: [{labels: {version: v2}}]"))
	progress, err := m.API.Progress(t.Context(), written.Revision, meshtest.Patience)
	if err != nil || len(progress.Refused) != 1 {
		t.Fatalf("%+v, %v", progress, err)
	}
	rows, _ := compare(t, m, caller)
	states := map[string]dump.State{}
	for _, r := range rows {
		if !r.Alike() {
			states[string(r.Kind)+" "+r.Name] = r.State
		}
		if r.State == dump.Refused && !strings.Contains(progress.Refused[0], r.Why) {
			t.Errorf("it is refused with %q, want %q", r.Why, progress.Refused)
		}
	}
	if diff := cmp.Diff(map[string]dump.State{"cluster " + refused: dump.Refused, "virtual-host out/reviews:9080": dump.Differs}, states); diff != "" {
		t.Error(diff)
	}
	detail, err := m.API.Proxy(t.Context(), "deploy/caller")
	if err != nil || detail.Current || detail.LastRefusal == nil || detail.LastRefusal.Resource != "cluster "+refused || len(detail.Refusals) != 1 {
		t.Errorf("%+v, %v", detail, err)
	}
}
