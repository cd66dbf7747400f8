package explain_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/explain"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

var (
	anyPath = plan.PathMatch{Kind: plan.PathPrefix, Value: "/"}
	v1      = mesh.Subset{Host: "reviews.default.svc.cluster.local", Port: 9080, Labels: mesh.Labels{"version": "v1"}}
	v2      = mesh.Subset{Host: "reviews.default.svc.cluster.local", Port: 9080, Labels: mesh.Labels{"version": "v2"}}
)

// get returns a request for a path with headers given in pairs.
func get(path string, headers ...string) explain.Request {
	r := explain.Request{Method: "GET", Authority: "reviews:9080", Path: path, Headers: map[string][]string{}}
	for i := 0; i < len(headers); i += 2 {
		r.Headers[headers[i]] = append(r.Headers[headers[i]], headers[i+1])
	}
	return r
}

func header(name string, kind mesh.MatchKind, value string) plan.Route {
	return plan.Route{Path: anyPath, Headers: []plan.HeaderMatch{
		{Name: name, StringMatch: mesh.StringMatch{Kind: kind, Value: value}},
	}}
}

func path(kind plan.PathKind, value string) plan.Route {
	return plan.Route{Path: plan.PathMatch{Kind: kind, Value: value}}
}

// The first condition that does not hold is named.
func TestConditions(t *testing.T) {
	t.Parallel()
	from := func(address string) explain.Request {
		r := get("/")
		r.Source = netip.MustParseAddr(address)
		return r
	}
	dialled := get("/")
	dialled.Dialled = netip.MustParseAddr("127.1.2.3")
	connect := explain.Request{Method: "CONNECT", Authority: "reviews:9080", Path: "/ignored"}
	for name, c := range map[string]struct {
		route   plan.Route
		request explain.Request
		why     string
	}{
		"exact":                      {path(plan.PathExact, "/a"), get("/a?b"), ""},
		"exact, longer":              {path(plan.PathExact, "/a"), get("/a/"), `path: want exact "/a", got "/a/"`},
		"prefix":                     {path(plan.PathPrefix, "/a"), get("/ab"), ""},
		"prefix, other case":         {path(plan.PathPrefix, "/a"), get("/A"), `path: want prefix "/a", got "/A"`},
		"prefix, in the query":       {path(plan.PathPrefix, "/a?b"), get("/a?b"), `path: want prefix "/a?b", got "/a"`},
		"elements":                   {path(plan.PathElementPrefix, "/a"), get("/a/b"), ""},
		"elements, all":              {path(plan.PathElementPrefix, "/a"), get("/a?x"), ""},
		"elements, part of one":      {path(plan.PathElementPrefix, "/a"), get("/ab"), `path: want element-prefix "/a", got "/ab"`},
		"regex":                      {path(plan.PathRegex, "/a|/b.*"), get("/bcd"), ""},
		"regex, whole":               {path(plan.PathRegex, "/a|/b"), get("/bcd"), `path: want regex "/a|/b", got "/bcd"`},
		"no regex":                   {path(plan.PathRegex, "a)|(b"), get("/a"), `path: want regex "a)|(b", got "/a"`},
		"normalized":                 {path(plan.PathExact, "/b"), get("/a/../%62"), ""},
		"header":                     {header("x-user", mesh.MatchExact, "jason"), get("/", "X-User", " jason "), ""},
		"header, missing":            {header("x-user", mesh.MatchExact, ""), get("/"), `x-user: want exact "", got none`},
		"header, empty":              {header("x-user", mesh.MatchExact, ""), get("/", "x-user", ""), ""},
		"header, one of two":         {header("x-user", mesh.MatchPrefix, "b"), get("/", "x-user", "a", "x-user", "bc"), ""},
		"header, none of two":        {header("x-user", mesh.MatchExact, "a,b"), get("/", "x-user", "a", "x-user", "b"), `x-user: want exact "a,b", got "a" "b"`},
		"header of one value":        {header("accept", mesh.MatchExact, "a,b"), get("/", "Accept", "a", "Accept", "b"), ""},
		"cookies":                    {header("cookie", mesh.MatchRegex, ".*user=j.*"), get("/", "cookie", "a=b", "cookie", "user=j"), ""},
		"present":                    {header("x-user", mesh.MatchPresent, ""), get("/", "x-user", ""), ""},
		"present, missing":           {header("x-user", mesh.MatchPresent, ""), get("/"), "x-user: want present, got none"},
		"for the next hop":           {header("connection", mesh.MatchPresent, ""), get("/", "Connection", "close"), "connection: want present, got none"},
		"method":                     {header(":method", mesh.MatchExact, "GET"), get("/"), ""},
		"method, other":              {header(":method", mesh.MatchExact, "POST"), get("/"), `:method: want exact "POST", got "GET"`},
		"authority":                  {header(":authority", mesh.MatchExact, "reviews:9080"), get("/"), ""},
		"host":                       {header("host", mesh.MatchPrefix, "reviews"), get("/", "Host", "another"), ""},
		"scheme":                     {header(":scheme", mesh.MatchExact, "http"), get("/"), ""},
		"path with query":            {header(":path", mesh.MatchExact, "/a?b"), get("/a?b"), ""},
		"a name with a colon":        {header(":x", mesh.MatchPresent, ""), get("/", ":x", "y"), ":x: want present, got none"},
		"source":                     {plan.Route{Path: anyPath, Sources: []string{"10.0.0.0/8", "127.0.0.0/8"}}, from("127.0.0.1"), ""},
		"source, IPv4 in IPv6":       {plan.Route{Path: anyPath, Sources: []string{"10.0.0.0/8"}}, from("::ffff:10.1.2.3"), ""},
		"source, other":              {plan.Route{Path: anyPath, Sources: []string{"10.0.0.0/8", "127.2.0.0/16"}}, from("127.0.0.1"), "source: want 10.0.0.0/8 or 127.2.0.0/16, got 127.0.0.1"},
		"source, unknown":            {plan.Route{Path: anyPath, Sources: []string{"0.0.0.0/0"}}, get("/"), "source: want 0.0.0.0/0, got none"},
		"dialled":                    {plan.Route{Path: anyPath, Dialled: []string{"127.1.2.3/32"}}, dialled, ""},
		"dialled, a name":            {plan.Route{Path: anyPath, Dialled: []string{"127.1.2.3/32"}}, get("/"), "dialled address: want 127.1.2.3/32, got none"},
		"CONNECT":                    {plan.Route{Connect: true}, connect, ""},
		"CONNECT, authority":         {plan.Route{Connect: true, Headers: header(":authority", mesh.MatchExact, "reviews:9080").Headers}, connect, ""},
		"CONNECT has no path":        {plan.Route{Connect: true, Headers: header(":path", mesh.MatchPresent, "").Headers}, connect, ":path: want present, got none"},
		"CONNECT, route for others":  {path(plan.PathPrefix, "/"), connect, "method: CONNECT meets only routes for it"},
		"GET, route for CONNECT":     {plan.Route{Connect: true}, get("/"), "method: want CONNECT, got GET"},
		"path first, then headers":   {plan.Route{Path: plan.PathMatch{Kind: plan.PathExact, Value: "/x"}, Sources: []string{"10.0.0.0/8"}}, get("/"), `path: want exact "/x", got "/"`},
		"OPTIONS * is under no path": {path(plan.PathPrefix, "/"), explain.Request{Method: "OPTIONS", Path: "*"}, `path: want prefix "/", got "*"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := explain.Decide([]plan.Route{c.route}, c.request)
			want := []explain.Candidate{{Taken: c.why == "", Why: c.why}}
			if diff := cmp.Diff(want, d.Candidates); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Routes are tried in order, and every one of them is listed.
func TestOrder(t *testing.T) {
	t.Parallel()
	at := mesh.Position{File: "rules.yaml", Line: 3}
	routes := []plan.Route{
		{Name: "a", Path: plan.PathMatch{Kind: plan.PathExact, Value: "/a"}, Origin: at},
		{Name: "b", Path: anyPath, Answer: &plan.Answer{Status: 418, Body: "short and stout"}},
		{Name: "c", Path: anyPath},
	}
	d := explain.Decide(routes, get("/b"))
	want := []explain.Candidate{
		{Name: "a", Origin: at, Why: `path: want exact "/a", got "/b"`}, {Name: "b", Taken: true}, {Name: "c", Why: "answered before"},
	}
	if diff := cmp.Diff(want, d.Candidates); diff != "" {
		t.Error(diff)
	}
	if d.Route != &routes[1] {
		t.Errorf("route %v, want b", d.Route)
	}
	none := explain.Decide(routes[:1], get("/b"))
	if none.Route != nil || len(none.Outcomes) != 1 || none.Outcomes[0].Status != 404 {
		t.Errorf("without a route: %+v, want 404", none)
	}
	for _, malformed := range []string{"", "a", "/a#b", "/a?b#c", "/%00", "/\x7f", "/a b", "/é"} {
		d := explain.Decide(routes, get(malformed))
		if d.Route != nil || d.Outcomes[0].Status != 400 || len(d.Candidates) != len(routes) {
			t.Errorf("path %q: %+v, want 400", malformed, d)
		}
	}
	if d := explain.Nowhere(get("/")); d.Outcomes[0].Status != 404 {
		t.Errorf("without routes: %+v, want 404", d)
	}
}

// What stands here was asked of an Envoy 1.40 with normalize_path.
func TestNormalizedPath(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/a/../b": "/b", "/a/./b": "/a/b", "/..": "/", "/a/..": "/", "/a/.": "/a/", "/a//../b": "/a/b", "//a": "//a", `/a\b`: "/a/b",
		"/%41%7e%2f%2E%2e/x": "/A~%2f../x", "/%2e%2e": "/", "/a/%2e/": "/a/", "/a%zz": "/a%zz", "/a%": "/a%", "/a%4": "/a%4",
		"/\"<>^`{|}": "/%22%3C%3E%5E%60%7B%7C%7D", "/a;b=c": "/a;b=c", "/!$&'()*+,;=:@[]": "/!$&'()*+,;=:@[]", "/%5c": "/%5c",
		"/a?x/../y": "/a?x/../y", "/a%c3%a9": "/a%c3%a9", "/a/..%2fb": "/a/..%2fb", `/a?"<`: `/a?"<`, "/%25%34%31": "/%2541",
		"/a..": "/a..", "/..a": "/..a", "/a/.../..": "/a/", "/a/b/../../../c": "/c", "/a?": "/a?",
	} {
		d := explain.Decide([]plan.Route{{Path: anyPath, Cluster: "inbound|9080"}}, get(path))
		if len(d.Outcomes) != 1 || d.Outcomes[0].Path != want {
			t.Errorf("%q: %+v, want path %q", path, d.Outcomes, want)
		}
	}
}

// What may happen, with which share.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	const ms = mesh.Duration(time.Millisecond)
	unavailable := 14
	to := func(percent float64, s mesh.Subset, change ...func(*explain.Outcome)) explain.Outcome {
		o := explain.Outcome{Percent: percent, Destination: &s, Path: "/api/x?q=1", Authority: "reviews:9080"}
		for _, c := range change {
			c(&o)
		}
		return o
	}
	after := func(d mesh.Duration) func(*explain.Outcome) { return func(o *explain.Outcome) { o.Delay = d } }
	abort := func(percent float64, status int) explain.Outcome {
		return explain.Outcome{Percent: percent, Status: status, Body: "fault filter abort"}
	}
	whole := []plan.Share{{Subset: v1, Weight: 100}}
	fault := func(f mesh.Fault) plan.Route { return plan.Route{Path: anyPath, Shares: whole, Fault: &f} }
	request := get("/api/x?q=1", "x-number", "7", "x-word", "seven")
	grpc := get("/api/x?q=1", "content-type", "application/grpc+proto")
	preflight := get("/api/x?q=1", "origin", "http://shop", "access-control-request-method", "PUT")
	preflight.Method = "OPTIONS"
	stranger := get("/api/x?q=1", "origin", "http://other", "access-control-request-method", "PUT")
	stranger.Method = "OPTIONS"
	cors := plan.Route{
		Path: anyPath, Shares: whole, CORS: &mesh.CORS{Origins: []string{"http://shop"}},
		Fault: &mesh.Fault{Abort: &mesh.Abort{Percent: 100, Status: 500}},
	}
	for name, c := range map[string]struct {
		route   plan.Route
		request explain.Request
		want    []explain.Outcome
	}{
		"shares": {
			plan.Route{Path: anyPath, Shares: []plan.Share{{Subset: v1, Weight: 75}, {Subset: v2, Weight: 25}}},
			request,
			[]explain.Outcome{to(75, v1), to(25, v2)},
		},
		"a share of nothing": {
			plan.Route{Path: anyPath, Shares: []plan.Share{{Subset: v1}, {Subset: v2, Weight: 100}}}, request, []explain.Outcome{to(100, v2)},
		},
		"the proxy's own cluster": {
			plan.Route{Connect: true, Cluster: "inner", Tunnel: true},
			explain.Request{Method: "CONNECT", Authority: "a:1"},
			[]explain.Outcome{{Percent: 100, Cluster: "inner", Tunnel: true, Authority: "a:1"}},
		},
		"rewrite of the prefix": {
			plan.Route{
				Path: plan.PathMatch{Kind: plan.PathPrefix, Value: "/api"}, Shares: whole, Rewrite: &plan.Rewrite{Prefix: "/v2", Authority: "old"},
				Append: []mesh.Header{{Name: "x-by", Value: "rule"}}, Mirror: &v2,
			},
			request,
			[]explain.Outcome{to(100, v1, func(o *explain.Outcome) {
				o.Path, o.Authority, o.Append, o.Mirror = "/v2/x?q=1", "old", []mesh.Header{{Name: "x-by", Value: "rule"}}, &v2
			})},
		},
		"rewrite of the path": {
			plan.Route{Path: anyPath, Shares: whole, Rewrite: &plan.Rewrite{Path: "/new"}},
			request,
			[]explain.Outcome{to(100, v1, func(o *explain.Outcome) { o.Path = "/new?q=1" })},
		},
		"delay and abort": {
			fault(mesh.Fault{Delay: &mesh.Delay{Percent: 50, Fixed: 3 * ms}, Abort: &mesh.Abort{Percent: 10, Status: 503}}), request,
			[]explain.Outcome{
				{Percent: 5, Delay: 3 * ms, Status: 503, Body: "fault filter abort"}, to(45, v1, after(3*ms)), abort(5, 503), to(45, v1),
			},
		},
		"all aborted":       {fault(mesh.Fault{Abort: &mesh.Abort{Percent: 100, Status: 418}}), request, []explain.Outcome{abort(100, 418)}},
		"none aborted":      {fault(mesh.Fault{Abort: &mesh.Abort{Percent: 0, Status: 418}}), request, []explain.Outcome{to(100, v1)}},
		"aborted with gRPC": {fault(mesh.Fault{Abort: &mesh.Abort{Percent: 100, GRPC: &unavailable}}), request, []explain.Outcome{abort(100, 503)}},
		"gRPC aborted with gRPC": {
			fault(mesh.Fault{Abort: &mesh.Abort{Percent: 100, GRPC: &unavailable}}), grpc,
			[]explain.Outcome{{Percent: 100, Status: 200, GRPC: &unavailable}},
		},
		"gRPC aborted with HTTP": {
			fault(mesh.Fault{Abort: &mesh.Abort{Percent: 100, Status: 503}}), grpc,
			[]explain.Outcome{{Percent: 100, Status: 200, GRPC: &unavailable}},
		},
		"delay from a header": {
			fault(mesh.Fault{Delay: &mesh.Delay{Percent: 100, Header: "x-number"}}), request, []explain.Outcome{to(100, v1, after(7*ms))},
		},
		"delay from a word":  {fault(mesh.Fault{Delay: &mesh.Delay{Percent: 100, Header: "x-word"}}), request, []explain.Outcome{to(100, v1)}},
		"abort from a word":  {fault(mesh.Fault{Abort: &mesh.Abort{Percent: 100, Header: "x-word"}}), request, []explain.Outcome{to(100, v1)}},
		"abort from no code": {fault(mesh.Fault{Abort: &mesh.Abort{Percent: 100, Header: "x-number"}}), request, []explain.Outcome{to(100, v1)}},
		"abort from a header": {
			fault(mesh.Fault{Abort: &mesh.Abort{Percent: 100, Header: "x-code"}}), get("/", "x-code", "+418"), []explain.Outcome{abort(100, 418)},
		},
		"throttle": {
			fault(mesh.Fault{Throttle: &mesh.Throttle{Percent: 100, KiBPerSecond: 8}}), request,
			[]explain.Outcome{to(100, v1, func(o *explain.Outcome) { o.KiBPerSecond = 8 })},
		},
		"redirect": {
			plan.Route{Path: anyPath, Redirect: &mesh.Redirect{URI: "/new", Authority: "shop:81"}},
			request,
			[]explain.Outcome{{Percent: 100, Status: 302, Location: "http://shop:81/new?q=1"}},
		},
		"redirect with a query": {
			plan.Route{Path: anyPath, Redirect: &mesh.Redirect{URI: "/new?x"}},
			request,
			[]explain.Outcome{{Percent: 100, Status: 302, Location: "http://reviews:9080/new?x"}},
		},
		"redirect to another host": {
			plan.Route{Path: anyPath, Redirect: &mesh.Redirect{Authority: "shop"}},
			request,
			[]explain.Outcome{{Percent: 100, Status: 302, Location: "http://shop/api/x?q=1"}},
		},
		"preflight":               {cors, preflight, []explain.Outcome{{Percent: 100, Status: 200}}},
		"preflight of a stranger": {cors, stranger, []explain.Outcome{abort(100, 500)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := explain.Decide([]plan.Route{c.route}, c.request)
			if diff := cmp.Diff(c.want, d.Outcomes); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whatever a request and a plan hold, there is a decision, and its shares sum up to 100.
func FuzzDecide(f *testing.F) {
	f.Add("GET", "/a/../b?c=d", "x-user", "jason", "j.*n", uint8(3), int16(50))
	f.Add("OPTIONS", "*", ":path", "", "(", uint8(1), int16(0))
	f.Add("CONNECT", "", "content-type", "application/grpc", "application", uint8(2), int16(100))
	f.Add("PUT", `/%2e%2E/%zz\..`, "cookie", "a=b", "/", uint8(0), int16(7))
	kinds := []mesh.MatchKind{mesh.MatchExact, mesh.MatchPrefix, mesh.MatchRegex, mesh.MatchPresent}
	paths := []plan.PathKind{plan.PathExact, plan.PathPrefix, plan.PathRegex, plan.PathElementPrefix}
	f.Fuzz(func(t *testing.T, method, path, name, value, want string, kind uint8, number int16) {
		r := get(path, name, value, name, want, "origin", value, "access-control-request-method", method)
		r.Method, r.Authority = method, want
		percent := float64(uint16(number) % 101)
		routes := []plan.Route{
			{Connect: number%7 == 0, Path: plan.PathMatch{Kind: paths[kind%4], Value: want}, Sources: []string{value}, Cluster: "x"},
			header(name, kinds[kind%4], want),
			{
				Path: anyPath, Shares: []plan.Share{{Subset: v1, Weight: 1}, {Subset: v2, Weight: int(kind)}}, CORS: &mesh.CORS{Origins: []string{want}},
				Rewrite: &plan.Rewrite{Prefix: want}, Fault: &mesh.Fault{
					Delay: &mesh.Delay{Percent: percent, Header: name}, Abort: &mesh.Abort{Percent: 100 - percent, Header: name},
					Throttle: &mesh.Throttle{Percent: percent, KiBPerSecond: 1},
				},
			},
		}
		routes[1].Redirect = &mesh.Redirect{URI: want}
		d := explain.Decide(routes, r)
		sum := 0.0
		for _, o := range d.Outcomes {
			sum += o.Percent
		}
		if len(d.Candidates) != len(routes) || sum < 99.999 || sum > 100.001 {
			t.Errorf("%d candidates, outcomes %+v", len(d.Candidates), d.Outcomes)
		}
		if diff := cmp.Diff(d.Outcomes, explain.Decide(routes, r).Outcomes); diff != "" {
			t.Errorf("decided differently when asked again:\n%s", diff)
		}
	})
}
