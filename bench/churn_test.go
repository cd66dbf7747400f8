package bench

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// churn changes a mesh at random.
type churn struct {
	*rig
	random *rand.Rand
	first  mesh.Registry     // what there was in the beginning
	gone   map[int]bool      // services that are not there now
	ruled  map[int]bool      // services that have a rule now
	away   map[int]bool      // proxies that have left
	ended  map[int]bool      // those of them whose workload has ended
	made   int               // changes
	edit   mesh.RegistryEdit // what the server has not been told yet
}

const (
	churnChecks = 5
	slackBytes  = 1 << 20 // by which the heap may differ between two checks
	learnedSize = 1 << 10 // bytes for a name that a scope has learned, and that its new proxies are given: bounded, and kept
	slackRoutes = 8       // goroutines: connections of the API's client come and go
)

// After many random changes of everything at once no proxy lacks the newest version of anything, and nothing is left
// in the server's memory: five times the mesh and its proxies are made what they were in the beginning, and taken away.
func TestLoadChurn(t *testing.T) {
	t.Parallel()
	changes, w := 2000, newWorld(10, 20, 5)
	if meshtest.FullLoad() {
		changes, w = 1_000_000, newWorld(50, 100, 5)
	}
	c := &churn{
		rig: newRig(t, w, -1), random: rand.New(rand.NewPCG(1, 2)), first: w.registry,
		gone: map[int]bool{}, ruled: map[int]bool{}, away: map[int]bool{}, ended: map[int]bool{},
	}
	for i := 0; i < c.services; i += ruledEvery {
		c.ruled[i] = true
	}
	var full, bare []size
	var held []int
	for check := range churnChecks {
		c.begin()
		for c.made < changes*(check+1)/churnChecks {
			c.call(1 + c.random.IntN(20))
		}
		c.agree()
		c.begin()
		full, held = append(full, c.server.size()), append(held, c.fleet.held())
		c.end()
		bare = append(bare, c.server.size())
		t.Logf("after %d changes: heap %d kB, %d goroutines, %d resources; without a mesh %d kB, %d goroutines",
			c.made, full[check].Heap>>10, full[check].Goroutines, held[check], bare[check].Heap>>10, bare[check].Goroutines)
	}
	flat(t, "with the mesh", full, held)
	flat(t, "without", bare, held)
}

// flat wants what a server takes to stay what it was at the first check, but for names that were learned since.
func flat(t *testing.T, what string, sizes []size, held []int) {
	t.Helper()
	for i, s := range sizes {
		bound := sizes[0].Heap + slackBytes + int64(held[i]-held[0])*learnedSize
		if s.Heap > bound || s.Goroutines > sizes[0].Goroutines+slackRoutes {
			t.Errorf("%s: at check %d the server takes %d kB and %d goroutines, want at most %d and %d", what, i+1,
				s.Heap>>10, s.Goroutines, bound>>10, sizes[0].Goroutines+slackRoutes)
		}
	}
}

// call makes changes, and tells the server those of the registry in as few calls as their order lets it.
func (c *churn) call(changes int) {
	for range changes {
		c.made++
		switch roll := c.random.IntN(100); {
		case roll < 65:
			c.moveOne(c.random.IntN(c.services))
		case roll < 73:
			c.toggle(c.random.IntN(c.services))
		case roll < 77:
			c.rule(c.random.IntN(c.services))
		case roll < 80:
			c.passBy(c.random.IntN(c.proxies))
		default:
			c.ask()
		}
	}
	c.tell()
}

// tell tells what has changed.
func (c *churn) tell() {
	c.Helper()
	if c.edit.Len() > 0 {
		c.rig.edit(c.edit)
	}
	c.edit = mesh.RegistryEdit{}
}

// moveOne moves an endpoint of a service, if it is there.
func (c *churn) moveOne(i int) {
	moved := c.move(i)
	if !c.gone[i] {
		c.put(moved.Endpoints[0])
	}
}

// put puts endpoints in the place of those that were to be told before.
func (c *churn) put(set *mesh.EndpointSet) {
	same := func(e *mesh.EndpointSet) bool { return e.Host == set.Host }
	c.edit.Endpoints = append(slices.DeleteFunc(c.edit.Endpoints, same), set)
}

// toggle has a service go, or come back.
func (c *churn) toggle(i int) {
	c.tell()
	if c.gone[i] {
		delete(c.gone, i)
		c.edit.Services = append(c.edit.Services, c.registry.Services[i])
		c.put(c.registry.Endpoints[i])
	} else {
		c.gone[i] = true
		c.edit.RemovedServices = append(c.edit.RemovedServices, hostAt(i))
		c.edit.RemovedEndpoints = append(c.edit.RemovedEndpoints, hostAt(i))
	}
}

// rule writes another rule for a service, or deletes it.
func (c *churn) rule(i int) {
	c.Helper()
	var err error
	if c.ruled[i] && c.random.IntN(3) == 0 {
		delete(c.ruled, i)
		ref := mesh.Ref{Kind: "RouteRule", Namespace: namespaceAt(i), Name: fmt.Sprintf("svc-%04d", i)}
		_, err = c.server.api.Delete(c.Context(), api.Delete{Objects: []mesh.Ref{ref}})
	} else {
		c.ruled[i] = true
		// Its service may be away, which is a problem that is told and no error.
		text := rule(i, []int{0, 100, c.random.IntN(100)}[c.random.IntN(3)])
		_, err = c.server.api.Write(c.Context(), api.Write{Op: api.Apply, Files: []api.File{{Name: "churn", Text: text}}})
	}
	if err != nil {
		c.Fatal(err)
	}
}

// passBy has a proxy leave, or one that has left come back: with what it holds, or as a new one.
func (c *churn) passBy(i int) {
	c.Helper()
	p := c.fleet.proxies[i]
	if !c.away[i] {
		if err := p.leave(); err != nil {
			c.Fatal(err)
		}
		c.away[i] = true
		if c.ended[i] = c.random.IntN(2) == 0; c.ended[i] {
			c.tell()
			c.edit.RemovedWorkloads = append(c.edit.RemovedWorkloads, c.registry.Workloads[i].ID())
		}
		return
	}
	if c.ended[i] {
		c.tell()
		c.edit.Workloads = append(c.edit.Workloads, c.registry.Workloads[i])
	}
	delete(c.away, i)
	delete(c.ended, i)
	if c.random.IntN(2) == 0 {
		p.forget(c.targets(i))
	}
	p.come(context.WithoutCancel(c.Context()))
}

// ask has a proxy ask for a name: mostly that of a service, of one that there never was, or any.
func (c *churn) ask() {
	c.Helper()
	host := spelling(c.random.IntN(2 * c.services))
	if c.random.IntN(5) == 0 {
		host = fmt.Sprintf("any-%d.example.org:80", c.random.IntN(1_000_000))
	}
	if err := c.fleet.proxies[c.random.IntN(c.proxies)].ask(spelled(host)); err != nil {
		c.Fatal(err)
	}
}

// begin makes everything what it was in the beginning, with proxies that hold nothing yet.
func (c *churn) begin() {
	c.Helper()
	c.fleet.disconnect()
	c.connected(0)
	clear(c.away)
	clear(c.ended)
	clear(c.gone)
	c.registry.Endpoints = slices.Clone(c.first.Endpoints)
	c.edit = mesh.RegistryEdit{}
	for i, p := range c.fleet.proxies {
		p.forget(c.targets(i))
	}
	c.rig.tell()
	c.unrule(func(i int) bool { return i%ruledEvery != 0 })
	c.write(c.rules())
	for i := 0; i < c.services; i += ruledEvery {
		c.ruled[i] = true
	}
	c.fleet.connect()
	c.inSync()
	c.fleet.whole()
}

// end takes everything away.
func (c *churn) end() {
	c.Helper()
	c.fleet.disconnect()
	c.unrule(func(int) bool { return true })
	if _, err := c.server.api.PutRegistry(c.Context(), mesh.Registry{}); err != nil {
		c.Fatal(err)
	}
	c.connected(0)
}

// unrule deletes rules.
func (c *churn) unrule(which func(int) bool) {
	c.Helper()
	var refs []mesh.Ref
	for _, i := range slices.Sorted(maps.Keys(c.ruled)) {
		if which(i) {
			refs = append(refs, mesh.Ref{Kind: "RouteRule", Namespace: namespaceAt(i), Name: fmt.Sprintf("svc-%04d", i)})
			delete(c.ruled, i)
		}
	}
	if len(refs) == 0 {
		return
	}
	if _, err := c.server.api.Delete(c.Context(), api.Delete{Objects: refs}); err != nil {
		c.Fatal(err)
	}
}

// agree has all proxies come back, one of them as a new one that asks for all that anybody has, and wants those that
// have a resource to have it in the same version.
func (c *churn) agree() {
	c.Helper()
	for i := range c.proxies {
		if c.away[i] {
			c.passBy(i)
		}
	}
	c.tell()
	newest := c.fleet.proxies[0]
	if err := newest.leave(); err != nil {
		c.Fatal(err)
	}
	c.connected(c.proxies - 1)
	newest.forget(c.fleet.asked())
	newest.come(context.WithoutCancel(c.Context()))
	c.inSync()
	for _, p := range c.fleet.proxies {
		for _, t := range []xds.Type{xds.ClusterType, xds.EndpointsType, xds.VirtualHostType} {
			for n, version := range p.held[t] {
				want, ok := newest.held[t][n]
				own := t == xds.ClusterType && !n.subset
				quiet := version == "quiet" || want == "quiet" // which of the names that lead nowhere are answered so is a matter of order
				if ok && want != version && !own && !quiet {
					c.Errorf("after %d changes: proxy %s has %s in version %s, want %s", c.made, p.node, n.text, version, want)
				}
				if !ok && t == xds.VirtualHostType {
					c.Errorf("after %d changes: a new proxy was not given %s", c.made, n.text)
				}
			}
		}
	}
}
