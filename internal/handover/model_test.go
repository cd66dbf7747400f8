package handover_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// version is a stance as it was put in force, with the endpoints that there were then.
type version struct {
	stance *mesh.Stance
	calls  []string // identities of the endpoints that callers with this version may call
}

// model is one host. Every proxy holds one of the versions from the confirmed one on, whichever it likes: a server one, and
// a caller perhaps another one of the cluster than of the endpoints.
type model struct {
	t        *testing.T
	random   *rand.Rand
	service  *mesh.Service // nil: there is none
	settings mesh.Settings
	accounts []string // of the endpoints; "": one without an identity

	versions  []version
	confirmed int // all proxies have this version or a later one
	known     int // the same, as far as the control plane knows; -1: nothing is known
	away      int // the version of a proxy that has been away for long, and of which confirmed says nothing; -1: there is none
	asked     int // the version that is waited for
	stepped   int // the last version that is a step
	kept      *mesh.Stance
	story     []string
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, random: rand.New(rand.NewPCG(seed, 1)), versions: []version{{}}, away: -1} //nolint:gosec // a model needs no secrets
	m.service = &mesh.Service{Host: host, Name: "a", Namespace: "default", Ports: []mesh.Port{{Name: "http", Number: 80}}}
	return m
}

func (m *model) want() handover.Target {
	set := &mesh.EndpointSet{Host: host}
	for _, account := range m.accounts {
		set.Endpoints = append(set.Endpoints, mesh.Endpoint{Account: account})
	}
	return handover.Want(host, m.service, set, &m.settings, realm)
}

func (m *model) now() *mesh.Stance { return m.versions[len(m.versions)-1].stance }

// publish makes a version that everybody may have from now on, and checks that it goes with all that somebody may have.
func (m *model) publish(what string, s *mesh.Stance) {
	m.t.Helper()
	v := version{stance: s}
	for _, account := range m.accounts {
		if id := realm.IdentityOf("default", account); m.service != nil && id != "" && s.Admits(id) {
			v.calls = append(v.calls, id)
		}
	}
	m.versions = append(m.versions, v)
	m.story = append(m.story, fmt.Sprintf("%2d %-30s %s", len(m.versions)-1, what, show(s)))
	last := len(m.versions) - 1
	for i := m.confirmed; i <= last; i++ {
		m.pair(i, last)
		m.pair(last, i)
	}
	if m.away >= 0 { // who is away has a cluster and endpoints of one version, and is sent both anew when it is back
		m.ports(m.away, last)
		m.ports(last, m.away)
	}
}

// pair checks that a caller with one version can call a server with another, and that one which has these endpoints and
// that cluster meets nobody whom it does not accept.
func (m *model) pair(caller, server int) {
	m.t.Helper()
	m.ports(caller, server)
	a, b := m.versions[caller], m.versions[server]
	if a.stance == nil {
		return // it has no cluster
	}
	if b.stance == nil || (len(b.stance.Identities) == 0 && server < caller) {
		return // it has had no endpoints, and is given the cluster before it is given some
	}
	for _, id := range a.calls {
		if !slices.Contains(b.stance.Identities, id) && !m.vanished(min(caller, server), max(caller, server)) {
			m.fail("a caller with the endpoints of %d calls %s, and with the cluster of %d it accepts only %v", caller, id, server, b.stance.Identities)
		}
	}
}

// ports checks the first of these.
func (m *model) ports(caller, server int) {
	m.t.Helper()
	a, b := m.versions[caller], m.versions[server]
	if a.stance == nil {
		return // it has no cluster
	}
	for _, p := range a.stance.Ports {
		q := b.stance.Port(p.Port) // a server has its listener all the time, whether there is a service or not
		if p.Policy == "" || p.Speak == q.Accept || q.Accept == mesh.Both {
			continue // nothing leads a caller to a port that is gone
		}
		m.fail("a caller with %d speaks %s on port %d, and a server with %d takes %s", caller, p.Speak, p.Port, server, q.Accept)
	}
}

// leave has a proxy go away with one of the versions that proxies may have, or come back, upon which it has the newest.
func (m *model) leave() {
	if m.away >= 0 {
		m.away = -1
		return
	}
	m.away = m.confirmed + m.random.IntN(len(m.versions)-m.confirmed)
}

// vanished tells whether nothing was secured in some version: clusters are new ones then.
func (m *model) vanished(from, to int) bool {
	return slices.ContainsFunc(m.versions[from:to+1], func(v version) bool { return v.stance == nil })
}

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(m.story, "\n"))
}

// change changes what there is, or what is wanted of it.
func (m *model) change() (what string) {
	idle := len(m.accounts) == 0 || m.service == nil
	policies := append(mesh.AuthPolicies(), "")
	policy := policies[m.random.IntN(len(policies))]
	switch m.random.IntN(10) {
	case 0, 1, 2:
		m.settings.AuthPolicy = policy
		what = "mesh " + string(policy)
	case 3:
		m.settings.MTLSExcluded = nil
		if m.random.IntN(2) == 0 {
			m.settings.MTLSExcluded = []mesh.Host{host}
		}
		what = fmt.Sprint("excluded ", m.settings.MTLSExcluded)
	case 4:
		what = m.changeService(policy)
	case 5:
		if what = "service gone"; m.service != nil {
			m.service = nil
		} else {
			m.service = &mesh.Service{Host: host, Name: "a", Namespace: "default", Ports: []mesh.Port{{Name: "http", Number: 80, AuthPolicy: policy}}}
			what = "service " + string(policy)
		}
	default:
		m.accounts = nil
		for range m.random.IntN(4) {
			m.accounts = append(m.accounts, []string{"", "a", "b", "c"}[m.random.IntN(4)])
		}
		what = fmt.Sprintf("endpoints %q", m.accounts)
	}
	next := handover.Begin(m.now(), m.want(), idle)
	lost := handover.Same(m.kept, m.now()) && handover.Same(next, handover.Begin(m.now(), m.want(), false)) && m.random.IntN(2) == 0
	if !lost { // the disk may fail once: what is widened only is published all the same
		m.kept = next
	}
	if handover.Leaves(m.now(), next) {
		m.stepped = len(m.versions)
	}
	m.publish(what, next)
	return what
}

// changeService changes the ports of the service, or which identities it names.
func (m *model) changeService(policy mesh.AuthPolicy) string {
	if m.service == nil {
		return "nothing"
	}
	s := *m.service
	m.service = &s
	switch m.random.IntN(3) {
	case 0:
		s.Ports = []mesh.Port{{Name: "http", Number: 80, AuthPolicy: policy}}
	case 1:
		s.Ports = []mesh.Port{{Name: "http", Number: 80}, {Name: "tcp", Number: 81, AuthPolicy: policy}}
	default:
		s.Identities = nil
		if m.random.IntN(2) == 0 {
			s.Identities = []string{realm.IdentityOf("other", "d")}
		}
	}
	return fmt.Sprintf("ports %v, identities %v", s.Ports, s.Identities)
}

// ask begins to wait for everybody to have the last version.
func (m *model) ask() { m.asked = len(m.versions) - 1 }

// confirm is when everybody has what was waited for: the step that may follow is taken.
func (m *model) confirm() {
	if m.asked < m.stepped {
		return // the runner asks for what is there after its step
	}
	m.confirmed, m.known = max(m.confirmed, m.asked), max(m.known, m.asked)
	how := handover.Confirmed{Without: m.away >= 0}
	next, may := how.Step(&handover.Course{Host: host, Now: m.now(), Want: m.want()}, m.versions[m.known].stance)
	if !may || handover.Same(next, m.now()) {
		return
	}
	m.kept = next // before anybody else learns of it
	if m.random.IntN(8) == 0 {
		m.restart()
		return
	}
	m.publish(fmt.Sprint("step, ", m.known, " is confirmed"), next)
	m.stepped = len(m.versions) - 1
	m.ask()
}

// restart is a control plane that knows only what was kept.
func (m *model) restart() {
	m.known, m.stepped = -1, len(m.versions)
	m.publish("restart", handover.Begin(m.kept, m.want(), false))
	m.kept = m.now()
	m.ask()
}

// Whatever changes when, whatever order proxies confirm in and whenever the control plane is killed: no caller speaks what a
// server does not take, and none meets an identity that it does not accept. When nothing changes any more, what is wanted is
// reached in few steps.
func TestModel(t *testing.T) {
	t.Parallel()
	steps, restarts, without := 0, 0, 0
	for seed := range uint64(3000) {
		m := newModel(t, seed)
		m.publish("first", handover.Begin(nil, m.want(), true))
		m.kept = m.now()
		m.ask()
		for range 40 {
			switch m.random.IntN(6) {
			case 0, 1:
				m.change()
			case 2:
				m.ask()
			case 3:
				before := len(m.versions)
				m.confirm()
				steps += len(m.versions) - before
				if m.away >= 0 {
					without += len(m.versions) - before
				}
			case 4:
				if m.random.IntN(2) == 0 {
					m.leave()
				}
			default:
				if m.random.IntN(4) == 0 && m.kept != nil {
					m.restart()
					restarts++
				}
			}
		}
		m.away = -1
		for range 5 {
			m.ask()
			m.confirm()
		}
		if !handover.Reached(m.now(), m.want()) {
			m.fail("what is wanted is not reached: %+v", m.want())
		}
		m.check()
	}
	t.Logf("%d steps, %d of them while a proxy was away, %d restarts", steps, without, restarts)
	if steps < 3000 || restarts < 1000 || without < 1000 {
		t.Errorf("only %d steps, %d of them while a proxy was away, and %d restarts", steps, without, restarts)
	}
}

// check wants the target, in its own words.
func (m *model) check() {
	m.t.Helper()
	want := m.want()
	if len(want.Ports) == 0 {
		if m.now() != nil {
			m.fail("nothing is wanted, and there is %s", show(m.now()))
		}
		return
	}
	if !slices.Equal(m.now().Ports, want.Ports) || !slices.Equal(m.now().Admitted, m.now().Identities) ||
		(!want.Vacant && !slices.Equal(m.now().Admitted, want.Identities)) {
		m.fail("in the end %s, want %+v", show(m.now()), want)
	}
}

// show prints "80 MUTUAL_TLS both/plain; accepts a b, calls a".
func show(s *mesh.Stance) string {
	if s == nil {
		return "nothing"
	}
	var parts []string
	for _, p := range s.Ports {
		parts = append(parts, fmt.Sprintf("%d %s %s/%s", p.Port, p.Policy, p.Accept, p.Speak))
	}
	return fmt.Sprintf("%s; accepts %s, calls %s", strings.Join(parts, ", "), accountsOf(s.Identities), accountsOf(s.Admitted))
}

func accountsOf(ids []string) string {
	var names []string
	for _, id := range ids {
		names = append(names, id[strings.LastIndexByte(id, '/')+1:])
	}
	return strings.Join(names, " ")
}
