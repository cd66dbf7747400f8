package bench

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lateen-mesh/lateen/internal/xds"
)

// clusterScale is a mesh on Kubernetes while it is measured.
type clusterScale struct {
	*clusterRig
	gauge
}

const (
	clusterChanges = 100
	clusterNewOnes = 50
	clusterRounds  = 5 // of each kind of restart
)

// BenchmarkKubernetes measures what a mesh on Kubernetes costs the control plane, on one processor, and the API server, etcd and the
// clients, on the others. The clients are the proxies and whoever writes objects, in one process. Each size is measured once, whatever
// -benchtime says; the tables come at the end. Times of changes are from the moment at which the API server has answered who
// wrote, at the proxies. Restarts are made several times, since some of them meet the API server collecting its garbage, and the one in the
// middle counts.
func BenchmarkKubernetes(b *testing.B) {
	cpu := part(b)
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // of the clients, a thousand of which have one processor
	var text strings.Builder
	for _, s := range []shape{{100, 100, 5}, {1000, 1000, 5}} {
		b.Run(fmt.Sprintf("proxies=%d/services=%d/uses=%d", s.proxies, s.services, s.uses), func(b *testing.B) {
			r := newClusterRig(b, newCluster(b, s, clusterNewOnes), cpu)
			m := &clusterScale{r, newGauge(r.base, s)}
			m.title = "kubernetes-" + m.title
			api, etcd := r.server.PIDs()
			m.beside = map[string]int{"apiserver": api, "etcd": etcd, "clients": os.Getpid()}
			m.measure()
			m.metrics(b)
			text.WriteString(clusterTables(m.row))
		})
	}
	fmt.Fprint(os.Stdout, text.String())
}

// measure takes one mesh through everything.
func (m *clusterScale) measure() {
	m.since("start", m.boot)
	list := m.tokens()
	m.since("enrol", func() { m.enrol(list) })
	m.row["known-MiB"] = m.mebibytes()
	m.profiled("cold", m.cold)
	m.scopeSize()
	m.settled()
	m.profiled("endpoint", func() {
		hosts := m.used(false)
		m.each("endpoint", clusterChanges, func(i int) (*watch, time.Time) {
			h := hosts[i%len(hosts)]
			w := m.base.fleet.watch(xds.EndpointsType, endpointsAt(h))
			m.must(m.move(h))
			return w, time.Now()
		})
	})
	m.profiled("rule", func() {
		hosts := m.used(true)
		m.each("rule", clusterChanges, func(i int) (*watch, time.Time) {
			h := hosts[i%len(hosts)]
			w := m.base.fleet.watch(xds.RouteType, routes(h))
			m.must(m.rule(h, 1+i%80))
			return w, time.Now()
		})
	})
	m.profiled("new", m.appear)
	m.profiled("burst", m.burst)
	m.profiled("idle", m.idle)
	m.profiled("reconnect", m.reconnect)
	m.rounds("restart", false)
	m.rounds("replaced", true)
	for name, pid := range m.beside {
		_, highest := residentOf(m, pid)
		m.row[name+"-MiB"] = float64(highest) / (1 << 20)
	}
}

func (m *clusterScale) mebibytes() float64 {
	now, _ := m.base.server.resident()
	return float64(now) / (1 << 20)
}

// each is that of the gauge.
func (m *clusterScale) each(name string, times int, change func(i int) (*watch, time.Time)) {
	m.Helper()
	m.gauge.each(name, times, change)
}

// since measures how long a part takes. A server that is not started has taken nothing yet.
func (m *clusterScale) since(part string, run func()) {
	m.Helper()
	begun, used := time.Now(), spent{}
	if m.base.server.cmd != nil {
		used = m.spent()
	} else {
		used.beside = map[string]time.Duration{}
		for name, pid := range m.beside {
			used.beside[name] = cpuTimeOf(m, pid)
		}
	}
	run()
	m.row[part+"-ms"] = ms(time.Since(begun))
	m.cpu(part, used, 1)
}

// boot starts the control plane.
func (m *clusterScale) boot() { m.start() }

// scopeSize tells what the scopes are, all proxies having them.
func (m *clusterScale) scopeSize() {
	m.row["scopes"] = float64(len(m.scopes()))
	m.row["scopes-made"] = float64(m.ofScopes("lateen_resources_made_total"))
	m.row["bytes/scope"] = float64(m.ofScopes("lateen_resource_bytes_sent_total")) / float64(m.ofScopes("lateen_resources_sent_total"))
}

// appear adds services, each of which one proxy calls as soon as it knows it. Its pods and their slice are there already.
func (m *clusterScale) appear() {
	var called, known []float64
	m.clusterRig.each(clusterNewOnes, func(i int) error { return m.prepare(m.services + i) })
	m.base.inSync()
	used, sent, fleet := m.spent(), m.base.fleet.counted(), m.base.fleet
	for i := range clusterNewOnes {
		next := m.services + i
		fleet.mu.Lock()
		fleet.filling = newArrivals(1)
		fleet.mu.Unlock()
		m.must(fleet.proxies[i%m.proxies].ask(m.target(next)))
		w := fleet.expect(xds.ScopeType, m.proxies, m.scope(next))
		m.must(m.expose(next))
		begun := time.Now()
		fleet.await(&fleet.filling, "new service")
		fleet.await(&w.arrivals, "its scope")
		called, known = append(called, sinceMS(fleet.filling.last, begun)), append(known, sinceMS(w.last, begun))
	}
	m.cpu("new", used, clusterNewOnes)
	m.row["new-messages"] = float64(fleet.counted().since(sent).messages) / clusterNewOnes
	m.row["new-p50-ms"], m.row["new-p99-ms"] = percentile(called, 50), percentile(called, 99)
	m.row["new-scope-p50-ms"], m.row["new-scope-p99-ms"] = percentile(known, 50), percentile(known, 99)
	m.base.inSync()
	fleet.whole()
}

// burst changes the endpoints of many services at once, each by one write, and waits until all who read them have them.
func (m *clusterScale) burst() {
	hosts := m.used(false)
	hosts = hosts[:min(burst, len(hosts))]
	var names []string
	for _, h := range hosts {
		names = append(names, endpointsAt(h))
	}
	before, w := m.base.status().Revision, m.base.fleet.watch(xds.EndpointsType, names...)
	begun, used, sent := time.Now(), m.spent(), m.base.fleet.counted()
	answered := make([]time.Time, len(hosts))
	var writing errgroup.Group
	writing.SetLimit(burstCallers)
	for i, h := range hosts {
		writing.Go(func() error {
			err := m.move(h)
			answered[i] = time.Now()
			return err
		})
	}
	m.must(writing.Wait())
	written := time.Now()
	m.base.fleet.await(&w.arrivals, "burst")
	at := map[string]time.Time{}
	for i, name := range names {
		at[name] = answered[i]
	}
	var times []float64
	for _, a := range w.seen {
		times = append(times, sinceMS(a.at, at[a.name]))
	}
	m.row["burst-changes"] = float64(len(hosts))
	m.row["burst-written-ms"] = ms(written.Sub(begun))
	m.row["burst-ms"] = sinceMS(w.last, written)
	m.row["burst-p50-ms"], m.row["burst-p99-ms"] = percentile(times, 50), percentile(times, 99)
	m.base.inSync()
	m.cpu("burst", used, 1)
	m.row["burst-messages"] = float64(m.base.fleet.counted().since(sent).messages)
	m.row["burst-snapshots"] = float64(m.base.status().Revision - before)
}

// rounds has the control plane come back several times. The time in the middle counts, and the highest of memory.
func (m *clusterScale) rounds(part string, empty bool) {
	m.Helper()
	var all []row
	peak := 0.0
	for range clusterRounds {
		m.back(part, empty)
		all = append(all, maps.Clone(m.row))
		peak = max(peak, m.row["peak-"+part+"-MiB"])
	}
	slices.SortFunc(all, func(a, b row) int { return cmp.Compare(a[part+"-ms"], b[part+"-ms"]) })
	maps.Copy(m.row, all[len(all)/2])
	m.row["peak-"+part+"-MiB"] = peak
}

// back kills the control plane and starts it again, as a kubelet does; or one in its place, which finds an empty folder.
func (m *clusterScale) back(part string, empty bool) {
	m.Helper()
	sent := m.base.fleet.counted()
	m.base.server.kill()
	if empty {
		m.must(os.RemoveAll(m.base.server.dir))
		m.must(os.Mkdir(m.base.server.dir, 0o700))
	}
	m.base.server.cmd = nil
	m.since(part, func() {
		m.start()
		m.base.inSync()
	})
	m.resent(part, sent)
	_, highest := m.base.server.resident()
	m.row["peak-"+part+"-MiB"] = float64(highest) / (1 << 20)
}

// clusterPart is a part of the measurement, as the table calls it, and what it reads of the row.
type clusterPart struct{ title, name, time, sent string }

// clusterTables returns the tables for the README of one size.
func clusterTables(r row) string {
	var text strings.Builder
	fmt.Fprintf(&text, "\n%.0f services × 2 endpoints, %.0f proxies, %.0f namespaces\n\n", r["services"], r["proxies"], float64(namespaces))
	text.WriteString("| | ms | CPU ms of lateen | API server | etcd | clients | resent or messages |\n|---|---|---|---|---|---|---|\n")
	for _, p := range []clusterPart{
		{"start, until it knows the cluster", "start", "start-ms", ""},
		{"certificates for all", "enrol", "enrol-ms", ""},
		{"cold start, until all are in sync", "cold", "cold-sync-ms", ""},
		{"one endpoint: last reader, p99", "endpoint", "endpoint-last-p99-ms", "endpoint-messages"},
		{"one rule: last reader, p99", "rule", "rule-last-p99-ms", "rule-messages"},
		{"a new service: first call, p99", "new", "new-p99-ms", "new-messages"},
		{"endpoint changes at once: p99", "burst", "burst-p99-ms", "burst-messages"},
		{"all streams lost", "reconnect", "reconnect-ms", "reconnect-resources"},
		{"restart of a container", "restart", "restart-ms", "restart-resources"},
		{"another pod in its place", "replaced", "replaced-ms", "replaced-resources"},
	} {
		fmt.Fprintf(&text, "| %s | %.1f | %.1f | %.1f | %.1f | %.1f | %s |\n", p.title, r[p.time], r[p.name+"-cpu-ms"], r[p.name+"-apiserver-cpu-ms"],
			r[p.name+"-etcd-cpu-ms"], r[p.name+"-clients-cpu-ms"], shown(r, p.sent))
	}
	fmt.Fprintf(&text, "| idle, %% of a processor | | %.2f | %.2f | %.2f | %.2f | |\n", r["idle-cpu-%"], r["idle-apiserver-cpu-%"], r["idle-etcd-cpu-%"], r["idle-clients-cpu-%"])
	for _, line := range []struct {
		title string
		names []string
	}{
		{"cold start: first and last proxy with all it calls, ms", []string{"cold-first-ms", "cold-last-ms"}},
		{"one endpoint: first reader p50, last p50, last p99, ms", []string{"endpoint-first-p50-ms", "endpoint-last-p50-ms", "endpoint-last-p99-ms"}},
		{"one rule: the same", []string{"rule-first-p50-ms", "rule-last-p50-ms", "rule-last-p99-ms"}},
		{"a new service: first call p50, p99; its scope at the last proxy p50, p99, ms", []string{"new-p50-ms", "new-p99-ms", "new-scope-p50-ms", "new-scope-p99-ms"}},
		{"changes at once: how many, all written, after that the last reader, p50, p99, ms; snapshots", []string{"burst-changes", "burst-written-ms", "burst-ms", "burst-p50-ms", "burst-p99-ms", "burst-snapshots"}},
		{"memory of lateen, MiB: cluster known, peak of the cold start, settled, of that no file, heap, peaks of both restarts", []string{"known-MiB", "peak-MiB", "settled-MiB", "anonymous-MiB", "heap-MiB", "peak-restart-MiB", "peak-replaced-MiB"}},
		{"peak memory of API server, etcd, clients, MiB", []string{"apiserver-MiB", "etcd-MiB", "clients-MiB"}},
		{"for each proxy, without scopes: kB, resources; messages", []string{"kB/proxy", "resources/proxy", "messages/proxy"}},
		{"scopes: there are, made, bytes each; kB for each proxy", []string{"scopes", "scopes-made", "bytes/scope", "scope-kB/proxy"}},
	} {
		var values []string
		for _, name := range line.names {
			values = append(values, fmt.Sprintf("%.1f", r[name]))
		}
		fmt.Fprintf(&text, "\n- %s: %s", line.title, strings.Join(values, ", "))
	}
	text.WriteString("\n")
	return text.String()
}

func shown(r row, name string) string {
	if name == "" {
		return ""
	}
	return cmp.Or(strings.TrimSuffix(fmt.Sprintf("%.1f", r[name]), ".0"), "0")
}
