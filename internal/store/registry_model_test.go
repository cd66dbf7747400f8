package store_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/store"
)

// groups are what a source says, by name: several values where it says something twice.
type groups struct {
	services     map[mesh.Host][]*mesh.Service
	endpoints    map[mesh.Host][]*mesh.EndpointSet
	workloads    map[mesh.ProxyID][]*mesh.Workload
	settings     *mesh.Settings
	certificates []mesh.SealedCertificate
	generation   int64
}

func newGroups() *groups {
	return &groups{
		services: map[mesh.Host][]*mesh.Service{}, endpoints: map[mesh.Host][]*mesh.EndpointSet{},
		workloads: map[mesh.ProxyID][]*mesh.Workload{},
	}
}

// flat returns the values of all names, in their order.
func flat[K ~string, V any](groups map[K][]V) []V {
	var all []V
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		all = append(all, groups[name]...)
	}
	return all
}

func (g *groups) whole() mesh.Registry {
	return mesh.Registry{
		Generation: g.generation, Services: flat(g.services), Endpoints: flat(g.endpoints), Workloads: flat(g.workloads), Settings: g.settings,
		Certificates: g.certificates,
	}
}

// turn puts or removes some names, in the groups and in an edit. What the edit names twice or in vain changes nothing.
func turn[K ~string, V any](r *rand.Rand, groups map[K][]V, names []K, value func(K) V) (put []V, removed []K) {
	for _, name := range names {
		switch r.IntN(5) {
		case 0:
			delete(groups, name)
			removed = append(removed, name)
		case 1:
			values := []V{value(name)}
			if r.IntN(4) == 0 {
				values = append(values, value(name))
			}
			groups[name] = values
			if put = append(put, values...); r.IntN(4) == 0 {
				removed = append(removed, name) // what is put is put
			}
		}
	}
	r.Shuffle(len(removed), func(i, j int) { removed[i], removed[j] = removed[j], removed[i] })
	return put, removed
}

// edit changes what the source says, and says what was changed.
func (g *groups) edit(r *rand.Rand) mesh.RegistryEdit {
	hosts := []mesh.Host{host("reviews"), host("ratings"), host("details"), "outside.org", ""}
	e := mesh.RegistryEdit{Base: g.generation, Generation: r.Int64()}
	e.Services, e.RemovedServices = turn(r, g.services, hosts, func(h mesh.Host) *mesh.Service {
		s := &mesh.Service{Host: h, Name: string(h), Namespace: "default"}
		for range r.IntN(3) {
			s.Ports = append(s.Ports, mesh.Port{Name: one(r, "http", "tcp"), Number: 80 + r.IntN(3), Protocol: mesh.HTTP})
		}
		return s
	})
	e.Endpoints, e.RemovedEndpoints = turn(r, g.endpoints, hosts, func(h mesh.Host) *mesh.EndpointSet {
		set := &mesh.EndpointSet{Host: h}
		for range r.IntN(4) {
			p := endpoint(one(r, "10.0.0.1", "10.0.0.2", "10.0.0.3", "", "nowhere"), one(r, "v1", "v2"))
			p.Ports, p.Workload = map[string]int{"http": one(r, 80, 80, 80, 0, -1, 70_000)}, one(r, "", "a", "b")
			set.Endpoints = append(set.Endpoints, p)
		}
		return set
	})
	e.Workloads, e.RemovedWorkloads = turn(r, g.workloads, []mesh.ProxyID{"a.default", "b.default", "c.default"}, func(id mesh.ProxyID) *mesh.Workload {
		w := &mesh.Workload{Name: string(id[:1]), Namespace: "default", Account: one(r, "x", "y")}
		for range r.IntN(4) {
			w.Serves = append(w.Serves, mesh.Serving{Host: one(r, hosts...), Port: 80 + r.IntN(3), Listen: r.IntN(4)})
		}
		return w
	})
	if r.IntN(4) == 0 {
		g.settings = &mesh.Settings{CABundle: one(r, "/a", "/b")}
		e.Settings = g.settings
	}
	if r.IntN(4) == 0 {
		g.certificates = []mesh.SealedCertificate{}
		for range r.IntN(3) {
			g.certificates = append(g.certificates, mesh.SealedCertificate{
				Namespace: "default", Name: one(r, "t", "u"), Chain: one(r, "x", "y"), Key: mesh.Sealed{Secret: mesh.NewSecret(one(r, "k", "l"))},
			})
		}
		e.Certificates = g.certificates
	}
	g.generation = e.Generation
	return e
}

// TestEditsOfRegistriesLeadWhereTheWholeLeads shows that edits change and tell the same as handing in the whole does,
// be it each time or to a store that is new.
func TestEditsOfRegistriesLeadWhereTheWholeLeads(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 19))
				sources := []string{"kube", "consul"}
				wholes, edits, all := start(t, sources...), start(t, sources...), map[string]*groups{}
				for _, source := range sources {
					all[source] = newGroups()
					wholes.setRegistry(t, source, mesh.Registry{})
					edits.setRegistry(t, source, mesh.Registry{})
				}
				for step := range 60 {
					source := one(r, sources...)
					edit := all[source].edit(r)
					wholes.setRegistry(t, source, all[source].whole())
					if _, err := edits.EditRegistry(t.Context(), source, edit); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(wholes.takeKeys(), edits.takeKeys()); diff != "" {
						t.Fatalf("step %d: changed (-whole +edit): %s", step, diff)
					}
					if diff := cmp.Diff(shows(t, wholes), shows(t, edits)); diff != "" {
						t.Fatalf("step %d (-whole +edit): %s", step, diff)
					}
					fresh := start(t, sources...)
					for _, source := range sources {
						fresh.setRegistry(t, source, all[source].whole())
					}
					if diff := cmp.Diff(shows(t, fresh), shows(t, edits)); diff != "" {
						t.Fatalf("step %d (-fresh +edit): %s", step, diff)
					}
				}
			})
		})
	}
}

// TestEditOfAnotherState shows that an edit is refused, and changes nothing, when it was made from another state.
func TestEditOfAnotherState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		edit := func(base, generation int64, name string) error {
			_, err := b.EditRegistry(t.Context(), "local", mesh.RegistryEdit{Base: base, Generation: generation, Services: []*mesh.Service{service(name)}})
			return err
		}
		if err := edit(0, 1, "early"); !errors.Is(err, store.ErrOtherBase) {
			t.Errorf("an edit of what was never said: %v", err)
		}
		b.setRegistry(t, "local", mesh.Registry{Generation: 7, Services: []*mesh.Service{service("reviews")}})
		for _, step := range []struct {
			base, generation int64
			name             string
			want             error
		}{
			{6, 8, "old", store.ErrOtherBase}, {0, 8, "none", store.ErrOtherBase}, {7, 9, "ratings", nil}, {7, 9, "again", store.ErrOtherBase}, {9, 10, "details", nil},
		} {
			if err := edit(step.base, step.generation, step.name); !errors.Is(err, step.want) {
				t.Errorf("%s: %v, want %v", step.name, err, step.want)
			}
		}
		var names []string
		for _, k := range b.Snapshot().Keys(mesh.KindService) {
			names = append(names, b.Snapshot().Service(mesh.Host(k.Name)).Name)
		}
		if want := []string{"details", "ratings", "reviews"}; !slices.Equal(names, want) {
			t.Errorf("services: %v", names)
		}
	})
}

// TestWhatNobodyCouldDial shows what is left out of a registry, and that it is told.
func TestWhatNobodyCouldDial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		at := func(address string, port int) mesh.Endpoint {
			return mesh.Endpoint{Address: address, Ports: map[string]int{"http": port, "": 1}, Health: mesh.Healthy}
		}
		b.setRegistry(t, "local", mesh.Registry{
			Services: []*mesh.Service{nil, service("reviews")},
			Endpoints: []*mesh.EndpointSet{nil, {Host: host("reviews"), Endpoints: []mesh.Endpoint{
				at("reviews", 80), at("10.0.0.2", 0), at("", 80), at("10.0.0.1", 80),
			}}, {Host: "outside.org", Endpoints: []mesh.Endpoint{at("10.0.0.1:80", 80)}}},
			Workloads: []*mesh.Workload{nil, {Name: "a", Namespace: "default", Serves: []mesh.Serving{
				{Host: host("reviews"), Port: 80, Listen: 80},
				{Host: host("ratings"), Port: 80, Listen: 81},
				{Host: host("details"), Port: 82, Listen: 80},
				{Host: host("ratings"), Port: 83, Listen: 83},
			}}},
		})
		const want = `warning: Service outside.org: an endpoint is left out: its address "10.0.0.1:80" is no IP address [invalid-value]
warning: Service default/reviews: an endpoint is left out: its address "reviews" is no IP address [invalid-value]
warning: Service default/reviews: a port of the endpoint 10.0.0.2 is left out: "http" cannot be 0; so it is with 1 more [invalid-value]
warning: Workload default/a: serves[1]: port 80 of ratings.default.svc.cluster.local is left out: its proxy listens there already, for port 80 of reviews.default.svc.cluster.local [conflicting-fields]
  hint: give one of the two services another port
warning: Workload default/a: serves[2]: port 82 of details.default.svc.cluster.local is left out: its proxy listens there already, for port 80 of reviews.default.svc.cluster.local [conflicting-fields]
  hint: give one of the two services another port
`
		if diff := cmp.Diff(want, b.problems()); diff != "" {
			t.Error(diff)
		}
		set := b.Snapshot().Endpoints(host("reviews"))
		if len(set.Endpoints) != 2 || set.Endpoints[0].Ports["http"] != 80 || len(set.Endpoints[1].Ports) != 1 {
			t.Errorf("endpoints: %+v", set.Endpoints)
		}
		if serves := b.Snapshot().Workload("a.default").Serves; len(serves) != 2 || serves[1].Port != 83 {
			t.Errorf("serves: %+v", serves)
		}
		if _, err := b.EditRegistry(t.Context(), "local", mesh.RegistryEdit{
			Endpoints: []*mesh.EndpointSet{{Host: host("reviews")}}, RemovedEndpoints: []mesh.Host{"outside.org"}, RemovedWorkloads: []mesh.ProxyID{"a.default"},
		}); err != nil {
			t.Fatal(err)
		}
		if got := b.problems(); got != "" {
			t.Errorf("it is mended, and still: %s", got)
		}
	})
}
