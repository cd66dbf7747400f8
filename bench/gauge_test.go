package bench

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// gauge measures what all ways of knowing a mesh have in common.
type gauge struct {
	of    *base
	row   row
	title string // of the profiles
	// beside are the processes beside the server whose CPU is told too, by what they are called.
	beside map[string]int
}

// row is what was measured, by name.
type row map[string]float64

func newGauge(of *base, s shape) gauge {
	return gauge{
		of: of, title: fmt.Sprintf("%d-%d-%d", s.proxies, s.services, s.uses),
		row: row{"proxies": float64(s.proxies), "services": float64(s.services), "uses": float64(s.uses)},
	}
}

// spent is the processor time that processes have taken.
type spent struct {
	server time.Duration
	beside map[string]time.Duration
}

func (g *gauge) spent() spent {
	s := spent{g.of.server.cpuTime(), map[string]time.Duration{}}
	for name, pid := range g.beside {
		s.beside[name] = cpuTimeOf(g.of, pid)
	}
	return s
}

// cpu notes what the processes have taken since, for each of so many times.
func (g *gauge) cpu(part string, before spent, times int) {
	now := g.spent()
	g.row[part+"-cpu-ms"] = ms(now.server-before.server) / float64(times)
	for name, used := range now.beside {
		g.row[part+"-"+name+"-cpu-ms"] = ms(used-before.beside[name]) / float64(times)
	}
}

// profiled runs a part, with profiles of the server.
func (g *gauge) profiled(part string, run func()) {
	g.of.Helper()
	defer g.of.server.profiled(g.title + "-" + part)()
	run()
}

// cold has all proxies connect at once to a server that knows the mesh.
func (g *gauge) cold() {
	begun, used := time.Now(), g.spent()
	all := g.of.fleet.fill()
	g.of.inSync()
	g.row["cold-first-ms"] = ms(all.first.Sub(begun))
	g.row["cold-last-ms"] = ms(all.last.Sub(begun))
	g.row["cold-sync-ms"] = ms(time.Since(begun))
	g.cpu("cold", used, 1)
	sent, proxies := g.of.fleet.counted(), float64(len(g.of.fleet.proxies))
	g.row["kB/proxy"] = float64(sent.bytes-sent.scopeBytes) / 1000 / proxies
	g.row["scope-kB/proxy"] = float64(sent.scopeBytes) / 1000 / proxies
	g.row["scopes/proxy"] = float64(sent.scopes) / proxies
	g.row["resources/proxy"] = float64(sent.resources-sent.scopes) / proxies
	g.row["messages/proxy"] = float64(sent.messages) / proxies
	_, highest := g.of.server.resident()
	g.row["peak-MiB"] = float64(highest) / (1 << 20)
}

// settled tells what the server takes when nothing happens.
func (g *gauge) settled() {
	g.row["heap-MiB"] = float64(g.of.server.size().Heap) / (1 << 20)
	now, _ := g.of.server.resident()
	g.row["settled-MiB"] = float64(now) / (1 << 20)
	g.row["anonymous-MiB"] = statusLine(g.of, fmt.Sprintf("/proc/%d", g.of.server.cmd.Process.Pid), "RssAnon:")
}

// each makes changes one after another and waits for each until all subscribers have it. A change returns what is to be waited
// for, and from when on it is measured.
func (g *gauge) each(name string, times int, change func(i int) (*watch, time.Time)) {
	g.of.Helper()
	var first, last []float64
	used, sent := g.spent(), g.of.fleet.counted()
	for i := range times {
		w, begun := change(i)
		g.of.fleet.await(&w.arrivals, fmt.Sprint(name, " of ", w.names))
		first = append(first, sinceMS(w.first, begun))
		last = append(last, sinceMS(w.last, begun))
	}
	g.cpu(name, used, times)
	g.row[name+"-messages"] = float64(g.of.fleet.counted().since(sent).messages) / float64(times)
	g.row[name+"-first-p50-ms"] = percentile(first, 50)
	g.row[name+"-last-p50-ms"] = percentile(last, 50)
	g.row[name+"-last-p99-ms"] = percentile(last, 99)
}

// idle lets everybody do nothing for a while.
func (g *gauge) idle() {
	used := g.spent()
	<-time.After(idleFor)
	now := g.spent()
	percent := func(d time.Duration) float64 { return 100 * d.Seconds() / idleFor.Seconds() }
	g.row["idle-cpu-%"] = percent(now.server - used.server)
	for name := range g.beside {
		g.row["idle-"+name+"-cpu-%"] = percent(now.beside[name] - used.beside[name])
	}
}

// reconnect has all proxies lose their streams and come back at once, with what they hold.
func (g *gauge) reconnect() {
	g.of.Helper()
	g.of.fleet.disconnect()
	g.of.connected(0)
	begun, used, sent := time.Now(), g.spent(), g.of.fleet.counted()
	g.of.fleet.connect()
	g.of.inSync()
	g.row["reconnect-ms"] = ms(time.Since(begun))
	g.cpu("reconnect", used, 1)
	g.resent("reconnect", sent)
}

// resent notes what proxies that came back were sent.
func (g *gauge) resent(part string, before counted) {
	sent := g.of.fleet.counted().since(before)
	g.row[part+"-resources"], g.row[part+"-bytes"] = float64(sent.resources), float64(sent.bytes)
}

// metrics tells all that was measured as a result of a benchmark.
func (g *gauge) metrics(b *testing.B) {
	b.Helper()
	for name, value := range g.row {
		b.ReportMetric(value, name)
	}
	b.ReportMetric(0, "ns/op")
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// sinceMS returns how long after a moment something was, 0 if it was before.
func sinceMS(at, begun time.Time) float64 { return max(0, ms(at.Sub(begun))) }

// percentile returns the value that so many percent do not exceed.
func percentile(values []float64, percent float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(math.Ceil(percent/100*float64(len(sorted))))-1]
}
