package local

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// rosterStep changes one thing in a roster, as a supervisor does.
func rosterStep(r *rand.Rand, known *roster, instances []*Instance) {
	i := instances[r.IntN(len(instances))]
	switch r.IntN(7) {
	case 0:
		var services []*mesh.Service
		for _, name := range []string{"web", "shop", "db"} {
			if r.IntN(3) > 0 {
				services = append(services, &mesh.Service{Host: mesh.Host(name), Name: name, Ports: []mesh.Port{{Number: 80 + r.IntN(2)}}})
			}
		}
		var certificates []mesh.SealedCertificate
		if r.IntN(2) > 0 {
			certificates = []mesh.SealedCertificate{{Name: "tls", Chain: "c", Key: mesh.Sealed{Secret: mesh.NewSecret("k")}}}
		}
		known.offer(services, mesh.Settings{CABundle: fmt.Sprint(r.IntN(3))}, certificates)
	case 6:
		known.tell([]mesh.Problem{{Message: "a"}, {Message: "b"}}[:r.IntN(3)])
	case 1:
		known.remove(i.ID())
	case 2, 3:
		known.put(i)
	default:
		known.set(i.ID(), []mesh.Health{"", mesh.Healthy, mesh.Draining}[r.IntN(3)])
	}
}

// TestEditsOfTheRosterMakeTheWhole shows that whoever follows the edits knows what the roster says, whatever was changed
// and however often one asks, and that an edit names only what was touched.
func TestEditsOfTheRosterMakeTheWhole(t *testing.T) {
	t.Parallel()
	var instances []*Instance
	for n, host := range []mesh.Host{"web", "web", "web", "shop", "db", "nobody"} {
		w := &Workload{Name: string(host), Namespace: "default", Host: host, Type: mesh.Sidecar}
		if host == "db" {
			w.Runs = netip.MustParseAddrPort("127.0.0.1:3306")
		}
		instances = append(instances, &Instance{Name: fmt.Sprintf("%s-%d", host, n), Workload: w, Address: netip.AddrFrom4([4]byte{127, 0, 0, byte(n)})})
	}
	moved := *instances[0] // the same instance for another service
	moved.Workload = instances[3].Workload
	instances = append(instances, &moved)
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 5))
		known := newRoster()
		followed, _ := known.registry()
		for step := range 200 {
			for range 1 + r.IntN(3) {
				rosterStep(r, known, instances)
			}
			edit, number := known.edit()
			followed = edited(followed, edit)
			again, _ := known.edit()
			whole, sameNumber := known.registry()
			if again.Len() != 0 || number != sameNumber {
				t.Fatalf("seed %d, step %d: nothing was touched, and still: %+v (%d, %d)", seed, step, again, number, sameNumber)
			}
			if diff := gocmp.Diff(asJSON(t, whole), asJSON(t, followed)); diff != "" {
				t.Fatalf("seed %d, step %d (-whole +followed): %s", seed, step, diff)
			}
		}
	}
}

// asJSON writes a registry down, with empty lists as ones that are missing.
func asJSON(t *testing.T, r mesh.Registry) string {
	t.Helper()
	r.Problems = append([]mesh.Problem{}, r.Problems...)
	r.Services, r.Workloads, r.Endpoints = append([]*mesh.Service{}, r.Services...), append([]*mesh.Workload{}, r.Workloads...), append([]*mesh.EndpointSet{}, r.Endpoints...)
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAnEditNamesWhatWasTouched(t *testing.T) {
	t.Parallel()
	known := newRoster()
	web := &Workload{Name: "web-v1", Namespace: "default", Host: "web"}
	known.offer([]*mesh.Service{{Host: "web"}, {Host: "shop"}}, mesh.Settings{}, nil)
	for n := range 10 {
		known.put(&Instance{Name: instanceName(web, n), Workload: web})
	}
	known.registry()
	known.set("web-v1-3.default", mesh.Healthy)
	edit, _ := known.edit()
	if len(edit.Services) != 1 || len(edit.Endpoints) != 1 || len(edit.Workloads) != 1 || edit.Len() != 3 || edit.Settings != nil || edit.Certificates != nil || edit.Problems != nil {
		t.Errorf("%+v", edit)
	}
}
