package store

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/dialect/v1alpha2"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// inFull is a store whose changes are taken by the test itself.
type inFull struct {
	*Store
	objects []config.Object
	turn    int
}

// fullOf returns a store that knows n services with an endpoint, a workload and a rule each.
func fullOf(t testing.TB, n int) *inFull {
	t.Helper()
	s := &inFull{Store: New(Config{
		Kinds: v1alpha2.Kinds("cluster.local"), Domain: "cluster.local", Log: slog.New(slog.DiscardHandler),
		Publish: func(*mesh.Snapshot, []mesh.Key) {},
	})}
	var whole mesh.Registry
	for i := range n {
		name := fmt.Sprintf("s%05d", i)
		whole.Services = append(whole.Services, &mesh.Service{
			Host: hostOfNumber(i), Name: name, Namespace: "default", Ports: []mesh.Port{{Name: "http", Number: 80, Protocol: mesh.HTTP}},
		})
		whole.Endpoints = append(whole.Endpoints, s.endpoints(i))
		whole.Workloads = append(whole.Workloads, &mesh.Workload{Name: name, Namespace: "default", Address: "10.0.0.1"})
		s.objects = append(s.objects, s.rule(t, i))
	}
	s.do(t, ofRegistries, func(f *fold) error { return f.setRegistry("local", &whole) })
	s.do(t, ofObjects, func(f *fold) error { f.setObjects("state", s.objects, nil); return nil })
	return s
}

func hostOfNumber(i int) mesh.Host {
	return mesh.ServiceHost(fmt.Sprintf("s%05d", i), "default", "cluster.local")
}

// endpoints returns endpoints that nobody has seen before.
func (s *inFull) endpoints(i int) *mesh.EndpointSet {
	s.turn++
	return &mesh.EndpointSet{Host: hostOfNumber(i), Endpoints: []mesh.Endpoint{{
		Address: fmt.Sprintf("10.%d.%d.%d", s.turn>>16&255, s.turn>>8&255, s.turn&255), Ports: map[string]int{"http": 80}, Health: mesh.Healthy,
	}}}
}

// rule returns the rule of a service as nobody has seen it before.
func (s *inFull) rule(t testing.TB, i int) config.Object {
	t.Helper()
	s.turn++
	text := fmt.Sprintf("apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: s%05d}\n"+
		"spec: {destination: {name: s%05d}, route: [{labels: {version: v%d}}]}\n", i, i, s.turn)
	objects, problems := config.Parse(fmt.Sprintf("%05d.yaml", i), []byte(text), "")
	if len(objects) != 1 || len(problems) > 0 {
		t.Fatal(problems)
	}
	return objects[0]
}

// do takes one change.
func (s *inFull) do(t testing.TB, class class, apply func(*fold) error) {
	t.Helper()
	done := make(chan answer, 1)
	q := &queue{}
	q.add(change{class, apply, done})
	s.take(q)
	if a := <-done; a.err != nil {
		t.Fatal(a.err)
	}
}

func (s *inFull) changeEndpoints(t testing.TB, i int) {
	t.Helper()
	edit := &mesh.RegistryEdit{Endpoints: []*mesh.EndpointSet{s.endpoints(i)}}
	s.do(t, ofRegistries, func(f *fold) error { return f.editRegistry("local", edit) })
}

func (s *inFull) changeRule(t testing.TB, i int) {
	t.Helper()
	s.changeTo(t, i, s.rule(t, i))
}

func (s *inFull) changeTo(t testing.TB, i int, o config.Object) {
	t.Helper()
	s.objects[i] = o
	s.do(t, ofObjects, func(f *fold) error { f.setObjects("state", s.objects, nil); return nil })
}

// editTo says of one rule only that it is another one now.
func (s *inFull) editTo(t testing.TB, o config.Object) {
	t.Helper()
	s.do(t, ofObjects, func(f *fold) error { return f.editObjects("state", []config.Object{o}, nil) })
}

// TestCostIsThatOfTheChange shows that what a change costs is the same in a small mesh and in one fifty times as big:
// what is looked at, what is made anew and how often memory is taken.
func TestCostIsThatOfTheChange(t *testing.T) {
	costs := func(n int) string {
		s := fullOf(t, n)
		var all strings.Builder
		for _, step := range []struct {
			name   string
			change func()
		}{
			{"endpoints", func() { s.changeEndpoints(t, n/2) }},
			{"rule", func() { s.changeRule(t, n/2) }},
			{"nothing", func() { s.do(t, ofObjects, func(f *fold) error { f.setObjects("state", s.objects, nil); return nil }) }},
			{"rule edited", func() { s.editTo(t, s.rule(t, n/2)) }},
			{"rule removed", func() {
				s.do(t, ofObjects, func(f *fold) error { return f.editObjects("state", nil, []mesh.Ref{s.objects[1].Ref}) })
			}},
			{"rule put", func() { s.editTo(t, s.objects[1]) }},
			{"edited to what it is", func() { s.editTo(t, s.objects[1]) }},
		} {
			looked, parts, published := s.counters.Looked.Load(), s.counters.Parts.Load(), s.counters.Published.Load()
			step.change()
			fmt.Fprintf(&all, "%s: %d looked at, %d made, %d published\n", step.name,
				s.counters.Looked.Load()-looked, s.counters.Parts.Load()-parts, s.counters.Published.Load()-published)
		}
		return all.String()
	}
	const want = `endpoints: 1 looked at, 1 made, 1 published
rule: 1 looked at, 1 made, 1 published
nothing: 0 looked at, 0 made, 0 published
rule edited: 1 looked at, 1 made, 1 published
rule removed: 1 looked at, 1 made, 1 published
rule put: 1 looked at, 1 made, 1 published
edited to what it is: 1 looked at, 0 made, 0 published
`
	for _, n := range []int{20, 1000} {
		if got := costs(n); got != want {
			t.Errorf("of %d: %s", n, got)
		}
	}
	small, big := fullOf(t, 20), fullOf(t, 1000)
	const more = 30 // of maps that hold ten times as much
	for name, pair := range map[string][2]func(){
		"endpoints": {func() { small.changeEndpoints(t, 10) }, func() { big.changeEndpoints(t, 500) }},
		"rule":      {func() { small.changeRule(t, 10) }, func() { big.changeRule(t, 500) }},
	} {
		few, many := testing.AllocsPerRun(100, pair[0]), testing.AllocsPerRun(100, pair[1])
		if many > few+more {
			t.Errorf("%s: %v allocations in a big mesh, %v in a small one", name, many, few)
		}
	}
}

// Settings that say nothing else about how ports are secured have no host looked at, and an excluded host only that one.
func TestSettingsTouchWhatTheyTell(t *testing.T) {
	t.Parallel()
	s := fullOf(t, 20)
	for _, step := range []struct {
		settings mesh.Settings
		want     int
	}{
		{mesh.Settings{NoAccessLog: true}, 0},
		{mesh.Settings{MTLSExcluded: []mesh.Host{hostOfNumber(1), hostOfNumber(2)}}, 2},
		{mesh.Settings{MTLSExcluded: []mesh.Host{hostOfNumber(2), hostOfNumber(3)}}, 2},
		{mesh.Settings{AuthPolicy: mesh.AuthNone}, 20},
	} {
		s.fold.setSettings(s.fold.registries["local"], &step.settings)
		if got := s.fold.touched(); len(got) != step.want {
			t.Errorf("%+v: %v, want %d", step.settings, got, step.want)
		}
	}
}

func BenchmarkChange(b *testing.B) {
	for _, n := range []int{100, 1000, 30_000} {
		s := fullOf(b, n)
		edits, objects := make([]*mesh.EndpointSet, 100), make([]config.Object, 100)
		for i := range edits {
			edits[i], objects[i] = s.endpoints(n/2), s.rule(b, n/2)
		}
		b.Run(fmt.Sprintf("endpoints/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				edit := &mesh.RegistryEdit{Endpoints: edits[i%100 : i%100+1]}
				s.do(b, ofRegistries, func(f *fold) error { return f.editRegistry("local", edit) })
			}
		})
		b.Run(fmt.Sprintf("edited rule/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s.editTo(b, objects[i%100])
			}
		})
		b.Run(fmt.Sprintf("rule/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s.changeTo(b, n/2, objects[i%100])
			}
		})
	}
}
