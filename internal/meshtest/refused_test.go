package meshtest_test

import (
	"bytes"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// spoiler puts into resources what no object can say and Envoy refuses.
type spoiler struct {
	t    *testing.T
	with func(proto.Message) error // what spoils; nil: [spoilt]
	mu   sync.Mutex
	typ  xds.Type // "": nothing is spoilt
	part string   // of the names, or of the bytes, of what is spoilt
}

// spoil spoils what is made from now on.
func (s *spoiler) spoil(typ xds.Type, part string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.typ, s.part = typ, part
}

// alter is what the control plane calls for each resource that it makes.
func (s *spoiler) alter(r *xds.Resource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Type != s.typ || (!strings.Contains(r.Name, s.part) && !bytes.Contains(r.Body, []byte(s.part))) {
		return
	}
	message, err := (&anypb.Any{TypeUrl: string(r.Type), Value: r.Body}).UnmarshalNew()
	with := s.with
	if with == nil {
		with = spoilt
	}
	if err == nil {
		err = with(message)
	}
	if err == nil {
		r.Body, err = proto.MarshalOptions{Deterministic: true}.Marshal(message)
	}
	if err != nil {
		s.t.Error(err)
	}
}

// spoilt makes a message one that Envoy refuses. What Envoy says of it stands in [refusals].
func spoilt(message proto.Message) error {
	expression := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: "("}}}
	switch message := message.(type) {
	case *routev3.VirtualHost:
		message.GetRoutes()[0].Match = expression
	case *routev3.RouteConfiguration:
		message.GetVirtualHosts()[0].GetRoutes()[0].Match = expression
	case *clusterv3.Cluster:
		message.TransportSocket = &corev3.TransportSocket{Name: "nobody.knows.this"}
	case *endpointv3.ClusterLoadAssignment:
		message.GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress().GetSocketAddress().Address = "nowhere.test"
	case *listenerv3.Listener:
		message.ListenerFilters = append(message.ListenerFilters, &listenerv3.ListenerFilter{Name: "nobody.knows.this"})
	case *corev3.TypedExtensionConfig:
		empty, err := anypb.New(&tcpproxyv3.TcpProxy{StatPrefix: "x"})
		message.TypedConfig = empty
		return err
	}
	return nil
}

// refusals are what Envoy says of what [spoilt] makes.
var refusals = map[xds.Type]string{
	xds.VirtualHostType: "missing )", xds.RouteType: "missing )", xds.ClusterType: "nobody.knows.this",
	xds.EndpointsType: "malformed IP address", xds.ListenerType: "nobody.knows.this", xds.FilterType: "cluster_specifier",
}

// refusing is a mesh whose control plane can be made to send what Envoy refuses, with a caller that has a local address
// for requests and one for bytes.
type refusing struct {
	*testing.T
	*spoiler
	mesh   *meshtest.Mesh
	caller *meshtest.Instance
	turn   int // of the other host
}

func newRefusing(t *testing.T) *refusing {
	t.Helper()
	s := &spoiler{t: t}
	m := meshtest.NewWith(t, meshtest.Config{Version: "test", Alter: s.alter})
	for _, v := range []string{"v1", "v2"} {
		m.Start("reviews", v, meshtest.Named(v))
		m.Start("other", v, meshtest.Named("other "+v))
		m.StartSpec(meshtest.Spec{Service: "db", Version: v, Ports: []meshtest.SpecPort{{Name: "tcp", Number: 3306, Target: greeter(t, v)}}})
	}
	caller := m.StartSpec(meshtest.Spec{
		Service: "caller", Version: "v1", Ports: []meshtest.SpecPort{{Name: "http", Number: 9080, App: meshtest.Named("caller")}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("reviews"), Port: 9080}, {Host: meshtest.HostOf("db"), Port: 3306}},
	})
	m.Apply(rule("all", "route: [{labels: {version: v1}}]"))
	m.Apply(ruleFor("db", "bytes", "route: [{labels: {version: v1}}]"))
	x := &refusing{T: t, spoiler: s, mesh: m, caller: caller}
	x.otherGoesOn()
	wantBody(t, caller, reviews, "v1")
	return x
}

// otherGoesOn changes the rule of another host, which must be in force at once.
func (x *refusing) otherGoesOn() {
	x.Helper()
	x.turn++
	version := "v" + strconv.Itoa(1+x.turn%2)
	x.mesh.Apply(ruleFor("other", "other", "route: [{labels: {version: "+version+"}}]"))
	wantBody(x.T, x.caller, "http://other:9080/", "other "+version)
}

// refused makes a change of which one resource is spoilt: the caller alone refuses it, in its own words, and other hosts go
// on.
func (x *refusing) refused(typ xds.Type, part string, change func() int64) {
	x.Helper()
	x.spoil(typ, part)
	got := x.mesh.RefusedOf(change())
	x.spoil("", "")
	if len(got) == 0 {
		x.Fatalf("a spoilt %s is not refused", typ)
	}
	for _, refusal := range got {
		if !strings.HasPrefix(refusal, string(x.caller.ID())+": ") || !strings.Contains(refusal, refusals[typ]) {
			x.Errorf("a spoilt %s: refused %q, want by the caller alone and with %q", typ, got, refusals[typ])
		}
	}
	x.otherGoesOn()
	x.otherGoesOn()
}

// blamed is refused, after which the refusal is a problem of the object whose change it is.
func (x *refusing) blamed(object string, typ xds.Type, part string, change func() int64) {
	x.Helper()
	x.refused(typ, part, change)
	if got := x.problems(); !slices.ContainsFunc(got, func(p mesh.Problem) bool {
		return p.Object.String() == object && p.Position.Line > 0 && strings.Contains(p.Message, refusals[typ]) &&
			strings.Contains(p.Message, string(x.caller.ID()))
	}) {
		x.Errorf("the problems are %v, want one of %s with the caller's words", got, object)
	}
}

// problems returns what proxies refuse, as problems of objects.
func (x *refusing) problems() []mesh.Problem {
	x.Helper()
	problems, err := x.mesh.API.Problems(x.Context())
	if err != nil {
		x.Fatal(err)
	}
	return slices.DeleteFunc(problems, func(p mesh.Problem) bool { return p.Code != push.CodeRefusedByProxy })
}

// workload changes the caller's workload.
func (x *refusing) workload(r *mesh.Registry, change func(*mesh.Workload)) {
	for i, w := range r.Workloads {
		if w.Name == x.caller.Name {
			changed := *w
			change(&changed)
			r.Workloads[i] = &changed
		}
	}
}

func (x *refusing) apply(yaml string) func() int64 {
	return func() int64 { x.Helper(); return x.mesh.TryApply(yaml).Revision }
}

// address returns who answers at the caller's local address for reviews.
func (x *refusing) address() string {
	x.Helper()
	body, err := meshtest.Fetch(x.Context(), direct(), "http://"+x.caller.Upstream("reviews", 9080)+"/")
	if err != nil {
		x.Error(err)
	}
	return body
}

func (x *refusing) want(what, got, want string) {
	x.Helper()
	if got != want {
		x.Errorf("%s: %q, want %q", what, got, want)
	}
}

const subsetOfReviews = "outbound|9080|version=v1|reviews."

// What Envoy refuses is set aside: its last good version stays and serves, everything else goes on, and a good version
// that comes later is taken. So it is for each type of resource.
func TestRefusedByEnvoy(t *testing.T) {
	t.Parallel()
	x := newRefusing(t)

	x.blamed("RouteRule default/all", xds.VirtualHostType, "out/reviews:9080", x.apply(rule("all", "route: [{labels: {version: v2}}]")))
	wantBody(t, x.caller, reviews, "v1")
	x.want("the routes of the local address, which are good", x.address(), "v2")
	x.mesh.Apply(rule("all", "route: [{labels: {version: v2}}], httpReqTimeout: {simpleTimeout: {timeout: 9s}}"))
	wantBody(t, x.caller, reviews, "v2")

	x.blamed("RouteRule default/all", xds.RouteType, "reviews.", x.apply(rule("all", "route: [{labels: {version: v1}}]")))
	x.want("by the local address", x.address(), "v2")
	wantBody(t, x.caller, reviews, "v1")
	x.mesh.Apply(rule("all", "route: [{labels: {version: v1}}], httpReqTimeout: {simpleTimeout: {timeout: 9s}}"))
	x.want("by the local address, mended", x.address(), "v1")

	x.blamed("DestinationPolicy default/lb", xds.ClusterType, subsetOfReviews, x.apply(policy("lb", "loadBalancing: {name: RANDOM}")))
	wantBody(t, x.caller, reviews, "v1")
	x.mesh.Apply(policy("lb", "loadBalancing: {name: LEAST_CONN}"))
	wantBody(t, x.caller, reviews, "v1")
	x.mesh.Delete("DestinationPolicy", "lb")

	x.blamed("RouteRule default/bytes", xds.FilterType, "db.", x.apply(ruleFor("db", "bytes", "route: [{labels: {version: v2}}]")))
	db := x.caller.Upstream("db", 3306)
	x.want("bytes", only(greetings(t, db, 5)), "v1")
	x.mesh.Apply(ruleFor("db", "bytes", "route: [{labels: {version: v2}}], l4Fault: {terminate: {terminateAfterPeriod: 60s}}"))
	x.want("bytes, mended", only(greetings(t, db, 5)), "v2")

	if got := x.problems(); len(got) > 0 {
		t.Errorf("after all is mended there are problems: %v", got)
	}

	x.endpoints()
	x.listeners()
}

// only returns the one who answered, or all of them.
func only(answers map[string]int) string {
	var names []string
	for name := range answers {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " and ")
}

// endpoints refuses the endpoints of a cluster that has some, and those of one that has none yet.
func (x *refusing) endpoints() {
	x.Helper()
	var more *meshtest.Instance
	x.refused(xds.EndpointsType, subsetOfReviews, func() int64 {
		return x.mesh.TryEdit(func(r *mesh.Registry) { changeEndpoints(r, "reviews", func(e *mesh.Endpoint) { e.Workload += "x" }) })
	})
	wantBody(x.T, x.caller, reviews, "v1")
	more = x.mesh.Start("reviews", "v1", meshtest.Named("more"))
	meshtest.Await(x.T, "an answer of the endpoint that came later", func() bool { _, body := x.caller.Get(reviews); return body == "more" })
	more.Stop()
}

// changeEndpoints changes the endpoints of a service, of which the change gets copies.
func changeEndpoints(r *mesh.Registry, service string, change func(*mesh.Endpoint)) {
	for i, set := range r.Endpoints {
		if set.Host != meshtest.HostOf(service) {
			continue
		}
		changed := &mesh.EndpointSet{Host: set.Host, Endpoints: slices.Clone(set.Endpoints)}
		for k := range changed.Endpoints {
			change(&changed.Endpoints[k])
		}
		r.Endpoints[i] = changed
	}
}

// listeners refuses another port of the caller's own listener; a third one is taken.
func (x *refusing) listeners() {
	x.Helper()
	at := func(port int) func() int64 {
		return func() int64 {
			x.Helper()
			return x.mesh.TryEdit(func(r *mesh.Registry) { x.workload(r, func(w *mesh.Workload) { w.Outbound = port }) })
		}
	}
	first, second := x.freePort(), x.freePort()
	for second == first {
		second = x.freePort()
	}
	x.refused(xds.ListenerType, x.caller.Address, at(first))
	wantBody(x.T, x.caller, reviews, "v1")
	x.mesh.InForce(at(second)())
	proxy := &url.URL{Scheme: "http", Host: net.JoinHostPort(x.caller.Address, strconv.Itoa(second))}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), DisableKeepAlives: true}}
	x.want("at the other port", fetch(x.T, client, reviews), "v1")
}

func (x *refusing) freePort() int {
	x.Helper()
	l, err := new(net.ListenConfig).Listen(x.Context(), "tcp", net.JoinHostPort(x.caller.Address, "0"))
	if err != nil {
		x.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
