package bench

import (
	"fmt"
	"math"
	"os"
	"slices"
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
	row row
}

// row is what was measured, by name.
type row map[string]float64

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
			s := &scale{newRig(b, newWorld(n.proxies, n.services, n.uses), cpu), row{
				"proxies": float64(n.proxies), "services": float64(n.services), "uses": float64(n.uses),
			}}
			if n.over == overTLS {
				s.secure()
				s.row["secure"] = 1
			}
			s.measure()
			for name, value := range s.row {
				b.ReportMetric(value, name)
			}
			b.ReportMetric(0, "ns/op")
			rows = append(rows, s.row)
		})
	}
	fmt.Fprint(os.Stdout, tables(rows))
}

// measure takes one mesh through everything.
func (s *scale) measure() {
	s.profiled("cold", s.cold)
	s.settled()
	s.profiled("endpoint", func() {
		s.each("endpoint", changes, func(i int) *watch {
			hosts := s.used(false)
			h := hosts[i%len(hosts)]
			w := s.fleet.watch(xds.EndpointsType, endpointsAt(h))
			s.edit(s.move(h))
			return w
		})
	})
	s.profiled("route", func() {
		s.each("route", changes, func(i int) *watch {
			hosts := s.used(true)
			h := hosts[i%len(hosts)]
			w := s.fleet.watch(xds.VirtualHostType, view.VirtualHostOf(spelling(h)).Name)
			s.write(rule(h, 1+i%80))
			return w
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

// cold has all proxies connect at once to a server that knows the mesh.
func (s *scale) cold() {
	begun, used := time.Now(), s.server.cpuTime()
	all := s.fleet.fill()
	s.inSync()
	s.row["cold-first-ms"] = ms(all.first.Sub(begun))
	s.row["cold-last-ms"] = ms(all.last.Sub(begun))
	s.row["cold-sync-ms"] = ms(time.Since(begun))
	s.row["cold-cpu-ms"] = ms(s.server.cpuTime() - used)
	sent := s.fleet.counted()
	s.row["kB/proxy"] = float64(sent.bytes) / 1000 / float64(s.proxies)
	s.row["resources/proxy"] = float64(sent.resources) / float64(s.proxies)
	s.row["messages/proxy"] = float64(sent.messages) / float64(s.proxies)
	_, highest := s.server.resident()
	s.row["peak-MiB"] = float64(highest) / (1 << 20)
}

// settled tells what the server takes when nothing happens.
func (s *scale) settled() {
	s.row["heap-MiB"] = float64(s.server.size().Heap) / (1 << 20)
	now, _ := s.server.resident()
	s.row["settled-MiB"] = float64(now) / (1 << 20)
}

// each makes changes one after another and waits for each until all subscribers have it.
func (s *scale) each(name string, times int, change func(i int) *watch) {
	var first, last []float64
	used, sent := s.server.cpuTime(), s.fleet.counted()
	for i := range times {
		begun := time.Now()
		w := change(i)
		s.fleet.await(&w.arrivals, name+" of "+w.name)
		first = append(first, ms(w.first.Sub(begun)))
		last = append(last, ms(w.last.Sub(begun)))
	}
	s.row[name+"-cpu-ms"] = ms(s.server.cpuTime()-used) / float64(times)
	s.row[name+"-messages"] = float64(s.fleet.counted().since(sent).messages) / float64(times)
	s.row[name+"-first-p50-ms"] = percentile(first, 50)
	s.row[name+"-last-p50-ms"] = percentile(last, 50)
	s.row[name+"-last-p99-ms"] = percentile(last, 99)
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
		if err := p.ask(spelling(next)); err != nil {
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

// idle lets the server do nothing for a while.
func (s *scale) idle() {
	used := s.server.cpuTime()
	<-time.After(idleFor)
	s.row["idle-cpu-%"] = 100 * (s.server.cpuTime() - used).Seconds() / idleFor.Seconds()
}

// reconnect has all proxies lose their streams and come back at once, with what they hold.
func (s *scale) reconnect() {
	s.fleet.disconnect()
	s.connected(0)
	begun, used, sent := time.Now(), s.server.cpuTime(), s.fleet.counted()
	s.fleet.connect()
	s.inSync()
	s.row["reconnect-ms"] = ms(time.Since(begun))
	s.row["reconnect-cpu-ms"] = ms(s.server.cpuTime() - used)
	s.row["reconnect-resources"] = float64(s.fleet.counted().since(sent).resources)
	s.row["reconnect-bytes"] = float64(s.fleet.counted().since(sent).bytes)
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
	s.row["restart-resources"] = float64(s.fleet.counted().since(sent).resources)
	s.row["restart-bytes"] = float64(s.fleet.counted().since(sent).bytes)
	_, again := s.server.resident()
	s.row["highest-MiB"] = float64(max(highest, again)) / (1 << 20)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// percentile returns the value that so many percent do not exceed.
func percentile(values []float64, percent float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(math.Ceil(percent/100*float64(len(sorted))))-1]
}
