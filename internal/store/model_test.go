package store_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// world is what all sources say, as it is edited.
type world struct {
	random     *rand.Rand
	objects    map[string][]string // documents by source
	registries map[string]mesh.Registry
}

var worldSources = []string{"files", "commands"}

func one[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// document returns an object of a few names, hosts and forms, some of them wrong, with blank lines and comments that say
// nothing.
func (w *world) document() string {
	r := w.random
	name, host := one(r, "a", "b", "c", "d"), one(r, "reviews", "ratings", "gone")
	header := func(kind string) string {
		return "apiVersion: config.istio.io/v1alpha2\nkind: " + kind + "\nmetadata: {name: " + name + "}\n" + one(r, "", "\n", "# said\n") + "spec:\n"
	}
	destination := "  destination: {name: " + host + "}\n"
	switch r.IntN(7) {
	case 0:
		return header("RouteRule") + destination + one(r, "", "\n", "  # said\n") +
			one(r, "", "  precedence: 1\n", "  match: {request: {headers: {uri: {prefix: /a}}}}\n", "  match: {source: {name: "+one(r, "reviews", "gone")+"}}\n") +
			one(r, "", "\n") + "  route: [{labels: {version: " + one(r, "v1", "v2") + "}, weight: " + one(r, "100", "100", "90") + "}]\n"
	case 1:
		return header("DestinationPolicy") + destination + one(r, "  loadBalancing: {name: RANDOM}\n", "  circuitBreaker: {simpleCb: {maxConnections: 1}}\n")
	case 2:
		return header("EgressRule") + "  destination: {service: " + one(r, "a.org", "b.org", "'*.org'", "10.0.0.0/8") + "}\n  ports: [{port: 80, protocol: " + one(r, "http", "tcp") + "}]\n"
	case 3:
		return "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: " + name + "}\nspec:\n" + one(r, "", "  tls: [{hosts: [a.org], secretName: "+one(r, "t", "u")+"}]\n") +
			"  rules: [{host: " + one(r, "a.org", "b.org") + ", http: {paths: [{path: " + one(r, "/", "/a") + ", pathType: Prefix,\n" + one(r, "", "\n") +
			"    backend: {service: {name: " + host + ", port: {number: " + one(r, "80", "81") + "}}}}]}}]\n"
	case 4:
		return says(name, one(r, "rules", "policies")+": [{destination: "+one(r, "r", "s")+"}]")
	case 5: // the items of a list share what they say, and are written anew
		return "apiVersion: v1\nkind: List\nitems:\n- apiVersion: config.istio.io/v1alpha2\n  kind: RouteRule\n  metadata: {name: " + name + "}\n" + one(r, "", "\n") +
			"  spec:\n    destination: &d {name: " + host + "}\n" + one(r, "", "\n") + "    route: [{labels: {version: v3}}]\n" +
			"- apiVersion: config.istio.io/v1alpha2\n  kind: RouteRule\n  metadata: {name: " + one(r, "e", "f") + "}\n  spec: {destination: *d}\n"
	default:
		return one(r, "nothing: [\n", "# nothing\n", "kind: Nobody\napiVersion: v1\nmetadata: {name: x}\n")
	}
}

func (w *world) registry() mesh.Registry {
	r := w.random
	var all mesh.Registry
	for _, name := range []string{"reviews", "ratings"} {
		if r.IntN(3) > 0 {
			all.Services = append(all.Services, service(name, one(r, 80, 9080)))
		}
		if r.IntN(3) > 0 {
			all.Endpoints = append(all.Endpoints, &mesh.EndpointSet{
				Host: host(name), Endpoints: []mesh.Endpoint{endpoint(one(r, "10.0.0.1", "10.0.0.2"), one(r, "v1", "v2"))},
			})
		}
		if r.IntN(3) > 0 {
			all.Workloads = append(all.Workloads, &mesh.Workload{Name: name, Namespace: "default", Address: one(r, "10.0.0.1", "10.0.0.2")})
		}
	}
	if r.IntN(2) > 0 {
		all.Settings = &mesh.Settings{CABundle: one(r, "/a", "/b")}
	}
	if r.IntN(2) > 0 {
		all.Certificates = []mesh.SealedCertificate{{
			Namespace: "default", Name: one(r, "t", "u"), Chain: one(r, "x", "y"), Key: mesh.Sealed{Secret: mesh.NewSecret(one(r, "k", "l"))},
		}}
	}
	return all
}

// edit changes one thing and hands the source's new state to the store.
func (w *world) edit(t *testing.T, b *bench) {
	source := one(w.random, worldSources...)
	all := slices.Clone(w.objects[source])
	switch i := w.random.IntN(len(all) + 1); w.random.IntN(5) {
	case 0:
		w.registries[source] = w.registry()
		b.setRegistry(t, source, w.registries[source])
		return
	case 1:
		if i < len(all) {
			all = slices.Delete(all, i, i+1)
		}
	case 2:
		if i < len(all) {
			all[i] = w.document()
		}
	default:
		all = slices.Insert(all, i, w.document())
	}
	w.objects[source] = all
	b.setYAML(t, source, strings.Join(all, "---\n"))
}

// rebuilt tells what a store shows that is given the same state at once.
func (w *world) rebuilt(t *testing.T) (text string) {
	b := start(t, worldSources...)
	for _, source := range worldSources {
		b.setYAML(t, source, strings.Join(w.objects[source], "---\n"))
		if r, ok := w.registries[source]; ok {
			b.setRegistry(t, source, r)
		}
	}
	return shows(t, b)
}

// shows writes down everything that a store shows.
func shows(t *testing.T, b *bench) string {
	t.Helper()
	var text strings.Builder
	s := b.Snapshot()
	parts := map[mesh.Kind]func(name string) any{
		mesh.KindService:   func(n string) any { return s.Service(mesh.Host(n)) },
		mesh.KindEndpoints: func(n string) any { return s.Endpoints(mesh.Host(n)) },
		mesh.KindRules:     func(n string) any { return s.Rules(mesh.Host(n)) },
		mesh.KindWorkload:  func(n string) any { return s.Workload(mesh.ProxyID(n)) },
		mesh.KindDoor:      func(string) any { return s.Door() },
		mesh.KindPolicies:  func(n string) any { return s.Policies(mesh.Host(n)) },
		mesh.KindEgress: func(n string) any {
			if n == "" {
				return s.EgressPatterns()
			}
			return s.Egress(mesh.Host(n))
		},
		mesh.KindSettings: func(string) any { return s.Settings() },
		mesh.KindSecret:   func(n string) any { return s.Certificate(n).Chain + s.Certificate(n).Key.Reveal() },
	}
	for _, kind := range []mesh.Kind{
		mesh.KindService, mesh.KindEndpoints, mesh.KindRules, mesh.KindWorkload, mesh.KindDoor, mesh.KindPolicies, mesh.KindEgress,
		mesh.KindSettings, mesh.KindSecret,
	} {
		for _, k := range s.Keys(kind) {
			value, err := json.Marshal(parts[kind](k.Name))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&text, "%s: %s\n", k, value)
		}
	}
	for _, o := range b.Objects() {
		fmt.Fprintf(&text, "%s of %s at %s\n", o.Ref, o.Source, o.Origin)
	}
	return text.String() + b.problems()
}

// TestEditsLeadWhereAFreshStartLeads shows that after any sequence of edits a store shows what one shows that is given the
// last state at once: the same parts, objects, problems and places.
func TestEditsLeadWhereAFreshStartLeads(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{rand.New(rand.NewPCG(seed, 4)), map[string][]string{}, map[string]mesh.Registry{}}
				b := start(t, worldSources...)
				for _, source := range worldSources {
					b.setYAML(t, source, "")
				}
				for step := range 40 {
					w.edit(t, b)
					if diff := cmp.Diff(w.rebuilt(t), shows(t, b)); diff != "" {
						t.Fatalf("step %d (-fresh +edited): %s\nfiles: %s\ncommands: %s", step, diff,
							strings.Join(w.objects["files"], "---\n"), strings.Join(w.objects["commands"], "---\n"))
					}
				}
			})
		})
	}
}
