package push

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

type (
	request  = discoveryv3.DeltaDiscoveryRequest
	response = discoveryv3.DeltaDiscoveryResponse
)

// inOrder is the order in which Envoy asks again for its types on a new stream.
var inOrder = []xds.Type{
	xds.ClusterType, xds.ListenerType, xds.RouteType, xds.FilterType, xds.VirtualHostType, xds.EndpointsType,
}

const (
	modelHosts = 4
	// lasting is a service that is never gone, so that what stands behind its local address stays of one type.
	lasting = 3
)

// model is an Envoy and a mesh that behave at random, but for one seed always the same: the mesh changes rules,
// endpoints, protocols and services; the Envoy asks for hosts, answers late, answers for clusters later than for the
// rest, refuses some versions, loses its stream and comes back with what it has. Time stands still but for its steps.
type model struct {
	t      *testing.T
	random *rand.Rand
	seed   uint64
	refuse bool
	engine *Engine
	now    time.Time

	snapshot *mesh.Snapshot
	proxy    *Proxy
	session  *xds.Session
	toEnvoy  []*response
	toLateen []*request
	late     []*request // confirmations of clusters

	held    map[xds.Type]map[string]string // versions by name
	leads   map[string][]string            // virtual hosts, routes and filters, with their type, to clusters
	behind  map[string]map[xds.Type]string // listener to the names of what stands behind it
	warm    map[string]bool                // clusters that have endpoints
	opened  map[xds.Type]bool
	finds   map[string]bool           // clusters that find their endpoints
	asked   map[string]bool           // virtual hosts
	dropped map[string]bool           // those that it does not want any more
	bad     map[string]bool           // what was ever refused
	tainted map[view.ID]bool          // resources of which some version, or a cluster behind it, was refused
	told    map[view.ID][]toldVersion // what the proxy's resources were, oldest first
	log     []string
}

func newModel(t *testing.T, seed uint64, refuse bool) *model {
	m := &model{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), seed: seed, refuse: refuse, //nolint:gosec // repeatable on purpose
		engine: NewEngine(Config{Log: slog.New(slog.DiscardHandler), Grace: 10 * time.Second}),
		now:    time.Unix(0, 0), snapshot: mesh.NewSnapshot("cluster.local"),
		held: map[xds.Type]map[string]string{}, leads: map[string][]string{}, warm: map[string]bool{},
		finds: map[string]bool{},
		asked: map[string]bool{}, dropped: map[string]bool{}, bad: map[string]bool{}, tainted: map[view.ID]bool{}, behind: map[string]map[xds.Type]string{},
	}
	for _, typ := range inOrder {
		m.held[typ] = map[string]string{}
	}
	m.edit("start", func(d *mesh.Draft) {
		w := &mesh.Workload{
			Name: "c", Namespace: "default", Type: mesh.Sidecar, Address: "127.0.0.1", Outbound: 15001,
			Upstreams: []mesh.Upstream{{Host: modelHost(lasting), Port: 80, Listen: 4000}, {Host: modelHost(1), Port: 81, Listen: 4001}},
		}
		d.SetWorkload(w.ID(), w)
		for i := range modelHosts {
			d.SetService(modelHost(i), modelService(i, mesh.HTTP))
		}
	})
	m.connect()
	return m
}

func modelHost(i int) mesh.Host { return mesh.Host(fmt.Sprintf("s%d.default.svc.cluster.local", i)) }

func modelService(i int, p mesh.Protocol) *mesh.Service {
	return &mesh.Service{Host: modelHost(i), Ports: []mesh.Port{
		{Name: "http", Number: 80, Protocol: p}, {Name: "tcp", Number: 81, Protocol: mesh.TCP},
	}}
}

func (m *model) note(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("seed %d: %s; before that:\n  %s", m.seed, fmt.Sprintf(format, args...),
		strings.Join(m.log[max(0, len(m.log)-40):], "\n  "))
}

func (m *model) edit(what string, change func(*mesh.Draft)) {
	m.note("%s", what)
	draft := m.snapshot.Edit()
	change(draft)
	var keys []mesh.Key
	m.snapshot, keys = draft.Done()
	m.engine.Apply(m.snapshot, keys)
	if m.proxy != nil {
		m.tell()
	}
}

// connect opens a stream, with what the Envoy has.
func (m *model) connect() {
	client, err := m.engine.Open(m.t.Context(), xds.Peer{Node: &corev3.Node{Id: "sidecar~127.0.0.1~c.default~default.svc.cluster.local"}})
	if err != nil {
		m.fail("open: %v", err)
	}
	m.proxy, m.session = client.(*Proxy), xds.NewSession()
	m.proxy.now = func() time.Time { return m.now }
	m.toEnvoy, m.toLateen, m.late = nil, nil, nil
	clear(m.dropped)
	before := m.opened
	m.opened = map[xds.Type]bool{}
	m.note("connect")
	m.told = map[view.ID][]toldVersion{}
	for _, typ := range inOrder {
		if typ != xds.ClusterType && !before[typ] {
			continue
		}
		var names []string
		switch typ {
		case xds.RouteType, xds.FilterType:
			names = m.namesBehind(typ)
		case xds.VirtualHostType:
			names = slices.Sorted(maps.Keys(m.asked))
		case xds.EndpointsType:
			for _, name := range slices.Sorted(maps.Keys(m.held[xds.ClusterType])) {
				if !m.finds[name] {
					names = append(names, name)
				}
			}
		}
		m.open(typ, names)
	}
}

func (m *model) open(typ xds.Type, names []string) {
	if !m.opened[typ] {
		m.opened[typ] = true
		m.ask(&request{TypeUrl: string(typ), ResourceNamesSubscribe: names, InitialResourceVersions: maps.Clone(m.held[typ])})
	}
}

func (m *model) ask(r *request) { m.toLateen = append(m.toLateen, r) }

// lateen takes a request, perhaps, and sends what there is to send.
func (m *model) lateen() {
	settled, happened := m.proxy.settled, false
	if len(m.toLateen) > 0 && m.random.IntN(4) > 0 {
		event, err := m.session.Receive(m.toLateen[0])
		if err != nil {
			m.fail("receive: %v", err)
		}
		m.toLateen = m.toLateen[1:]
		m.proxy.Handle(m.session, event)
		happened = true
	}
	for _, r := range m.next() {
		m.note("sent %s %s %q, removed %q", r.GetTypeUrl(), r.GetNonce(), namesOf(r), r.GetRemovedResources())
		m.toEnvoy = append(m.toEnvoy, r)
		happened = true
	}
	if !happened && m.proxy.settled == settled {
		return // nothing is different from the last look
	}
	m.checkUses()
	m.tell()
	m.checkInForce()
}

// next returns what is sent now.
func (m *model) next() []*response {
	responses, _ := m.proxy.Next(m.session)
	var written []*response
	for _, r := range responses {
		written = append(written, r.Delta())
	}
	return written
}

// checkUses counts anew how many routes lead to each cluster.
func (m *model) checkUses() {
	uses := map[string]int{}
	for _, s := range m.proxy.slots {
		for _, id := range m.proxy.aimed(s) {
			uses[id.Name]++
		}
		for _, c := range s.versions {
			for _, id := range c.made.needs {
				uses[id.Name]++
			}
		}
	}
	for id, s := range m.proxy.slots {
		if typeOf[id.Kind] == xds.ClusterType && int(s.uses) != uses[id.Name] {
			m.fail("%s is used %d times, counted as %d", id, uses[id.Name], s.uses)
		}
	}
}

// envoy takes a response, perhaps, and answers.
func (m *model) envoy() {
	if len(m.late) > 0 && m.random.IntN(6) == 0 {
		m.ask(m.late[0])
		m.late = m.late[1:]
	}
	if len(m.toEnvoy) == 0 {
		return
	}
	r := m.toEnvoy[0]
	m.toEnvoy = m.toEnvoy[1:]
	typ := xds.Type(r.GetTypeUrl())
	answer := &request{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
	seen := map[string]bool{}
	for _, name := range append(namesOf(r), r.GetRemovedResources()...) {
		if seen[name] {
			m.fail("%s stands twice in one response", name)
		}
		seen[name] = true
	}
	for _, x := range r.GetResources() {
		if m.refuses(typ, x) {
			m.bad[x.GetName()] = true
			answer.ErrorDetail = &statusv3.Status{Message: "bad " + x.GetName()}
		}
	}
	if answer.ErrorDetail == nil {
		m.apply(typ, r)
	}
	if m.note("taken %s %s, refused: %v", typ, r.GetNonce(), answer.ErrorDetail != nil); typ == xds.ClusterType && answer.ErrorDetail == nil {
		m.late = append(m.late, answer)
	} else {
		m.ask(answer)
	}
	for host, clusters := range m.leads {
		for _, c := range clusters {
			if !m.bad[c] && (m.held[xds.ClusterType][c] == "" || !m.warm[c]) {
				m.fail("%s leads to %s, which is not there or has no endpoints", host, c)
			}
		}
	}
}

func namesOf(r *response) []string {
	var names []string
	for _, x := range r.GetResources() {
		names = append(names, x.GetName())
	}
	return names
}

// refuses picks a sixth of all versions of clusters, endpoints and virtual hosts.
func (m *model) refuses(typ xds.Type, x *discoveryv3.Resource) bool {
	sum := 0
	for _, b := range []byte(x.GetName() + x.GetVersion()) {
		sum = (sum*31 + int(b)) % 6007
	}
	return m.refuse && typ != xds.ListenerType && typ != xds.RouteType && !strings.Contains(x.GetName(), "_init") && sum%6 == 0
}

func (m *model) apply(typ xds.Type, r *response) {
	var more, less []string
	before := map[xds.Type][]string{xds.RouteType: m.namesBehind(xds.RouteType), xds.FilterType: m.namesBehind(xds.FilterType)}
	for _, x := range r.GetResources() {
		name := x.GetName()
		if wanted, asks := before[typ]; asks && !slices.Contains(wanted, name) {
			continue // no listener asks for it any more
		}
		if (typ == xds.VirtualHostType && m.dropped[name]) || (typ == xds.EndpointsType && m.held[xds.ClusterType][name] == "") {
			continue // it was on its way when that was not asked for any more
		}
		known, found := m.held[typ][name] != "", typ == xds.ClusterType && finds(x)
		switch {
		case found && known && !m.finds[name]:
			less = append(less, name)
			delete(m.held[xds.EndpointsType], name)
		case !found && (!known || m.finds[name]):
			more = append(more, name)
		}
		m.held[typ][name] = x.GetVersion()
		switch typ {
		case xds.ClusterType:
			if m.finds[name] = found; found {
				m.warm[name] = true
			}
		case xds.EndpointsType:
			m.warm[name] = true
		case xds.ListenerType:
			m.behind[name] = behindOf(m, x)
		case xds.VirtualHostType, xds.RouteType, xds.FilterType:
			m.leads[string(typ)+" "+name] = leadsOf(m, x)
		}
	}
	for _, name := range r.GetRemovedResources() {
		less = append(less, name)
		delete(m.held[typ], name)
		if typ == xds.ClusterType {
			delete(m.held[xds.EndpointsType], name)
			delete(m.warm, name)
			delete(m.finds, name)
		}
		delete(m.leads, string(typ)+" "+name)
	}
	switch typ {
	case xds.ClusterType:
		if len(more) > 0 && !m.opened[xds.EndpointsType] {
			m.open(xds.EndpointsType, more)
		} else if len(more)+len(less) > 0 {
			m.ask(&request{TypeUrl: string(xds.EndpointsType), ResourceNamesSubscribe: more, ResourceNamesUnsubscribe: less})
		}
		m.open(xds.ListenerType, nil)
	case xds.ListenerType:
		m.listen(before)
	case xds.RouteType:
		m.open(xds.VirtualHostType, nil)
	}
}

// drop has the Envoy not want a virtual host any more.
func (m *model) drop(name string) {
	m.note("drop %s", name)
	delete(m.asked, name)
	m.dropped[name] = true
	delete(m.held[xds.VirtualHostType], name)
	delete(m.leads, string(xds.VirtualHostType)+" "+name)
	m.ask(&request{TypeUrl: string(xds.VirtualHostType), ResourceNamesUnsubscribe: []string{name}})
}

// away ends the stream, upon which things may change before the Envoy is back, and Lateen may start again.
func (m *model) away() {
	m.proxy.Close()
	m.proxy = nil
	for range m.random.IntN(4) {
		m.change()
	}
	if m.random.IntN(3) == 0 {
		m.note("Lateen starts again")
		config := m.engine.config
		config.Rejected, config.Uses = m.engine.Rejected(), m.engine.Uses()
		m.engine = NewEngine(config)
		m.engine.Apply(m.snapshot, nil)
	}
	for range m.random.IntN(3) {
		m.change()
	}
}

// step lets something happen.
func (m *model) step(reconnect bool) {
	m.now = m.now.Add(time.Duration(m.random.IntN(2000)) * time.Millisecond)
	switch n := m.random.IntN(100); {
	case n < 10:
		m.change()
	case n < 20 && m.opened[xds.VirtualHostType]:
		name := fmt.Sprintf("out/s%d:80", m.random.IntN(modelHosts))
		if m.random.IntN(4) == 0 {
			name = "out/outside.test:80"
		}
		if m.dropped[name] {
			return // what was sent before would be taken for an answer
		}
		m.asked[name] = true
		m.ask(&request{TypeUrl: string(xds.VirtualHostType), ResourceNamesSubscribe: []string{name}})
	case n < 21 && m.opened[xds.VirtualHostType] && len(m.asked) > 0:
		m.drop(slices.Sorted(maps.Keys(m.asked))[0])
	case n < 22 && reconnect:
		m.away()
		m.connect()
	case n < 55:
		m.lateen()
	default:
		m.envoy()
	}
}

// end lets everything come to rest, and checks that the Envoy has the newest of everything and nothing else.
func (m *model) end() {
	for range 600 {
		m.now = m.now.Add(time.Second)
		m.lateen()
		m.envoy()
	}
	if !m.refuse {
		for id := range m.proxy.own {
			if m.held[typeOf[id.Kind]][id.Name] == "" {
				m.fail("%s of its own is not there in the end", id)
			}
		}
		for id, s := range m.proxy.slots {
			if s.want != nil && m.held[typeOf[id.Kind]][id.Name] != s.want.resource.Version {
				m.fail("%s is not the newest in the end", id)
			}
		}
		used := map[string]bool{}
		for _, clusters := range m.leads {
			for _, c := range clusters {
				used[c] = true
			}
		}
		for c := range m.held[xds.ClusterType] {
			if !used[c] && c != view.Inner && !strings.HasPrefix(c, "inbound|") {
				m.fail("cluster %s is left over", c)
			}
		}
	}
	if !m.proxy.behind.empty() || m.session.InFlight() > 0 || m.proxy.settled < 0 || m.proxy.busy {
		m.fail("it never comes to rest: in flight %d, behind %v, settled %d, busy %v", m.session.InFlight(), m.behindNames(), m.proxy.settled, m.proxy.busy)
	}
	if len(m.proxy.marks) > 0 {
		m.fail("revisions %v are not arrived in the end: in flight %d, behind %v", m.proxy.marks, m.session.InFlight(), m.proxy.behind)
	}
	m.proxy.Close()
	if n := len(m.engine.groups) + len(m.engine.made) + len(m.engine.readers) + len(m.engine.proxies) + len(m.engine.byID); n != 0 {
		m.fail("the engine holds %d things for nobody", n)
	}
}

// behindNames lists what is to be sent.
func (m *model) behindNames() []string {
	var names []string
	for _, set := range m.proxy.behind {
		for s := range set.slots {
			names = append(names, s.id.String())
		}
	}
	return names
}

// Whatever a mesh and an Envoy do: a route that is in force leads to clusters that are there and have endpoints, no
// response names anything twice, in the end the Envoy has the newest of everything, and nothing is left behind.
func TestModel(t *testing.T) {
	t.Parallel()
	for _, mode := range []struct {
		name              string
		refuse, reconnect bool
	}{{"steady", false, false}, {"reconnecting", false, true}, {"refusing", true, false}, {"both", true, true}} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(500) {
				m := newModel(t, seed, mode.refuse)
				for range 400 {
					m.step(mode.reconnect)
				}
				m.end()
			}
		})
	}
}
