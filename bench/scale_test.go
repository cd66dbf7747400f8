package bench

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// scale is a rig while it is measured.
type scale struct {
	*rig
	gauge
}

// overTLS is a proxy's way to the control plane with an identity. The other one is a socket.
const overTLS = "tls"

const (
	changes      = 50
	newOnes      = 20
	burst        = 200
	burstCallers = 20
	idleFor      = 10 * time.Second
)

// BenchmarkScale measures what each change costs the control plane on one processor, at several sizes. Each size is
// measured once, whatever -benchtime says; the tables come at the end.
func BenchmarkScale(b *testing.B) {
	cpu := part(b)
	var rows []row
	for _, n := range []struct {
		proxies, services, uses int
		over                    string // what proxies connect
	}{
		{10, 10, 5, overTLS},
		{10, 100, 5, overTLS},
		{10, 1000, 5, overTLS},
		{100, 10, 5, overTLS},
		{100, 100, 5, overTLS},
		{100, 1000, 5, overTLS},
		{1000, 10, 5, overTLS},
		{1000, 100, 5, overTLS},
		{1000, 1000, 5, overTLS},
		{1000, 1000, 5, "socket"},
		{100, 1000, 1000, overTLS},
		{1000, 1000, 1000, overTLS},
		{1000, 1000, 1000, "socket"},
	} {
		b.Run(fmt.Sprintf("proxies=%d/services=%d/uses=%d/over=%s", n.proxies, n.services, n.uses, n.over), func(b *testing.B) {
			r := newRig(b, newWorld(n.proxies, n.services, n.uses), cpu)
			s := &scale{r, newGauge(r.base, r.shape)}
			if n.over == overTLS {
				s.secure()
				s.row["secure"] = 1
			}
			s.measure()
			s.metrics(b)
			rows = append(rows, s.row)
		})
	}
	fmt.Fprint(os.Stdout, tables(scaleTables, size4, rows))
}

// measure takes one mesh through everything.
func (s *scale) measure() {
	s.profiled("cold", s.cold)
	s.settled()
	s.profiled("endpoint", func() {
		s.each("endpoint", changes, func(i int) (*watch, time.Time) {
			hosts := s.used(false)
			h := hosts[i%len(hosts)]
			w, begun := s.fleet.watch(xds.EndpointsType, endpointsAt(h)), time.Now()
			s.edit(s.move(h))
			return w, begun
		})
	})
	s.profiled("route", func() {
		s.each("route", changes, func(i int) (*watch, time.Time) {
			hosts := s.used(true)
			h := hosts[i%len(hosts)]
			w, begun := s.fleet.watch(xds.VirtualHostType, view.VirtualHostOf(spelling(h)).Name), time.Now()
			s.write(rule(h, 1+i%80))
			return w, begun
		})
	})
	s.appear()
	s.profiled("burst", s.burst)
	if s.row["secure"] > 0 {
		s.profiled("policy", s.policy)
	}
	s.profiled("idle", s.idle)
	s.profiled("reconnect", s.reconnect)
	s.restart()
}

// appear adds services, each of which one proxy calls as soon as it is there.
func (s *scale) appear() {
	var times []float64
	for i := range newOnes {
		begun := time.Now()
		next := s.services + i
		s.edit(s.add(next))
		p := s.fleet.proxies[i%s.proxies]
		s.fleet.mu.Lock()
		s.fleet.filling = newArrivals(1)
		s.fleet.mu.Unlock()
		if err := p.ask(spelled(spelling(next))); err != nil {
			s.Fatal(err)
		}
		s.fleet.await(&s.fleet.filling, "new service")
		times = append(times, ms(s.fleet.filling.last.Sub(begun)))
	}
	s.inSync()
	s.fleet.whole()
	s.row["new-service-p50-ms"], s.row["new-service-p99-ms"] = percentile(times, 50), percentile(times, 99)
}

// burst changes endpoints in as many calls, some at the same time, as fast as the server takes them, and waits until all
// are in force. What changes twice changes in this order.
func (s *scale) burst() {
	hosts := s.used(false)
	before := s.status().Revision
	edits := make([][]mesh.RegistryEdit, min(burstCallers, len(hosts)))
	for i := range burst {
		caller, host := i%len(hosts)%len(edits), hosts[i%len(hosts)]
		edits[caller] = append(edits[caller], s.move(host))
	}
	begun, used, sent := time.Now(), s.server.cpuTime(), s.fleet.counted()
	var calling errgroup.Group
	for _, own := range edits {
		calling.Go(func() error {
			for _, e := range own {
				if _, err := s.server.api.EditRegistry(s.Context(), e); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := calling.Wait(); err != nil {
		s.Fatal(err)
	}
	told, revision := time.Since(begun), s.status().Revision
	progress, err := s.server.api.Progress(s.Context(), revision, patience)
	if err != nil || !progress.Done() {
		s.Fatal(progress, err)
	}
	s.row["burst-ms"] = ms(time.Since(begun))
	s.row["burst-told-ms"] = ms(told)
	s.row["burst-cpu-ms"] = ms(s.server.cpuTime() - used)
	s.row["burst-snapshots"] = float64(revision - before)
	s.row["burst-messages"] = float64(s.fleet.counted().since(sent).messages)
}

// policy has all ports of the mesh take mutual TLS alone, which they do in steps.
func (s *scale) policy() {
	settings := mesh.DefaultSettings
	settings.AuthPolicy = mesh.AuthMutualTLS
	s.registry.Settings = &settings
	begun, used, sent := time.Now(), s.server.cpuTime(), s.fleet.counted()
	revision := s.edit(mesh.RegistryEdit{Settings: &settings})
	progress, err := s.server.api.Progress(s.Context(), revision, patience)
	if err != nil || !progress.Done() {
		s.Fatal(progress, err)
	}
	s.row["policy-ms"] = ms(time.Since(begun))
	s.row["policy-cpu-ms"] = ms(s.server.cpuTime() - used)
	s.row["policy-messages"] = float64(s.fleet.counted().since(sent).messages)
	s.row["policy-resources"] = float64(s.fleet.counted().since(sent).resources)
}

// restart kills the server and starts it again, as a supervisor does; the proxies come back by themselves.
func (s *scale) restart() {
	_, highest := s.server.resident()
	sent := s.fleet.counted()
	begun := time.Now()
	s.server.kill()
	s.server.start()
	s.server.answers()
	s.tell()
	s.inSync()
	s.row["restart-ms"] = ms(time.Since(begun))
	s.row["restart-cpu-ms"] = ms(s.server.cpuTime())
	s.resent("restart", sent)
	_, again := s.server.resident()
	s.row["highest-MiB"] = float64(max(highest, again)) / (1 << 20)
}
