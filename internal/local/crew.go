package local

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// mostInstances is how many a mesh may have. An address each, twice while new ones take the place of old ones, and one for
// the control plane.
const mostInstances = (subnetAddresses - 1) / 2

// crew owns the instances: it compares what runs with what the Mesh files want, whenever either changes.
type crew struct {
	site     *site
	places   *places
	ports    doorPorts
	urls     func(Door) []string
	began    time.Time
	meshes   chan *Mesh
	accepted chan struct{} // closed when the first Mesh is good

	news    chan news
	broken  chan error // a runner that cannot work
	wanted  []*Workload
	members map[mesh.ProxyID]*member
	running bool // all of the first Mesh is
	secured follower

	held []string  // instances that are missing and wait for what they depend on
	wake time.Time // when the first of them stops waiting, whatever happens; zero: not known
}

// doorPorts are the ports of the ingress that go before those of the Mesh; 0: the Mesh's.
type doorPorts struct{ plain, tls int }

// member is one instance in the crew's eyes.
type member struct {
	instance *Instance
	runner   *runner
	is       condition
	leaving  bool
	began    time.Time
	stop     context.CancelFunc // ends it without waiting for callers
	done     chan struct{}
}

func newCrew(c Config, s *site, p *places, began time.Time) *crew {
	return &crew{
		site: s, places: p, ports: doorPorts{c.IngressPort, c.HTTPSPort}, urls: c.URLs, began: began,
		meshes: make(chan *Mesh), accepted: make(chan struct{}),
		news: make(chan news), broken: make(chan error, 1), members: map[mesh.ProxyID]*member{},
		secured: follower{console: s.console, inForce: s.announcer.inForce},
	}
}

// run returns when ctx has ended and all instances have too. It starts none before it is known which Envoy to use.
func (c *crew) run(ctx, kill context.Context, envoy <-chan struct{}) error {
	select {
	case first := <-c.meshes:
		if err := c.accept(ctx, first); err != nil {
			return err
		}
		defer c.secured.stop()
		close(c.accepted)
	case <-ctx.Done():
		return nil
	}
	select {
	case <-envoy:
	case <-ctx.Done():
		return nil
	}
	defer c.halt()
	for {
		if err := c.step(kill); err != nil {
			return err
		}
		c.show()
		select {
		case <-ctx.Done():
			return nil
		case err := <-c.broken:
			return err
		case m := <-c.meshes:
			if err := c.accept(ctx, m); err != nil {
				c.site.console.fail(err.Error(), "the mesh runs on as it was; edit its files again")
			}
		case n := <-c.news:
			c.take(n)
		case <-c.alarm():
		}
	}
}

// accept makes m what is wanted, unless it cannot be.
func (c *crew) accept(ctx context.Context, m *Mesh) error {
	wanted := c.sound(m.all())
	total := 0
	for _, w := range wanted {
		total += w.Replicas
		if w.Type == mesh.Ingress {
			if err := c.admit(&w.Door); err != nil {
				return err
			}
		}
	}
	if total > mostInstances {
		return &Failure{
			Message: fmt.Sprintf("the Mesh files ask for %d instances", total),
			Advice:  fmt.Sprintf("a mesh on one machine has at most %d: take away replicas", mostInstances),
		}
	}
	c.wanted = wanted
	settings := m.Settings
	if settings.CABundle == "" {
		settings.CABundle = systemBundle(c.site.environ)
	}
	c.secured.follow(ctx, m.policies(), c.site.roster.offer(m.services(c.site.realm), settings, m.Certificates))
	return nil
}

// sound returns the workloads, with the last sound version of each that is unsound, if there was one. That one waits
// for nothing: what it depended on may be gone.
func (c *crew) sound(workloads []*Workload) []*Workload {
	var all []*Workload
	for _, w := range workloads {
		if !w.unsound {
			all = append(all, w)
			continue
		}
		for _, old := range c.wanted {
			if old.key() == w.key() {
				kept := *old
				kept.DependsOn = nil
				all = append(all, &kept)
			}
		}
	}
	return all
}

// admit gives the door its ports, and returns an error unless they are free.
func (c *crew) admit(d *Door) error {
	d.Port, d.HTTPSPort = cmp.Or(c.ports.plain, d.Port), cmp.Or(c.ports.tls, d.HTTPSPort)
	if d.Port == d.HTTPSPort {
		return &Failure{
			Message: fmt.Sprintf("the ingress would have port %d both with and without TLS", d.Port),
			Advice:  "choose others with --ingress-port and --https-port",
		}
	}
	if !c.holds(d.Address, d.Port) {
		if err := checkPort(d.Address, d.Port, "the ingress", "--ingress-port"); err != nil {
			return err
		}
	}
	if d.HTTPSPort == 0 || c.holds(d.Address, d.HTTPSPort) {
		return nil
	}
	return checkPort(d.Address, d.HTTPSPort, "TLS at the ingress", "--https-port")
}

// holds tells whether an ingress of this mesh listens there already.
func (c *crew) holds(address string, port int) bool {
	for _, m := range c.members {
		has := m.instance.Workload.Door
		if m.instance.Workload.Type == mesh.Ingress && has.Address == address && (has.Port == port || has.HTTPSPort == port) {
			return true
		}
	}
	return false
}

// step does what is to be done next.
func (c *crew) step(kill context.Context) error {
	var running []standing
	for _, m := range c.members {
		running = append(running, standing{instance: m.instance, inForce: m.is == inForce, leaving: m.leaving})
	}
	todo := next(c.wanted, running)
	for old, w := range todo.adopt {
		adopted := *old
		adopted.Workload = w
		c.members[old.ID()].instance = &adopted
		c.site.roster.put(&adopted)
	}
	c.held, c.wake = nil, time.Time{}
	for _, s := range todo.start {
		if !c.mayStart(s) {
			continue
		}
		if err := c.start(kill, s); err != nil {
			return err
		}
	}
	for _, i := range todo.end {
		m := c.members[i.ID()]
		m.leaving = true
		close(m.runner.leave)
		c.site.console.say("%s ends", i.Name)
	}
	return nil
}

// start starts one instance. It runs until it is told to leave or stopped.
func (c *crew) start(kill context.Context, s start) error {
	i, err := c.places.give(s.workload, s.ordinal)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(kill)
	m := &member{instance: i, began: time.Now(), stop: stop, done: make(chan struct{})}
	m.runner = newRunner(c.site, i, func(n news) {
		select {
		case c.news <- n:
		case <-running.Done():
		}
	})
	c.members[i.ID()] = m
	c.site.console.introduce(i.Name, s.workload.Name)
	c.site.roster.put(i)
	if c.running {
		c.site.console.say("%s starts", i.Name)
	}
	go func() {
		defer close(m.done)
		if err := m.runner.run(running, kill); err != nil {
			select {
			case c.broken <- err:
			default: // one is enough
			}
		}
		m.runner.tell(news{i.ID(), gone})
	}()
	return nil
}

// take notes what became of an instance.
func (c *crew) take(n news) {
	m := c.members[n.id]
	before := m.is
	m.is = n.is
	switch {
	case n.is == gone:
		<-m.done
		m.stop()
		delete(c.members, n.id)
		c.places.takeBack(m.instance)
	case n.is == up && before != inForce && before != up && (c.running || !c.site.console.terminal):
		c.site.console.say("%s is ready", m.instance.Name)
	}
}

// halt ends all instances: the ingress first, since those behind it have its requests to finish.
func (c *crew) halt() {
	c.site.console.progress("")
	c.site.console.say("ending; requests under way are finished")
	for _, door := range []bool{true, false} {
		var ending sync.WaitGroup
		for _, m := range c.members {
			if door == (m.instance.Workload.Type == mesh.Ingress) {
				m.stop()
				ending.Go(func() { <-m.done })
			}
		}
		ending.Wait()
	}
	for _, m := range c.members {
		c.places.takeBack(m.instance)
	}
}
