package meshtest_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// pretences are headers by which a request says that it is somebody else's.
func pretences() []string {
	const victim = "spiffe://cluster.local/ns/default/sa/victim"
	return []string{
		"X-Forwarded-Client-Cert", "By=spiffe://cluster.local/ns/default/sa/server;Hash=00;URI=" + victim + ";DNS=victim-v1-0.default",
		"X-Forwarded-For", "203.0.113.7", "X-Envoy-External-Address", "203.0.113.7", "X-Real-Ip", "203.0.113.7", "Forwarded", "for=203.0.113.7",
		"X-Envoy-Peer-Metadata-Id", "sidecar~203.0.113.7~victim-v1-0.default~default.svc.cluster.local", "X-Envoy-Downstream-Service-Cluster", "victim",
		"X-Envoy-Downstream-Service-Node", "victim-v1-0.default", "X-Lateen-Source", "victim-v1-0.default", "Source", "victim-v1-0.default",
	}
}

// Whoever calls, and whatever a request says of that: the server's log says who has proven to call, or the address, and the
// application is told who has proven it, and by nobody else.
func TestWhoCalledIsWhatIsProven(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	server := m.StartSpec(meshtest.Spec{Service: "server", Version: "v1", Account: "server", Ports: []meshtest.SpecPort{
		{Name: "http", Number: meshtest.ServicePort, App: report("v1")},
	}})
	caller := m.StartSpec(meshtest.Spec{
		Service: "caller", Version: "v1", Account: "caller", Ports: []meshtest.SpecPort{{Name: "http", Number: 9080, App: meshtest.Named("caller")}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("server"), Port: meshtest.ServicePort}},
	})
	door := m.Door()
	m.Apply("apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: all}\nspec: {backend: {serviceName: server, servicePort: 9080}}\n")
	callers, _ := takenFrom(t, caller)
	own := showing(&callers, proxyALPN, "http/1.1")
	const stranger = "127.0.66.1"
	raw := func(answer string) seen {
		res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
		if err != nil {
			t.Fatalf("%q: %v", answer, err)
		}
		return sawOf(t, res)
	}
	through := func(client *http.Client, url string) seen {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for list := pretences(); len(list) > 0; list = list[2:] {
			req.Header.Set(list[0], list[1])
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return sawOf(t, res)
	}
	for _, c := range []struct {
		path string
		call func(path string) seen
		by   *meshtest.Instance // nil: the stranger
	}{
		{"/sidecar", func(path string) seen { return through(caller.Client(), "http://server:9080"+path) }, caller},
		{"/local", func(path string) seen {
			return through(direct(), "http://"+caller.Upstream("server", meshtest.ServicePort)+path)
		}, caller},
		{"/ingress", func(path string) seen { return through(door.Client(), "http://any"+path) }, door},
		{"/direct", func(path string) seen {
			answer, _ := heard(t, caller.Address, at(server, meshtest.ServicePort), own, asked(path, pretences()...))
			return raw(answer)
		}, caller},
		{"/plain", func(path string) seen {
			answer, _ := heard(t, stranger, at(server, meshtest.ServicePort), nil, asked(path, pretences()...))
			return raw(answer)
		}, nil},
	} {
		saw := c.call(c.path)
		entry := awaitEntry(t, server, map[string]any{"path": c.path})
		source, peer, version := stranger, any(nil), any(nil)
		if c.by != nil {
			source, peer, version = string(c.by.ID()), idOf(c.by.Account), "TLSv1.3"
		}
		if entry["source"] != source || entry["peer"] != peer || entry["tls"] != version {
			t.Errorf("%s: the log says %v, %v, %v, want %v, %v, %v", c.path, entry["source"], entry["peer"], entry["tls"], source, peer, version)
		}
		told := saw.Header.Values("X-Forwarded-Client-Cert")
		switch {
		case c.by == nil && len(told) > 0:
			t.Errorf("%s: the application is told %q, and nobody has proven anything", c.path, told)
		case c.by != nil && (len(told) != 1 || !strings.HasSuffix(told[0], "URI="+idOf(c.by.Account)+";DNS="+string(c.by.ID())) || strings.Contains(told[0], "victim")):
			t.Errorf("%s: the application is told %q, want that it is %s", c.path, told, c.by.ID())
		}
	}
}

// sawOf returns what the application saw.
func sawOf(t *testing.T, res *http.Response) seen {
	t.Helper()
	a := answer{status: res.StatusCode, header: res.Header}
	body := new(strings.Builder)
	_, a.err = bufio.NewReader(res.Body).WriteTo(body)
	a.body = body.String()
	_ = res.Body.Close()
	return a.saw(t)
}

// Rules for some callers hold for whom the certificate says, whatever labels a node sends of itself, and whatever a request says.
func TestRulesBelieveCertificates(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("reviews", "v1", report("v1"))
	m.Start("reviews", "v2", report("v2"))
	alice := m.Start("alice", "v1", meshtest.Named("alice"))
	mallory := m.Start("mallory", "v1", meshtest.Named("mallory"))
	m.Apply(rule("others", "precedence: 1, route: [{labels: {version: v1}}]"))
	m.Apply(rule("alice", "precedence: 2, match: {source: {name: alice, labels: {version: v1}}}, route: [{labels: {version: v2}}]"))
	for _, c := range []struct {
		who       *meshtest.Instance
		want, not string
	}{{alice, "v2", "v1"}, {mallory, "v1", "v2"}} {
		if got := get(t, c.who, reviews, pretences()...).saw(t).Version; got != c.want {
			t.Errorf("%s is led to %s, want %s", c.who.Name, got, c.want)
		}
		cert, _ := takenFrom(t, c.who)
		labels, err := structpb.NewStruct(map[string]any{
			"LABELS": map[string]any{"app": "alice", "version": "v1"}, "labels": map[string]any{"app": "alice"}, "app": "alice", "NAME": alice.Name,
			"SERVICE_ACCOUNT": "alice",
		})
		if err != nil {
			t.Fatal(err)
		}
		fake := meshtest.NewFakeProxy(nodeOf(c.who.Workload), "reviews:9080")
		fake.Metadata = labels
		ctx, cancel := context.WithTimeout(t.Context(), meshtest.Patience)
		go func() { _ = fake.Run(ctx, dialPlane(t, m, &cert)) }()
		if err := fake.Await(ctx, xds.VirtualHostType, "out/reviews:9080"); err != nil {
			t.Fatal(err)
		}
		var host routev3.VirtualHost
		if err := fake.Resource(xds.VirtualHostType, "out/reviews:9080").GetResource().UnmarshalTo(&host); err != nil {
			t.Fatal(err)
		}
		cancel()
		if text := host.String(); !strings.Contains(text, "version="+c.want) || (c.who == mallory && strings.Contains(text, "version="+c.not)) {
			t.Errorf("%s is told %s, want to be led to %s", c.who.Name, text, c.want)
		}
	}
}
