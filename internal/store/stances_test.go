package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/dialect/v1alpha2"
	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/store"
)

// secured is a running store, with what it publishes and what was on the disk then.
type secured struct {
	*store.Store
	t         *testing.T
	dir       string
	log       bytes.Buffer
	published []publication
	onDisk    [][]byte // of the stances, before each publication; nil: there was nothing
	stop      func()
}

const stancesFile = "stances.json"

// secure runs a store with a folder, in which may be something.
func secure(t *testing.T, dir string) *secured {
	t.Helper()
	last, err := cache.Open(cache.Config{Dir: dir, Mesh: "shop", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := &secured{t: t, dir: dir}
	s.Store = store.New(store.Config{
		Kinds: v1alpha2.Kinds(domain), Domain: domain, Realm: mesh.Realm{TrustDomain: "mesh.example"}, Sources: []string{"local"}, Last: last,
		Log: slog.New(slog.NewTextHandler(&s.log, nil)),
		Publish: func(snapshot *mesh.Snapshot, keys []mesh.Key) {
			s.published = append(s.published, publication{snapshot, keys})
			s.onDisk = append(s.onDisk, s.disk())
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	stored, saved := make(chan error, 1), make(chan error, 1)
	go func() { stored <- s.Run(ctx) }()
	go func() { saved <- last.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-stored, <-saved); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// disk returns what is kept of the stances.
func (s *secured) disk() []byte {
	data, err := os.ReadFile(filepath.Join(s.dir, stancesFile))
	if err != nil {
		return nil
	}
	return data
}

// again runs another store with what is on a disk.
func again(t *testing.T, disk []byte) *secured {
	t.Helper()
	dir := t.TempDir()
	if disk != nil {
		if err := os.WriteFile(filepath.Join(dir, stancesFile), disk, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return secure(t, dir)
}

func (s *secured) set(r mesh.Registry) int64 {
	s.t.Helper()
	revision, err := s.SetRegistry(s.t.Context(), "local", r)
	if err != nil {
		s.t.Fatal(err)
	}
	return revision
}

// advance takes the steps that may follow when everybody has confirmed all that is published, and tells whether there was one.
func (s *secured) advance() bool {
	s.t.Helper()
	snapshot, courses := s.Courses()
	var hosts []mesh.Host
	for _, c := range courses {
		hosts = append(hosts, c.Host)
	}
	revision, err := s.AdvanceStances(s.t.Context(), []handover.Confirmed{{Snapshot: snapshot, Hosts: hosts}})
	if err != nil {
		s.t.Fatal(err)
	}
	return revision > snapshot.Revision()
}

// keys returns what was published since it was last asked, a publication a line.
func (s *secured) keys() string {
	var lines []string
	for _, p := range s.published {
		var keys []string
		for _, k := range p.keys {
			if k.Follows() {
				continue
			}
			name, _, _ := strings.Cut(k.Name, ".")
			keys = append(keys, strings.TrimSpace(string(k.Kind)+" "+name))
		}
		lines = append(lines, strings.Join(keys, ", "))
	}
	s.published, s.onDisk = nil, nil
	return strings.Join(lines, "\n")
}

// moving returns the hosts that are on their way, sorted.
func (s *secured) moving() string {
	_, courses := s.Courses()
	var names []string
	for _, c := range courses {
		if name, _, _ := strings.Cut(string(c.Host), "."); !c.Quiet {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// stance returns "both/mtls a b>a": what servers take, what callers speak and accept, and whom they call.
func stance(s *mesh.Snapshot, name string) string {
	st := s.Stance(host(name))
	if st == nil {
		return "none"
	}
	var parts []string
	for _, p := range st.Ports {
		parts = append(parts, fmt.Sprintf("%s/%s", p.Accept, p.Speak))
	}
	accounts := func(ids []string) string {
		var names []string
		for _, id := range ids {
			names = append(names, strings.TrimPrefix(id, "spiffe://mesh.example/ns/default/sa/"))
		}
		return strings.Join(names, " ")
	}
	return fmt.Sprintf("%s %s>%s", strings.Join(parts, " "), accounts(st.Identities), accounts(st.Admitted))
}

// shop returns n services with an endpoint each under a policy.
func shop(n int, policy mesh.AuthPolicy, accounts ...string) mesh.Registry {
	r := mesh.Registry{Settings: &mesh.Settings{AuthPolicy: policy}}
	for i := range n {
		name := fmt.Sprintf("s%d", i)
		set := &mesh.EndpointSet{Host: host(name)}
		for j, account := range accounts {
			set.Endpoints = append(set.Endpoints, mesh.Endpoint{Address: fmt.Sprintf("10.%d.%d.%d", i/100, i%100, j), Account: account, Health: mesh.Healthy})
		}
		r.Services, r.Endpoints = append(r.Services, service(name, 80)), append(r.Endpoints, set)
	}
	return r
}

// What is new is as it is wanted. A change of the policy touches what it is about, begins with what is only wider, and goes
// on by what is confirmed: the more hosts, no more publications.
func TestPolicyChangesInSteps(t *testing.T) {
	t.Parallel()
	s := secure(t, t.TempDir())
	r := shop(2, mesh.AuthNone, "x")
	r.Services[1].Ports[0].AuthPolicy = mesh.AuthPermissive
	s.set(r)
	if a, b := stance(s.Snapshot(), "s0"), stance(s.Snapshot(), "s1"); a != "plain/plain x>x" || b != "both/mtls x>x" || s.moving() != "" {
		t.Errorf("new services: %s, %s, moving %q", a, b, s.moving())
	}
	for s.advance() {
		t.Errorf("a step without need: %s", s.keys())
	}
	if _, left := s.Courses(); len(left) > 0 {
		t.Errorf("everything is confirmed, and still there is %v", left)
	}
	s.keys()

	r.Settings = &mesh.Settings{AuthPolicy: mesh.AuthMutualTLS}
	s.set(r)
	for _, want := range []string{"both/plain", "both/mtls", "mtls/mtls"} {
		if got := stance(s.Snapshot(), "s0"); got != want+" x>x" || s.moving() != "s0" {
			t.Errorf("%s, want %s; moving %q", got, want, s.moving())
		}
		if s.advance() == (want == "mtls/mtls") {
			t.Errorf("after %s", want)
		}
	}
	if got, want := s.keys(), "settings, stance s0\nstance s0\nstance s0"; got != want || s.moving() != "" {
		t.Errorf("published\n%s\nwant\n%s\nmoving %q", got, want, s.moving())
	}

	many := shop(300, mesh.AuthNone, "x")
	s.set(many)
	s.advance()
	s.keys()
	many.Settings = &mesh.Settings{AuthPolicy: mesh.AuthMutualTLS}
	for s.set(many); s.advance(); {
	}
	if n := strings.Count(s.keys(), "\n") + 1; n != 3 || stance(s.Snapshot(), "s299") != "mtls/mtls x>x" {
		t.Errorf("%d publications for 300 services", n)
	}
	many.Settings = &mesh.Settings{AuthPolicy: mesh.AuthMutualTLS, MTLSExcluded: []mesh.Host{host("s7")}}
	s.set(many)
	if got := s.keys(); got != "settings, stance s7" || stance(s.Snapshot(), "s7") != "both/mtls x>x" {
		t.Errorf("one host is excluded: %s, %s", got, stance(s.Snapshot(), "s7"))
	}
}

// An endpoint changes nothing but itself unless it has a new identity: that is called only when everybody accepts it.
func TestEndpointsWithNewIdentitiesWait(t *testing.T) {
	t.Parallel()
	s := secure(t, t.TempDir())
	s.set(mesh.Registry{Services: []*mesh.Service{service("s0", 80), service("s1", 80)}})
	s.keys()
	for _, step := range []struct {
		accounts     []string
		keys, stance string
	}{
		{[]string{"x"}, "endpoints s0, stance s0", "both/mtls x>x"}, // nobody can call anybody yet
		{[]string{"x", "x"}, "endpoints s0", "both/mtls x>x"},
		{[]string{"x", "y"}, "endpoints s0, stance s0", "both/mtls x y>x"},
		{nil, "stance s0", "both/mtls x y>x y"},
		{[]string{"y"}, "endpoints s0", "both/mtls x y>x y"},
		{[]string{"x", "y"}, "endpoints s0", "both/mtls x y>x y"}, // it is back before anybody was told
		{[]string{"y"}, "endpoints s0", "both/mtls x y>x y"},
		{nil, "stance s0", "both/mtls x y>y"},
		{nil, "stance s0", "both/mtls y>y"},
		{[]string{}, "endpoints s0", "both/mtls y>y"}, // it starts again
		{nil, "", "both/mtls y>y"},
		{[]string{"z"}, "endpoints s0, stance s0", "both/mtls y z>y"},
	} {
		if step.accounts == nil {
			s.advance()
		} else if _, err := s.EditRegistry(t.Context(), "local", mesh.RegistryEdit{Endpoints: shop(1, "", step.accounts...).Endpoints}); err != nil {
			t.Fatal(err)
		}
		if keys, now := s.keys(), stance(s.Snapshot(), "s0"); keys != step.keys || now != step.stance {
			t.Errorf("%q: %s with %s, want %s with %s", step.accounts, now, keys, step.stance, step.keys)
		}
	}
	if s.moving() != "s0" {
		t.Errorf("moving %q", s.moving())
	}
}

// A step follows only what is confirmed: who says so of an older snapshot than that which holds the last step is not heard, and
// nothing that came after the snapshot counts as confirmed.
func TestOldConfirmationsAreNotHeard(t *testing.T) {
	t.Parallel()
	s := secure(t, t.TempDir())
	s.set(shop(1, mesh.AuthNone, "x"))
	s.advance()
	before := s.Snapshot()
	s.set(shop(1, mesh.AuthMutualTLS, "x"))
	confirm := func(snapshot *mesh.Snapshot) string {
		if _, err := s.AdvanceStances(t.Context(), []handover.Confirmed{{Snapshot: snapshot, Hosts: []mesh.Host{host("s0"), host("nobody")}}}); err != nil {
			t.Fatal(err)
		}
		return stance(s.Snapshot(), "s0")
	}
	both := s.Snapshot()
	for i, step := range []struct {
		confirmed *mesh.Snapshot
		want      string
	}{{before, "both/plain x>x"}, {both, "both/mtls x>x"}, {both, "both/mtls x>x"}} {
		if got := confirm(step.confirmed); got != step.want {
			t.Errorf("%d: %s, want %s", i, got, step.want)
		}
	}
	spoken := s.Snapshot()
	s.set(shop(1, mesh.AuthMutualTLS, "x", "y"))
	if got := confirm(spoken); got != "mtls/mtls x y>x" {
		t.Errorf("the port is confirmed and the identity is not: %s", got)
	}
	if _, courses := s.Courses(); len(courses) != 1 || courses[0].First != spoken.Revision()+1 {
		t.Errorf("what came after %d is not confirmed: %+v", spoken.Revision(), courses)
	}

	for s.advance() {
	}
	two := s.Snapshot()
	s.set(shop(1, mesh.AuthMutualTLS, "x"))
	for s.advance() {
	}
	s.set(shop(1, mesh.AuthMutualTLS, "x", "y"))
	if got := confirm(two); got != "mtls/mtls x y>x" {
		t.Errorf("everybody accepted it once, and nobody knows who does now: %s", got)
	}
	for s.advance() {
	}
	s.set(shop(1, mesh.AuthMutualTLS, "x"))
	s.advance() // it is not called any more
	begun := s.Snapshot()
	r := shop(2, mesh.AuthMutualTLS, "x")
	s.set(r)
	other := s.Snapshot()
	if confirm(begun); stance(s.Snapshot(), "s0") != "mtls/mtls x>x" {
		t.Errorf("it is not accepted any more: %s", stance(s.Snapshot(), "s0"))
	}
	s.set(shop(2, mesh.AuthMutualTLS, "x", "y"))
	if got := confirm(other); got != "mtls/mtls x y>x" {
		t.Errorf("who has confirmed what was before a step has not confirmed the step: %s", got)
	}
}

// What goes stays known until everybody has confirmed that, so that it is no new one when it comes back.
func TestServiceGoesAndComesBack(t *testing.T) {
	t.Parallel()
	s := secure(t, t.TempDir())
	s.set(shop(1, mesh.AuthMutualTLS, "x"))
	s.advance()
	s.set(mesh.Registry{Settings: &mesh.Settings{AuthPolicy: mesh.AuthMutualTLS}})
	if got := stance(s.Snapshot(), "s0"); got != "both/mtls x>x" || s.moving() != "s0" {
		t.Errorf("its service is gone: %s", got)
	}
	s.set(shop(1, mesh.AuthNone, "x"))
	if got := stance(s.Snapshot(), "s0"); got != "both/mtls x>x" {
		t.Errorf("it is back as another one: %s", got)
	}
	s.set(mesh.Registry{Settings: &mesh.Settings{AuthPolicy: mesh.AuthNone}})
	for s.advance() {
	}
	if got := stance(s.Snapshot(), "s0"); got != "none" || s.moving() != "" {
		t.Errorf("it is gone for good: %s, moving %q", got, s.moving())
	}
	if got := s.disk(); strings.Contains(string(got), "s0.") {
		t.Errorf("it is kept: %s", got)
	}
}
