package serve

import (
	"maps"
	"runtime"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
)

// Metric describes one metric of the control plane.
type Metric struct {
	Name   string
	Kind   string // "counter", "gauge" or "histogram"
	Labels []string
	Help   string
}

// Metrics lists the metrics of the control plane, beside those of the Go runtime and of the process.
func Metrics() []Metric {
	list := make([]Metric, len(families))
	for i, f := range families {
		list[i] = f.Metric
	}
	return list
}

// Kinds of metrics, and the labels that they have. What a label may say is a short, fixed list: no names of proxies,
// hosts or objects.
const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"

	byType  = "type"       // of a resource: "cluster"
	byProxy = "proxy_type" // "sidecar"
)

// family is a metric with what reads it.
type family struct {
	Metric
	read func(*reading, *sink)
}

// reading is what is read once for all metrics of one answer.
type reading struct {
	plane    *Plane
	counters *push.Counters
	size     push.Size

	authority *ca.Status // nil: there is none
}

// sink takes the values of one metric.
type sink struct {
	desc *prometheus.Desc
	kind string
	out  chan<- prometheus.Metric
}

// number takes a value, with those of the labels.
func (s *sink) number(n int64, labels ...string) {
	kind := prometheus.GaugeValue
	if s.kind == counter {
		kind = prometheus.CounterValue
	}
	s.out <- prometheus.MustNewConstMetric(s.desc, kind, float64(n), labels...)
}

func (s *sink) times(t *push.Times, labels ...string) {
	count, sum, upTo := t.Read()
	buckets := make(map[float64]uint64, len(upTo))
	for i, n := range upTo {
		buckets[push.TimeBounds[i].Seconds()] = n
	}
	s.out <- prometheus.MustNewConstHistogram(s.desc, count, sum.Seconds(), buckets, labels...)
}

var families = append([]family{
	{
		Metric{"lateen_build_info", gauge, []string{"version", "go_version"}, "1, with the versions of Lateen and of Go."},
		func(r *reading, to *sink) { to.number(1, r.plane.config.Version, runtime.Version()) },
	},
	{
		Metric{"lateen_ready", gauge, nil, "Whether every source has reported or something is kept of it, 0 or 1."},
		func(r *reading, to *sink) {
			var ready int64
			if len(r.plane.store.Missing()) == 0 {
				ready = 1
			}
			to.number(ready)
		},
	},
	{
		Metric{"lateen_sources_stale", gauge, nil, "Sources that have not reported, and of which what is kept counts."},
		func(r *reading, to *sink) { to.number(int64(len(r.plane.store.Stale()))) },
	},
	{
		Metric{"lateen_changes_total", counter, []string{"class"}, "Changes that sources have handed in, of objects and of registries (what runs)."},
		func(r *reading, to *sink) {
			to.number(r.plane.store.Counters().ObjectEvents(), "objects")
			to.number(r.plane.store.Counters().RegistryEvents(), "registries")
		},
	},
	{
		Metric{"lateen_changes_merged_total", counter, nil, "Changes that made one snapshot together with one before them."},
		func(r *reading, to *sink) { to.number(r.plane.store.Counters().Merged.Load()) },
	},
	{
		Metric{"lateen_snapshots_total", counter, nil, "Snapshots published."},
		func(r *reading, to *sink) { to.number(r.plane.store.Counters().Published.Load()) },
	},
	{
		Metric{"lateen_snapshot_parts_total", counter, nil, "Parts of snapshots that were made anew, such as the endpoints of a service."},
		func(r *reading, to *sink) { to.number(r.plane.store.Counters().Parts.Load()) },
	},
	{
		Metric{"lateen_snapshot_revision", gauge, nil, "Revision of the newest snapshot."},
		func(r *reading, to *sink) { to.number(r.plane.store.Snapshot().Revision()) },
	},
	{
		Metric{"lateen_webhook_answers_total", counter, []string{"path", "result"}, "Answers to the API server about pods (/mutate) and objects (/validate): patched, allowed, refused, failed (it was told to go by its failure policy), bad (it was no question)."},
		func(r *reading, to *sink) {
			if r.plane.config.Shared.Answers == nil {
				return
			}
			for answer, n := range r.plane.config.Shared.Answers() {
				to.number(int64(n), answer.Path, answer.Result) //nolint:gosec // a count
			}
		},
	},
	{
		Metric{"lateen_handovers_moving", gauge, nil, "Hosts on their way from one way of securing their ports, or from one set of identities, to another."},
		func(r *reading, to *sink) { to.number(int64(r.plane.handovers.Count())) },
	},
	{
		Metric{"lateen_handover_steps_total", counter, nil, "Steps that hosts have taken on such ways, each after all proxies had confirmed the one before."},
		func(r *reading, to *sink) { to.number(r.plane.store.Counters().Steps.Load()) },
	},
	{
		Metric{"lateen_objects", gauge, []string{"kind"}, "Objects in watched files and written with commands, also those with errors."},
		func(r *reading, to *sink) { r.plane.countObjects(to) },
	},
	{
		Metric{"lateen_problems", gauge, []string{"severity"}, "Problems of objects, also that proxies refuse what they lead to."},
		func(r *reading, to *sink) { r.plane.countProblems(to) },
	},
	perType("lateen_views_cut_total", "Views cut from a snapshot.", func(c *push.Counters) *push.Tally { return c.Cuts }),
	perType("lateen_resources_reused_total", "Views that were cut and whose resource was known.",
		func(c *push.Counters) *push.Tally { return c.Hits }),
	perType("lateen_resources_made_total", "Resources made from a view that was not known.",
		func(c *push.Counters) *push.Tally { return c.Makes }),
	{
		Metric{"lateen_resources", gauge, nil, "Distinct resources in memory."},
		func(r *reading, to *sink) { to.number(int64(r.size.Resources)) },
	},
	{
		Metric{"lateen_resource_bytes", gauge, nil, "Bytes of the distinct resources in memory."},
		func(r *reading, to *sink) { to.number(int64(r.size.Bytes)) },
	},
	{
		Metric{"lateen_resources_subscribed", gauge, nil, "Resources that proxies subscribe to, each once for all callers that it treats alike."},
		func(r *reading, to *sink) { to.number(int64(r.size.Subscribed)) },
	},
	{
		Metric{"lateen_build_duration_seconds", histogram, nil, "Time from a snapshot to Envoy's message: the view and, if it was not known, plan and message."},
		func(r *reading, to *sink) { to.times(&r.counters.Build) },
	},
	{
		Metric{"lateen_marshal_duration_seconds", histogram, nil, "Time from Envoy's message to its bytes."},
		func(r *reading, to *sink) { to.times(&r.counters.Marshal) },
	},
	perType("lateen_resources_sent_total", "Resources sent to proxies.", func(c *push.Counters) *push.Tally { return c.Sends }),
	perType("lateen_resource_bytes_sent_total", "Bytes of the resources sent to proxies.",
		func(c *push.Counters) *push.Tally { return c.Bytes }),
	perType("lateen_acks_total", "Responses that proxies have confirmed.", func(c *push.Counters) *push.Tally { return c.Acks }),
	perType("lateen_nacks_total", "Responses that proxies have refused.", func(c *push.Counters) *push.Tally { return c.Nacks }),
	{
		Metric{"lateen_resources_refused", gauge, nil, "Resources that connected proxies have refused and do without."},
		func(r *reading, to *sink) { to.number(int64(r.size.Refused)) },
	},
	{
		Metric{"lateen_change_to_ack_seconds", histogram, []string{byType}, "Time from a snapshot that changed a resource to a proxy's confirmation of that version."},
		func(r *reading, to *sink) {
			for _, kind := range slices.Sorted(maps.Keys(r.counters.Travels)) {
				to.times(r.counters.Travels[kind], string(kind))
			}
		},
	},
	{
		Metric{"lateen_proxies", gauge, []string{byProxy}, "Connected proxies."},
		func(r *reading, to *sink) { putSizes(r.size.Proxies, to) },
	},
	{
		Metric{"lateen_proxies_pending", gauge, nil, "Connected proxies that have not confirmed all that concerns them."},
		func(r *reading, to *sink) { to.number(int64(r.size.Pending)) },
	},
	{
		Metric{"lateen_streams", gauge, []string{byProxy}, "Open streams of proxies."},
		func(r *reading, to *sink) { putSizes(r.size.Streams, to) },
	},
	{
		Metric{"lateen_streams_waiting", gauge, nil, "Open streams whose proxy waits, since its workload is not known or nothing is known yet."},
		func(r *reading, to *sink) { to.number(int64(r.size.Waiting)) },
	},
	{
		Metric{"lateen_streams_opened_total", counter, []string{byProxy}, "Streams of known proxies that were opened."},
		func(r *reading, to *sink) {
			r.counters.Opened.Each(func(t string, n int64) { to.number(n, t) })
		},
	},
	{
		Metric{"lateen_streams_closed_total", counter, []string{byProxy}, "Streams of known proxies that have ended."},
		func(r *reading, to *sink) {
			r.counters.Closed.Each(func(t string, n int64) { to.number(n, t) })
		},
	},
}, authorityFamilies...)

func perType(name, help string, of func(*push.Counters) *push.Tally) family {
	return family{Metric{name, counter, []string{byType}, help}, func(r *reading, to *sink) {
		of(r.counters).Each(func(kind string, n int64) { to.number(n, kind) })
	}}
}

func putSizes(sizes map[mesh.ProxyType]int, to *sink) {
	for _, t := range slices.Sorted(maps.Keys(sizes)) {
		to.number(int64(sizes[t]), string(t))
	}
}

func (p *Plane) countObjects(to *sink) {
	const unknown = "other"
	counts := map[string]int{}
	for _, k := range Kinds() {
		counts[k.Name] = 0
	}
	for _, o := range p.store.Objects() {
		kind := o.Kind
		if _, known := counts[kind]; !known {
			kind = unknown
		}
		counts[kind]++
	}
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		to.number(int64(counts[kind]), kind)
	}
}

func (p *Plane) countProblems(to *sink) {
	counts := map[mesh.Severity]int{}
	for _, problem := range slices.Concat(p.store.Problems(), p.engine.Problems()) {
		counts[problem.Severity]++
	}
	for _, s := range []mesh.Severity{mesh.Error, mesh.Warning} {
		to.number(int64(counts[s]), string(s))
	}
}

// ofAuthority reads a metric of the certificate authority, if there is one.
func ofAuthority(read func(*ca.Status, *sink)) func(*reading, *sink) {
	return func(r *reading, to *sink) {
		if r.authority != nil {
			read(r.authority, to)
		}
	}
}

// collector reads the metrics when they are asked for.
type collector struct {
	plane *Plane
	descs []*prometheus.Desc
}

// metrics are those of the control plane, of the Go runtime and of the process.
func (p *Plane) metrics() prometheus.Gatherer {
	c := &collector{plane: p}
	for _, f := range families {
		c.descs = append(c.descs, prometheus.NewDesc(f.Name, f.Help, f.Labels, nil))
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// Describe tells of all metrics that there may be.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect reads them.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	r := &reading{plane: c.plane, counters: c.plane.engine.Counters(), size: c.plane.engine.Size()}
	if c.plane.ca != nil {
		status := c.plane.ca.Status()
		r.authority = &status
	}
	for i, f := range families {
		f.read(r, &sink{c.descs[i], f.Kind, out})
	}
}
