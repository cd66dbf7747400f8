package push_test

import (
	"fmt"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// scoped is the stream of a captured workload's proxy, driven step by step. It confirms what it is sent but for what it refuses.
type scoped struct {
	t        *testing.T
	client   xds.Client
	session  *xds.Session
	refuse   map[string]bool                // names of which no version is taken
	held     map[xds.Type]map[string]string // what it has, name to version
	got      []string                       // what it was sent since it was last asked, "+NAME" and "-NAME"
	bodies   map[string][]byte              // of scopes, as they were handed to the stream
	scopes   []*xds.Resource                // the last response with scopes
	opening  map[xds.Type]map[string]string
	quietFor map[xds.Type]bool // types that it does not answer for
}

func connectScoped(t *testing.T, w *meshtest.FakeMesh, i int, held map[xds.Type]map[string]string) *scoped {
	t.Helper()
	node := mesh.Node{Type: mesh.Sidecar, Address: capturedAddress(i), Name: fmt.Sprintf("caller-%03d", i), Namespace: "default", Domain: "cluster.local"}
	client, err := w.Engine.Open(t.Context(), xds.Peer{Node: &corev3.Node{Id: node.String()}})
	await(t, err)
	s := &scoped{
		t: t, client: client, session: xds.NewSession(), refuse: map[string]bool{}, bodies: map[string][]byte{}, quietFor: map[xds.Type]bool{},
		held: map[xds.Type]map[string]string{}, opening: held,
	}
	for _, typ := range []xds.Type{xds.ClusterType, xds.ListenerType, xds.ScopeType} {
		if s.held[typ] = map[string]string{}; held[typ] != nil {
			s.held[typ] = held[typ]
		}
		s.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(typ), InitialResourceVersions: held[typ]})
	}
	return s
}

func capturedAddress(i int) string { return fmt.Sprintf("10.244.%d.%d", i/200, 1+i%200) }

func (s *scoped) say(req *discoveryv3.DeltaDiscoveryRequest) {
	s.t.Helper()
	event, err := s.session.Receive(req)
	await(s.t, err)
	s.client.Handle(s.session, event)
	s.next()
}

func (s *scoped) ask(typ xds.Type, names ...string) {
	s.t.Helper()
	s.say(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(typ), ResourceNamesSubscribe: names})
}

// next takes what is to be sent now, and answers.
func (s *scoped) next() {
	s.t.Helper()
	responses, _ := s.client.Next(s.session)
	for _, r := range responses {
		answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(r.Type), ResponseNonce: r.Nonce}
		for _, x := range r.Resources {
			s.got = append(s.got, "+"+x.Name)
			if s.refuse[x.Name] {
				answer.ErrorDetail = &statusv3.Status{Message: "no: " + x.Name + " is bad"}
			}
		}
		for _, name := range r.Removed {
			s.got = append(s.got, "-"+name)
		}
		if s.held[r.Type] == nil {
			s.held[r.Type] = map[string]string{}
		}
		for _, x := range r.Resources {
			if answer.ErrorDetail == nil {
				s.held[r.Type][x.Name] = x.Version
			}
			if r.Type == xds.ScopeType {
				s.bodies[x.Name], s.scopes = x.Body, r.Resources
			}
		}
		for _, name := range r.Removed {
			delete(s.held[r.Type], name)
		}
		if !s.quietFor[r.Type] {
			s.say(answer)
		}
	}
}

// took returns what was sent since it was last asked.
func (s *scoped) took() []string {
	s.next()
	got := s.got
	s.got = nil
	return got
}

func (s *scoped) wantTook(what string, want ...string) {
	s.t.Helper()
	if got := s.took(); !slices.Equal(got, want) {
		s.t.Errorf("%s: sent %q, want %q", what, got, want)
	}
}

// scopedMesh is a mesh of services with addresses, one HTTP port and one for bytes each, and captured callers.
func scopedMesh(t *testing.T, config push.Config, services, callers int) *meshtest.FakeMesh {
	t.Helper()
	w := meshtest.NewFakeMesh(t, config)
	w.Edit(func(d *mesh.Draft) {
		settings := mesh.DefaultSettings
		settings.ServiceRanges = []string{"10.96.0.0/12"}
		d.SetSettings(&settings)
		for i := range services {
			putScoped(d, i, "")
		}
		for i := range callers {
			caller := &mesh.Workload{
				Name: fmt.Sprintf("caller-%03d", i), Namespace: "default", Type: mesh.Sidecar, Account: "default", Capture: true,
				Address: capturedAddress(i), Labels: mesh.Labels{"app": "caller"},
			}
			d.SetWorkload(caller.ID(), caller)
		}
	})
	return w
}

func scopedAddress(i int) string { return fmt.Sprintf("10.96.%d.%d", i/250, 1+i%250) }

// putScoped puts a service at its address, or at another one.
func putScoped(d *mesh.Draft, i int, address string) {
	if address == "" {
		address = scopedAddress(i)
	}
	d.SetService(hostNumber(i), &mesh.Service{
		Host: hostNumber(i), Name: fmt.Sprintf("svc-%03d", i), Namespace: "default", Addresses: []string{address},
		Ports: []mesh.Port{{Name: "http", Number: 80, Protocol: mesh.HTTP}, {Name: "tcp", Number: 90, Protocol: mesh.TCP}},
	})
	d.SetEndpoints(hostNumber(i), &mesh.EndpointSet{Host: hostNumber(i), Endpoints: []mesh.Endpoint{{
		Address: fmt.Sprintf("10.245.%d.%d", i/250, 1+i%250), Ports: map[string]int{"http": 8080, "tcp": 9090},
		Labels: mesh.Labels{"version": "v1"}, Health: mesh.Healthy,
	}}})
}

// A change of one service is one scope for all captured workloads, cut, made and marshalled once; everybody is sent the very same
// bytes. What is none of a scope's business sends none.
func TestOneServiceCostsItsScopes(t *testing.T) {
	t.Parallel()
	const services, proxies = 200, 20
	w := scopedMesh(t, push.Config{}, services, proxies)
	var all []*scoped
	for i := range proxies {
		all = append(all, connectScoped(t, w, i, nil))
		all[i].took()
	}
	kind := string(view.KindScope)
	counts := w.Engine.Counters()
	if cuts, marshals := counts.Cuts.Of(kind), counts.Makes.Of(kind); cuts != 2*services || marshals != 2*services {
		t.Errorf("%d scopes were cut and %d made, want %d: once for all", cuts, marshals, 2*services)
	}
	for name, body := range all[0].bodies {
		if other := all[1].bodies[name]; &body[0] != &other[0] {
			t.Fatalf("%s is not the same bytes for all", name)
		}
		if len(body) > 200 {
			t.Errorf("%s takes %d bytes, want 200 at most", name, len(body))
		}
	}

	if &all[0].scopes[0] != &all[1].scopes[0] {
		t.Error("each proxy has a response of its own, and what all are sent alike is written for each")
	}

	cuts, makes, sends := counts.Cuts.Of(kind), counts.Makes.Of(kind), counts.Sends.Of(kind)
	revision := w.Edit(func(d *mesh.Draft) { putScoped(d, services, "") })
	for i, p := range all {
		p.wantTook(fmt.Sprintf("proxy %d, of a new service", i), "+"+scopedAddress(services)+":80", "+"+scopedAddress(services)+":90")
	}
	if &all[0].scopes[0] != &all[1].scopes[0] {
		t.Error("of a new service each proxy has a response of its own")
	}
	if concerned := w.Confirmed(revision); concerned != proxies {
		t.Errorf("the change concerned %d proxies, want %d", concerned, proxies)
	}
	if c, m, s := counts.Cuts.Of(kind)-cuts, counts.Makes.Of(kind)-makes, counts.Sends.Of(kind)-sends; c != 2 || m != 2 || s != 2*proxies {
		t.Errorf("a new service costs %d cuts, %d makes and %d sends, want 2, 2 and %d", c, m, s, 2*proxies)
	}

	cuts, sends = counts.Cuts.Of(kind), counts.Sends.Of(kind)
	revision = w.Edit(func(d *mesh.Draft) {
		d.SetEndpoints(hostNumber(3), nil)
		d.SetRules(hostNumber(3), mesh.NewRuleSet(hostNumber(3), []*mesh.RouteRule{{Object: mesh.Ref{Name: "x"}, Destination: hostNumber(3)}}))
	})
	if concerned := w.Confirmed(revision); concerned != 0 || counts.Cuts.Of(kind) != cuts || counts.Sends.Of(kind) != sends {
		t.Errorf("endpoints and rules of a service that nobody calls concern %d proxies and cut %d scopes", concerned, counts.Cuts.Of(kind)-cuts)
	}

	w.Edit(func(d *mesh.Draft) { d.SetService(hostNumber(7), nil) })
	all[0].wantTook("a service that is gone", "-"+scopedAddress(7)+":80", "-"+scopedAddress(7)+":90")
	w.Edit(func(d *mesh.Draft) { putScoped(d, 7, "") })
	all[0].wantTook("one that is back", "+"+scopedAddress(7)+":80", "+"+scopedAddress(7)+":90")
	for range 3 { // what has changed several times before it is sent is sent once
		w.Edit(func(d *mesh.Draft) { putScoped(d, 8, "10.97.0.2") })
		w.Edit(func(d *mesh.Draft) { putScoped(d, 8, "") })
	}
	all[1].took()
	if got := all[0].took(); len(got) != len(slices.Compact(slices.Sorted(slices.Values(got)))) {
		t.Errorf("several changes at once: sent %q", got)
	}
	w.Edit(func(d *mesh.Draft) { d.SetService(hostNumber(7), nil) })
	w.Edit(func(d *mesh.Draft) { putScoped(d, 7, "") })
	all[0].took()
	w.Edit(func(d *mesh.Draft) { putScoped(d, 7, "10.97.0.1") })
	all[0].wantTook("one that has another address", "+10.97.0.1:80", "+10.97.0.1:90", "-"+scopedAddress(7)+":80", "-"+scopedAddress(7)+":90")
}

// Whoever comes back with scopes is told what differs; a new one, and one to whom much has changed, has in the end what there is.
func TestScopesOnReconnection(t *testing.T) {
	t.Parallel()
	w := scopedMesh(t, push.Config{}, 5, 2)
	p, other := connectScoped(t, w, 0, nil), connectScoped(t, w, 1, nil)
	p.took()
	p.client.Close()
	for i := range 400 { // more than is kept in order
		w.Edit(func(d *mesh.Draft) { putScoped(d, 1, fmt.Sprintf("10.98.0.%d", 1+i%200)) })
	}
	w.Edit(func(d *mesh.Draft) { d.SetService(hostNumber(2), nil) })
	p = connectScoped(t, w, 0, p.held)
	gone := []string{"-" + scopedAddress(1) + ":80", "-" + scopedAddress(1) + ":90", "-" + scopedAddress(2) + ":80", "-" + scopedAddress(2) + ":90"}
	p.wantTook("back again", append([]string{"+10.98.0.200:80", "+10.98.0.200:90"}, gone...)...)
	other.took()
	if len(other.held[xds.ScopeType]) != 8 || len(p.held[xds.ScopeType]) != 8 {
		t.Errorf("they have %d and %d scopes, want 8", len(other.held[xds.ScopeType]), len(p.held[xds.ScopeType]))
	}
	for name, version := range p.held[xds.ScopeType] {
		if other.held[xds.ScopeType][name] != version {
			t.Errorf("%s is %q at one and %q at the other", name, version, other.held[xds.ScopeType][name])
		}
	}
	p.client.Close()
	p = connectScoped(t, w, 0, p.held)
	p.wantTook("back again with the newest")
}

// Routes come when they are asked for, after the cluster that they lead to, its endpoints and their confirmation; a cluster for an
// address that is dialled is answered at once, whosever it is.
func TestCapturedOrder(t *testing.T) {
	t.Parallel()
	w := scopedMesh(t, push.Config{}, 3, 1)
	p := connectScoped(t, w, 0, nil)
	p.took()
	routes, cluster := view.CapturedRoutesOf(hostNumber(1), 80).Name, mesh.Subset{Host: hostNumber(1), Port: 80}.String()
	p.ask(xds.RouteType, routes)
	p.wantTook("routes that are asked for", "+"+cluster)
	p.ask(xds.EndpointsType, cluster)
	p.wantTook("its endpoints", "+"+cluster, "+"+routes)

	for _, address := range []string{scopedAddress(1) + ":90", "10.245.0.1:9090", "10.245.0.99:1", capturedAddress(0) + ":1"} {
		p.ask(xds.ClusterType, view.DialledPrefix+address)
		if got := p.took(); len(got) != 1 || got[0] != "+"+view.DialledPrefix+address {
			t.Errorf("%s: sent %q", address, got)
		}
	}
	p.ask(xds.EndpointsType, view.DialledPrefix+scopedAddress(1)+":90")
	p.wantTook("endpoints of an address", "+"+view.DialledPrefix+scopedAddress(1)+":90")
	w.Edit(func(d *mesh.Draft) {
		d.SetRules(hostNumber(1), mesh.NewRuleSet(hostNumber(1), []*mesh.RouteRule{{
			Object: mesh.Ref{Name: "x"}, Destination: hostNumber(1), Routes: []mesh.WeightedRoute{{Host: hostNumber(2), Weight: 100}},
		}}))
	})
	if got := p.took(); !slices.Contains(got, "+"+view.DialledPrefix+scopedAddress(1)+":90") {
		t.Errorf("a rule that sends bytes elsewhere: sent %q", got)
	}
	held := p.held
	p.client.Close()
	p = connectScoped(t, w, 0, held)
	p.ask(xds.ClusterType, view.DialledPrefix+scopedAddress(1)+":90")
	for _, got := range p.took() {
		if got[0] == '-' {
			t.Errorf("back again: %q is taken away", got)
		}
	}
}

// A scope that a proxy refuses is found, set aside, and told in the proxy's own words; the others of the response are taken.
func TestRefusedScope(t *testing.T) {
	t.Parallel()
	w := scopedMesh(t, push.Config{}, 3, 1)
	p := connectScoped(t, w, 0, nil)
	p.took()
	bad := scopedAddress(3) + ":80"
	p.refuse[bad] = true
	revision := w.Edit(func(d *mesh.Draft) {
		putScoped(d, 3, "")
		putScoped(d, 4, "")
	})
	p.took()
	for _, name := range []string{scopedAddress(3) + ":90", scopedAddress(4) + ":80", scopedAddress(4) + ":90"} {
		if p.held[xds.ScopeType][name] == "" {
			t.Errorf("%s is not there, since another one was refused", name)
		}
	}
	progress := w.Engine.Progress(t.Context(), revision, meshtest.Patience)
	if len(progress.Refusals) != 1 || progress.Refusals[0].Resource.Name != bad {
		t.Errorf("refused: %+v", progress.Refusals)
	}
	p.got = nil
	w.Edit(func(d *mesh.Draft) { putScoped(d, 5, "") })
	p.wantTook("later ones", "+"+scopedAddress(5)+":80", "+"+scopedAddress(5)+":90")
	w.Edit(func(d *mesh.Draft) { d.SetService(hostNumber(4), nil) })
	p.wantTook("one that was sent singly is gone", "-"+scopedAddress(4)+":80", "-"+scopedAddress(4)+":90")
}

// What the proxy of a captured workload has asked for is asked for by its next replica at once, since its scope says so; by asking
// it then teaches nothing.
func TestCapturedUseIsLearned(t *testing.T) {
	t.Parallel()
	w := scopedMesh(t, push.Config{}, 3, 2)
	p := connectScoped(t, w, 0, nil)
	p.took()
	p.ask(xds.RouteType, view.CapturedRoutesOf(hostNumber(1), 80).Name)
	want := []string{string(hostNumber(1)) + ":80"}
	if names := usedNames(w.Engine); !slices.Equal(names, want) {
		t.Fatalf("learned is %q, want %q", names, want)
	}
	next := connectScoped(t, w, 1, nil)
	next.took()
	name := scopedAddress(1) + ":80"
	if next.held[xds.ScopeType][name] == p.held[xds.ScopeType][name] {
		t.Error("the next replica is told of the address that is used as of any other")
	}
	if other := scopedAddress(2) + ":80"; next.held[xds.ScopeType][other] != p.held[xds.ScopeType][other] {
		t.Error("the next replica is told of an address that nobody uses as of one that is used")
	}
	next.ask(xds.RouteType, view.CapturedRoutesOf(hostNumber(1), 80).Name)
	p.client.Close()
	once, again := w.Engine.Uses(), w.Engine.Uses() // of a name that somebody uses it is said that it is in use now
	if len(once) != 1 || len(again) != 1 || !once[0].Names[0].Asked.Equal(again[0].Names[0].Asked) {
		t.Errorf("learned is %+v, and then %+v: a replica that was told to ask counts as one that did by itself", once, again)
	}
	w.Edit(func(d *mesh.Draft) { putScoped(d, 1, "10.97.0.1") })
	next.took()
	if next.held[xds.ScopeType][name] != "" || next.held[xds.ScopeType]["10.97.0.1:80"] == "" {
		t.Error("a service that moves leaves its scope behind")
	}
}

// A proxy that comes back keeps each scope in the form in which it has it, whatever was learned or forgotten meanwhile: nothing that
// did not change is sent. What did change is sent as a new one gets it.
func TestScopesKeepTheirForm(t *testing.T) {
	t.Parallel()
	w := scopedMesh(t, push.Config{}, 4, 2)
	first := connectScoped(t, w, 0, nil)
	first.took()
	routes := view.CapturedRoutesOf(hostNumber(1), 80).Name
	first.ask(xds.RouteType, routes)
	first.took()
	second := connectScoped(t, w, 1, nil) // is told to ask
	second.took()
	name := scopedAddress(1) + ":80"
	byItself, told := first.held[xds.ScopeType][name], second.held[xds.ScopeType][name]
	if byItself == told {
		t.Fatal("there are no two forms")
	}
	first.client.Close()
	second.client.Close()
	first = connectScoped(t, w, 0, first.held)
	first.wantTook("one that asked by itself is back")

	other := scopedMesh(t, push.Config{}, 4, 2) // a control plane that has learned nothing
	second = connectScoped(t, other, 1, second.held)
	second.wantTook("one that was told to ask is back")
	second.ask(xds.RouteType, routes)
	if names := usedNames(other.Engine); len(names) > 0 {
		t.Errorf("it teaches %q by asking as it was told", names)
	}
	second.client.Close()
	other.Edit(func(d *mesh.Draft) { putScoped(d, 1, "10.97.0.1") })
	second = connectScoped(t, other, 1, second.held)
	second.wantTook("a service that has moved", "+10.97.0.1:80", "+10.97.0.1:90", "-"+name, "-"+scopedAddress(1)+":90")
	second.client.Close()
	second.held[xds.ScopeType][scopedAddress(2)+":80"] = "older"
	second = connectScoped(t, other, 1, second.held)
	second.wantTook("one that it has in an older version", "+"+scopedAddress(2)+":80")
	if second.held[xds.ScopeType][scopedAddress(2)+":80"] == "older" {
		t.Error("it keeps the older version")
	}
}
