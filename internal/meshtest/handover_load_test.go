package meshtest_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// ways leads from each policy to each other one, and back to where it begins: permissive.
var ways = []mesh.AuthPolicy{
	mesh.AuthNone, mesh.AuthMutualTLS, mesh.AuthPermissive, mesh.AuthMutualTLS, mesh.AuthNone, mesh.AuthPermissive,
}

// takesPlain tells whether an instance answers somebody who comes without a proxy, in plain text.
func takesPlain(t *testing.T, i *meshtest.Instance) bool {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+net.JoinHostPort(i.Address, strconv.Itoa(meshtest.ServicePort)), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Timeout: meshtest.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// Under load through the ingress and from service to service, the policy changes from each to each other one, and instances are
// replaced by such of another identity: no request is lost. When a policy is said to be in force, it is.
func TestLoadHandovers(t *testing.T) {
	rounds := 1
	if meshtest.FullLoad() {
		rounds = 10
	}
	m := meshtest.New(t)
	current := m.Start("reviews", "v1", meshtest.Named("v1"))
	m.Apply(reviewsDoor)
	caller, door := m.Caller("caller", nil), m.Door()
	wantBody(t, caller, reviews, "v1")
	wantBody(t, door, "http://door/", "v1")
	inside := meshtest.StartLoad(t, caller, reviews)
	outside := meshtest.StartLoad(t, door, "http://door/")
	for i := range rounds {
		for _, policy := range ways {
			inside.More(requestsBetween)
			m.Set(func(s *mesh.Settings) { s.AuthPolicy = policy })
			if plain := takesPlain(t, current); plain != (policy != mesh.AuthMutualTLS) {
				t.Errorf("%s is in force, and plain text is taken: %v", policy, plain)
			}
		}
		for j, policy := range []mesh.AuthPolicy{mesh.AuthPermissive, mesh.AuthMutualTLS} {
			m.Set(func(s *mesh.Settings) { s.AuthPolicy = policy })
			inside.More(requestsBetween)
			next := m.StartSpec(meshtest.Spec{
				Service: "reviews", Version: "v1", Account: fmt.Sprint("account-", i, "-", j),
				Ports: []meshtest.SpecPort{{Name: "http", Number: meshtest.ServicePort, App: meshtest.Named("v1")}},
			})
			current.Stop()
			current = next
		}
	}
	inside.Stop("service to service")
	outside.Stop("through the ingress")
}

// relay is a way to the control plane that can be cut.
type relay struct {
	t       *testing.T
	to      string
	address string

	mu       sync.Mutex
	cut      bool
	open     map[net.Conn]bool
	carrying sync.WaitGroup
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{t: t, to: to, address: listener.Addr().String(), open: map[net.Conn]bool{}}
	r.carrying.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.carrying.Go(func() { r.carry(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		r.set(true)
		r.carrying.Wait()
	})
	return r
}

// carry carries bytes both ways until one side closes or the relay is cut.
func (r *relay) carry(from net.Conn) {
	to, err := new(net.Dialer).DialContext(r.t.Context(), "tcp", r.to)
	if err != nil {
		_ = from.Close()
		return
	}
	r.mu.Lock()
	cut := r.cut
	r.open[from], r.open[to] = true, true
	r.mu.Unlock()
	if !cut {
		var back sync.WaitGroup
		back.Go(func() { _, _ = io.Copy(from, to); _ = from.Close() })
		_, _ = io.Copy(to, from)
		_ = to.Close()
		back.Wait()
	}
	_ = from.Close()
	_ = to.Close()
	r.mu.Lock()
	delete(r.open, from)
	delete(r.open, to)
	r.mu.Unlock()
}

// set cuts the relay, or mends it.
func (r *relay) set(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut = cut; cut {
		for conn := range r.open {
			_ = conn.Close()
		}
	}
}

// A caller that is cut off from the control plane goes on as it was told last, and so nobody may stop to understand it: a change of
// the policy, and a new identity, wait until it is back, and none of its requests is lost.
func TestLoadHandoverWaitsForTheAbsent(t *testing.T) {
	m := meshtest.New(t)
	m.Set(func(s *mesh.Settings) { s.AuthPolicy = mesh.AuthNone })
	first := m.Start("reviews", "v1", meshtest.Named("v1"))
	way, straight := newRelay(t, m.Secure), m.Secure
	m.Secure = way.address
	caller := m.Caller("caller", nil)
	m.Secure = straight
	wantBody(t, caller, reviews, "v1")
	load := meshtest.StartLoad(t, caller, reviews)

	// through lets a change wait for the caller, which calls on meanwhile, and then come into force.
	through := func(words string, edit func(*mesh.Registry)) {
		t.Helper()
		way.set(true)
		revision := m.TryEdit(edit)
		meshtest.Await(t, "a handover that waits for "+string(caller.ID()), func() bool {
			list, err := m.API.Handovers(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return len(list) == 1 && strings.Contains(list[0].Step, words) && len(list[0].Away) == 1 && list[0].Away[0] == string(caller.ID())
		})
		load.More(4 * requestsBetween)
		way.set(false)
		m.InForce(revision)
	}
	policy := func(policy mesh.AuthPolicy) func(*mesh.Registry) {
		return func(r *mesh.Registry) {
			settings := *r.Settings
			settings.AuthPolicy = policy
			r.Settings = &settings
		}
	}
	through("servers take both", policy(mesh.AuthMutualTLS))
	if takesPlain(t, first) {
		t.Error("plain text is taken, and nobody has to be waited for any more")
	}
	through("servers take both", policy(mesh.AuthNone))
	through("servers take both", policy(mesh.AuthPermissive))

	second := m.StartSpec(meshtest.Spec{
		Service: "reviews", Version: "v1", Account: "another", Ports: []meshtest.SpecPort{{Name: "http", Number: meshtest.ServicePort, App: meshtest.Named("v1")}},
	})
	second.Announce("")
	through("whose endpoints are not called yet", func(r *mesh.Registry) {
		for i, set := range r.Endpoints {
			e := set.Endpoints[0]
			e.Address, e.Workload, e.Account = second.Address, second.Name, "another"
			r.Endpoints[i] = &mesh.EndpointSet{Host: set.Host, Endpoints: append([]mesh.Endpoint{e}, set.Endpoints...)}
		}
	})
	first.Stop()
	load.More(requestsBetween)
	load.Stop("a caller that was cut off")
}
