package push_test

import (
	"log/slog"
	"net/netip"
	"testing"

	"github.com/lateen-mesh/lateen/internal/explain"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
)

// A request is decided by the routes that it meets on its way: those of the name that it calls, those behind the local
// address that it dials, or those of the door.
func TestDecide(t *testing.T) {
	t.Parallel()
	engine := push.NewEngine(push.Config{Log: slog.New(slog.DiscardHandler)})
	if _, err := engine.Decide("caller.default", explain.Request{}); err == nil {
		t.Error("before anything is known there is a decision")
	}
	host, db := meshtest.HostOf("reviews"), meshtest.HostOf("db")
	draft := mesh.NewSnapshot(meshtest.Domain).Edit()
	meshtest.Put(draft, mesh.Registry{
		Services: []*mesh.Service{meshtest.NewService("reviews", "http", 9080), meshtest.NewService("db", "mysql", 3306)},
		Workloads: []*mesh.Workload{
			{
				Name: "caller", Namespace: "default", Type: mesh.Sidecar, Address: "127.7.7.1", Outbound: 15001,
				Upstreams: []mesh.Upstream{{Host: host, Port: 9080, Listen: 7001}, {Host: db, Port: 3306, Listen: 7002}},
			},
			{Name: "walker", Namespace: "default", Type: mesh.Proxyless, Address: "127.7.7.1"},
			{Name: "ingress", Namespace: "default", Type: mesh.Ingress, Address: "127.7.7.2", Door: "127.0.0.1", Outbound: 8080},
		},
	})
	draft.SetRules(host, mesh.NewRuleSet(host, []*mesh.RouteRule{
		{
			Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "dialled"}, Destination: host, Precedence: 2,
			TCP: &mesh.TCPMatch{Destinations: []string{"127.7.7.1/32"}},
		},
		{
			Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "own"}, Destination: host, Precedence: 1,
			TCP: &mesh.TCPMatch{Sources: []string{"127.7.7.1/32"}},
		},
	}))
	snapshot, keys := draft.Done()
	engine.Apply(snapshot, keys)

	get := explain.Request{Method: "GET", Scheme: "http", Authority: "reviews:9080", Path: "/"}
	with := func(change func(*explain.Request)) explain.Request {
		r := get
		change(&r)
		return r
	}
	for name, c := range map[string]struct {
		proxy    mesh.ProxyID
		request  explain.Request
		resource string
		taken    string // "": none
	}{
		"a name":        {"caller.default", get, "virtual-host out/reviews:9080", "default/own"},
		"a port":        {"caller.default", with(func(r *explain.Request) { r.Authority = "reviews:81" }), "virtual-host out/reviews:81", "<no-service>"},
		"another name":  {"caller.default", with(func(r *explain.Request) { r.Authority = "*" }), "virtual-host out/*", ""},
		"CONNECT":       {"caller.default", with(func(r *explain.Request) { r.Method = "CONNECT" }), "virtual-host out/reviews:9080", "<tunnel>"},
		"https":         {"caller.default", with(func(r *explain.Request) { r.Scheme, r.Authority = "https", "www.test" }), "virtual-host out/www.test:443", "<no-egress>"},
		"https by IPv6": {"caller.default", with(func(r *explain.Request) { r.Scheme, r.Authority = "https", "[::1]" }), "virtual-host out/[::1]:443", "<no-egress>"},
		"local address": {
			"caller.default", with(func(r *explain.Request) { r.Authority = "127.7.7.1:7001" }),
			"routes local|9080|reviews.default.svc.cluster.local", "default/dialled",
		},
		"a claimed source": {
			"caller.default", with(func(r *explain.Request) { r.Source = netip.MustParseAddr("127.9.9.9") }), "virtual-host out/reviews:9080", "<default>",
		},
		"without a proxy": {"walker.default", get, "routes call|9080|reviews.default.svc.cluster.local", "default/own"},
		"a name that leads nowhere, without a proxy": {
			"walker.default", with(func(r *explain.Request) { r.Authority = "reviews:81" }), "listener reviews:81", "",
		},
		"the door": {"ingress.default", get, "routes ingress", "<no-path>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := engine.Decide(c.proxy, c.request)
			if err != nil {
				t.Fatal(err)
			}
			taken := ""
			if d.Route != nil {
				taken = d.Route.Name
			}
			if d.Resource.String() != c.resource || taken != c.taken {
				t.Errorf("%s decides: %q, want %s, %q", d.Resource, taken, c.resource, c.taken)
			}
		})
	}
	for proxy, authority := range map[mesh.ProxyID]string{"nobody.default": "reviews:9080", "caller.default": "127.7.7.1:7002"} {
		if d, err := engine.Decide(proxy, explain.Request{Method: "GET", Authority: authority, Path: "/"}); err == nil {
			t.Errorf("%s calls %s: %+v, want an error", proxy, authority, d)
		}
	}
}

// A request of a captured workload is decided by the routes of the service whose address it goes to, named or by its number.
func TestDecideCaptured(t *testing.T) {
	t.Parallel()
	w := scopedMesh(t, push.Config{}, 3, 1)
	w.Edit(func(d *mesh.Draft) {
		d.SetRules(hostNumber(1), mesh.NewRuleSet(hostNumber(1), []*mesh.RouteRule{{
			Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "dialled"}, Destination: hostNumber(1),
			TCP: &mesh.TCPMatch{Sources: []string{capturedAddress(0) + "/32"}, Destinations: []string{scopedAddress(1) + "/32"}},
		}}))
	})
	for authority, want := range map[string]string{
		"svc-001:80": "default/dialled", scopedAddress(1) + ":80": "default/dialled", "svc-001.default:90": "default/dialled",
		scopedAddress(2) + ":80": "<default>",
	} {
		d, err := w.Engine.Decide("caller-000.default", explain.Request{Method: "GET", Scheme: "http", Authority: authority, Path: "/"})
		if err != nil {
			t.Errorf("%s: %v", authority, err)
			continue
		}
		if d.Route == nil || d.Route.Name != want {
			t.Errorf("%s: %+v decides, want %s", authority, d.Route, want)
		}
	}
	for _, r := range []explain.Request{
		{Method: "GET", Scheme: "http", Authority: "nobody:80", Path: "/"}, {Method: "GET", Scheme: "http", Authority: "198.51.100.7:80", Path: "/"}, {Method: "GET", Scheme: "https", Authority: "svc-001:80", Path: "/"},
	} {
		if d, err := w.Engine.Decide("caller-000.default", r); err == nil {
			t.Errorf("%s %s: %+v, want an error that says what becomes of it", r.Scheme, r.Authority, d)
		}
	}
}

// A request of a captured workload to whom the mesh does not know is decided by the rules for its port, names and addresses alike, or where
// only what is known is reached by the virtual host that it names.
func TestDecideOutside(t *testing.T) {
	t.Parallel()
	w := scopedMesh(t, push.Config{}, 3, 1)
	rule := func(name string, port mesh.Port) *mesh.EgressRule {
		return &mesh.EgressRule{Object: mesh.Ref{Kind: "EgressRule", Namespace: "default", Name: name}, Destination: mesh.Host(name), Ports: []mesh.Port{port}}
	}
	w.Edit(func(d *mesh.Draft) {
		d.SetEgress("www.test", rule("www.test", mesh.Port{Number: 80, Protocol: mesh.HTTP}))
		d.SetRules("www.test", mesh.NewRuleSet("www.test", []*mesh.RouteRule{{
			Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "own"}, Destination: "www.test", TCP: &mesh.TCPMatch{Sources: []string{capturedAddress(0) + "/32"}},
		}}))
	})
	check := func(when string, want map[string]string) {
		t.Helper()
		for authority, name := range want {
			d, err := w.Engine.Decide("caller-000.default", explain.Request{Method: "GET", Scheme: "http", Authority: authority, Path: "/"})
			if err != nil || d.Route == nil || d.Route.Name != name {
				t.Errorf("%s, %s: %+v decides, %v; want %s", when, authority, d.Route, err, name)
			}
		}
	}
	check("all passes", map[string]string{"www.test": "default/own", "other.test": "<passed-on>", "198.51.100.7": "<passed-on>", "nobody": "<passed-on>", "svc-001": "<default>"})
	w.Edit(func(d *mesh.Draft) {
		d.SetEgressPatterns(mesh.NewEgressPatterns([]*mesh.EgressRule{rule("*", mesh.Port{Number: 80, Protocol: mesh.HTTP})}))
	})
	check("with a rule for everything", map[string]string{"www.test": "default/own", "198.51.100.7": "default/*", "nobody": "default/*", "svc-001": "<default>"})
	w.Edit(func(d *mesh.Draft) {
		d.SetEgressPatterns(nil)
		d.SetSettings(&mesh.Settings{OnlyKnown: true})
	})
	check("only what is known", map[string]string{
		"www.test": "default/own", "other.test": "<no-egress>", "198.51.100.7:99": "<no-egress>", "nobody": "<no-service>", "svc-001": "<default>",
	})
}
