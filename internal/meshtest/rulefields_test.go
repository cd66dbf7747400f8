package meshtest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// Rules match on the path without its query, on method, scheme and authority of the request itself, and on headers: the
// whole value, its beginning, or all of it by a regular expression.
func TestMatchRequest(t *testing.T) {
	t.Parallel()
	m, caller := reportMesh(t)
	at := func(path string) request { return request{url: "http://reviews:9080" + path} }
	with := func(header ...string) request { return request{url: reviews, header: header} }
	by := func(method string) request { return request{url: reviews, method: method} }
	host := func(host string) request { return request{url: "http://" + host + ":9080/"} }
	for _, c := range []struct {
		match   string
		yes, no []request
	}{
		{`uri: {exact: /a/b}`, []request{at("/a/b"), at("/a/b?c=d")}, []request{at("/a/b/"), at("/a"), at("/A/b"), at("/?/a/b")}},
		{`uri: {prefix: /a}`, []request{at("/a"), at("/ab/c"), at("/a/?x")}, []request{at("/b/a"), at("/")}},
		{`uri: {regex: "/(item|thing)/[0-9]+"}`, []request{at("/item/7"), at("/thing/42?x=y")}, []request{at("/item/x"), at("/item/7/"), at("/x/item/7")}},
		{`method: {exact: POST}`, []request{by("POST")}, []request{by("GET"), with("Method", "POST")}},
		{`method: {prefix: P}`, []request{by("POST"), by("PUT"), by("PATCH")}, []request{by("GET"), by("DELETE")}},
		{`method: {regex: "GET|DELETE"}`, []request{by("GET"), by("DELETE")}, []request{by("POST")}},
		{`scheme: {exact: http}`, []request{by("GET")}, nil},
		{`scheme: {prefix: ht}`, []request{by("GET")}, nil},
		{`scheme: {regex: "https|ftp"}`, nil, []request{by("GET"), with("Scheme", "https")}},
		{`authority: {exact: "reviews.default:9080"}`, []request{host("reviews.default")}, []request{host("reviews"), with("Authority", "reviews.default:9080")}},
		{`authority: {prefix: reviews.}`, []request{host("reviews.default"), host("reviews.default.svc")}, []request{host("reviews")}},
		{`authority: {regex: "reviews(\\.[a-z]+)?:9080"}`, []request{host("reviews"), host("reviews.default")}, []request{host("reviews.default.svc")}},
		{`x-a: {exact: one}`, []request{with("X-A", "one")}, []request{with("X-A", "ones"), with("X-A", ""), with()}},
		{`x-a: {prefix: one}`, []request{with("X-A", "one"), with("X-A", "ones")}, []request{with("X-A", "on"), with()}},
		{`x-a: {regex: "o.*e"}`, []request{with("X-A", "one"), with("X-A", "oe")}, []request{with("X-A", "one "+"two"), with()}},
		{
			`uri: {prefix: /a}, method: {exact: PUT}, x-a: {exact: one}`,
			[]request{{url: "http://reviews:9080/a", method: "PUT", header: []string{"X-A", "one"}}},
			[]request{{url: "http://reviews:9080/a", method: "PUT"}, {url: "http://reviews:9080/a", header: []string{"X-A", "one"}}},
		},
	} {
		m.Apply(rule("some", "precedence: 2, match: {request: {headers: {"+c.match+"}}}, route: [{labels: {version: v2}}]"))
		for _, r := range c.yes {
			if got := send(t, caller, r).saw(t).Version; got != "v2" {
				t.Errorf("%s: %v went to %s, want v2", c.match, r, got)
			}
		}
		for _, r := range c.no {
			if got := send(t, caller, r).saw(t).Version; got != "v1" {
				t.Errorf("%s: %v went to %s, want v1", c.match, r, got)
			}
		}
	}
}

// A rule for source networks is for callers whose own address is in one of them, whatever the request says.
func TestMatchSourceSubnet(t *testing.T) {
	t.Parallel()
	m, inside := reportMesh(t)
	outside := m.Caller("outside", nil)
	m.Apply(rule("some", fmt.Sprintf("precedence: 2, match: {tcp: {sourceSubnet: [10.0.0.0/8, %s/32]}}, route: [{labels: {version: v2}}]", inside.Address)))
	for range 3 {
		if got := get(t, inside, reviews).saw(t).Version; got != "v2" {
			t.Errorf("who is in the network goes to %s, want v2", got)
		}
		if got := get(t, outside, reviews, "X-Forwarded-For", inside.Address).saw(t).Version; got != "v1" {
			t.Errorf("who is in no network goes to %s, want v1", got)
		}
		if status, body := tunnelled(t, inside, "reviews:9080", "/"); status != http.StatusOK || !strings.Contains(body, `"v2"`) {
			t.Errorf("through a tunnel who is in the network gets %d %s, want v2", status, body)
		}
	}
	m.Apply(rule("some", "precedence: 2, match: {tcp: {sourceSubnet: [127.0.0.0/8]}}, route: [{labels: {version: v2}}]"))
	if got := get(t, outside, reviews).saw(t).Version; got != "v2" {
		t.Errorf("in the wider network everybody goes to %s, want v2", got)
	}
}

// A rule for destination networks is for connections to a local address in one of them; a name has no address.
func TestMatchDestinationSubnet(t *testing.T) {
	t.Parallel()
	m, byName := reportMesh(t)
	byAddress := m.StartSpec(meshtest.Spec{Service: "local", Version: "v1", Upstreams: []mesh.Upstream{
		{Host: meshtest.HostOf("reviews"), Port: meshtest.ServicePort},
	}})
	m.Apply(rule("some", fmt.Sprintf("precedence: 2, match: {tcp: {destinationSubnet: [%s]}}, route: [{labels: {version: v2}}]", byAddress.Address)))
	direct := func() string {
		return sendBy(t, http.DefaultClient, request{url: "http://" + byAddress.Upstream("reviews", meshtest.ServicePort) + "/"}).saw(t).Version
	}
	if got := direct(); got != "v2" {
		t.Errorf("by the local address: %s, want v2", got)
	}
	for _, i := range []*meshtest.Instance{byName, byAddress} {
		if got := get(t, i, reviews).saw(t).Version; got != "v1" {
			t.Errorf("by name: %s, want v1", got)
		}
	}
	m.Apply(rule("some", "precedence: 2, match: {tcp: {destinationSubnet: [10.0.0.0/8]}}, route: [{labels: {version: v2}}]"))
	if got := direct(); got != "v1" {
		t.Errorf("in another network: %s, want v1", got)
	}
}

// What a rule says holds on every way to its destination: by the proxy, through a tunnel, by a local address, and
// through the ingress.
func TestRulesHoldOnEveryWay(t *testing.T) {
	t.Parallel()
	m, _ := reportMesh(t)
	m.Apply(reviewsDoor)
	caller := m.StartSpec(meshtest.Spec{Service: "local", Version: "v1", Upstreams: []mesh.Upstream{
		{Host: meshtest.HostOf("reviews"), Port: meshtest.ServicePort},
	}})
	door := m.Door()
	m.Apply(rule("some", `precedence: 2, match: {request: {headers: {uri: {prefix: /}, method: {exact: GET}}}}, route: [{labels: {version: v2}}], `+
		`rewrite: {uri: /new/, authority: shop.example}, appendHeaders: {x-added: by the rule}, corsPolicy: {allowOrigin: ["http://good.test"]}, `+
		`httpFault: {abort: {overrideHeaderName: x-status}}, httpReqTimeout: {simpleTimeout: {timeout: 20s}}`))
	_, conn, _ := connect(t, caller, "reviews:9080") // for all its requests
	tunnel := caller.Client()
	tunnel.Transport.(*http.Transport).Proxy = nil
	tunnel.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	for way, c := range map[string]struct {
		client *http.Client
		url    string
	}{
		"proxy": {caller.Client(), "http://reviews:9080/a?x=1"}, "tunnel": {tunnel, "http://reviews:9080/a?x=1"},
		"local address": {http.DefaultClient, "http://" + caller.Upstream("reviews", meshtest.ServicePort) + "/a?x=1"},
		"ingress":       {door.Client(), "http://door/a?x=1"},
	} {
		got := sendBy(t, c.client, request{url: c.url, header: []string{"Origin", "http://good.test"}})
		s := got.saw(t)
		if s.Version != "v2" || s.Host != "shop.example" || s.URI != "/new/a?x=1" || s.Header.Get("X-Added") != "by the rule" || corsHeaders(got)["Allow-Origin"] == "" {
			t.Errorf("%s: %+v, %v", way, s, got.header)
		}
		if got := sendBy(t, c.client, request{url: c.url, header: []string{"X-Status", "418"}}); got.status != http.StatusTeapot {
			t.Errorf("%s: the fault answers with %d, want 418", way, got.status)
		}
	}
}

// dialWebSocket asks for an upgrade and returns the connection, on which the application has the word.
func dialWebSocket(t *testing.T, from *meshtest.Instance, authority, path string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", from.Proxy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(meshtest.Patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET http://%[1]s%[2]s HTTP/1.1\r\nHost: %[1]s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", authority, path)
	reader := bufio.NewReader(conn)
	res, err := http.ReadResponse(reader, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the upgrade is answered with %v, %v; want 101", res, err)
	}
	defer res.Body.Close()
	return conn, reader
}

// A WebSocket goes where its rule says, with the rule's rewrite and beyond the rule's timeout: what comes after the
// upgrade is no response.
func TestWebSocketUpgrade(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	for _, version := range []string{"v1", "v2"} {
		m.Start("reviews", version, meshtest.Handler(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Upgrade", "websocket")
			w.Header().Set("Connection", "Upgrade")
			w.WriteHeader(http.StatusSwitchingProtocols)
			conn, both, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			fmt.Fprintf(both, "%s %s\n", version, r.URL.Path)
			_ = both.Flush()
			_, _ = io.Copy(conn, both)
		}))
	}
	caller := m.Caller("caller", nil)
	m.Apply(rule("everybody", "precedence: 1, route: [{labels: {version: v1}}]"))
	m.Apply(rule("ws", "precedence: 2, match: {request: {headers: {uri: {prefix: /ws}}}}, route: [{labels: {version: v2}}], "+
		"rewrite: {uri: /socket}, websocketUpgrade: true, httpReqTimeout: {simpleTimeout: {timeout: 200ms}}"))
	for path, want := range map[string]string{"/ws/1": "v2 /socket/1\n", "/other": "v1 /other\n"} {
		conn, reader := dialWebSocket(t, caller, "reviews:9080", path)
		if line, err := reader.ReadString('\n'); err != nil || line != want {
			t.Errorf("%s: %q, %v; want %q", path, line, err, want)
		}
		select { // longer than the timeout
		case <-time.After(500 * time.Millisecond):
		case <-t.Context().Done():
		}
		fmt.Fprint(conn, "back\n")
		if line, err := reader.ReadString('\n'); err != nil || line != "back\n" {
			t.Errorf("%s: the echo is %q, %v", path, line, err)
		}
	}
}
