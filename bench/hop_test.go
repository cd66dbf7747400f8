package bench

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

const (
	hopRounds = 32
	hopRound  = 200 * time.Millisecond
	hopWarm   = 300 * time.Millisecond
)

// hopPorts are the service ports of the protocols; the name of a port tells what is spoken on it.
var hopPorts = map[string]int{"http": 8080, "http2": 8082, "grpc": 8083}

// hopWay is one way to an application.
type hopWay struct {
	name  string
	load  *hopLoad
	procs []string // of the Envoys on it
	seen  []hopSample
}

// hopSample is what one round measured.
type hopSample struct {
	rate     float64 // requests per second
	p50, p99 float64 // µs
	cpu      float64 // µs of the Envoys for a request
}

func (w *hopWay) round(b *testing.B, length time.Duration) hopSample {
	b.Helper()
	before, err := cpuOf(w.procs)
	if err != nil {
		b.Fatal(err)
	}
	begun := time.Now()
	took, err := w.load.run(length)
	if err != nil {
		b.Fatalf("%s: %v", w.name, err)
	}
	passed := time.Since(begun)
	after, err := cpuOf(w.procs)
	if err != nil {
		b.Fatal(err)
	}
	n := len(took)
	micro := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	return hopSample{
		rate: float64(n) / passed.Seconds(), p50: micro(took[n/2]), p99: micro(took[n*99/100]), cpu: micro(after-before) / float64(n),
	}
}

// measure runs the ways in turn, round by round, each time in another order.
func measure(b *testing.B, ways []*hopWay) {
	b.Helper()
	for _, w := range ways {
		w.seen = nil
		w.round(b, hopWarm)
	}
	for r := range hopRounds {
		order := slices.Concat(ways[r/2%len(ways):], ways[:r/2%len(ways)])
		if r%2 == 1 {
			slices.Reverse(order)
		}
		for _, w := range order {
			w.seen = append(w.seen, w.round(b, hopRound))
		}
	}
}

// median of what is read from each round.
func (w *hopWay) median(read func(hopSample) float64) float64 {
	values := make([]float64, len(w.seen))
	for i, s := range w.seen {
		values[i] = read(s)
	}
	return medianOf(values)
}

// ratio is the median of what a round of this way has over the same round of another.
func (w *hopWay) ratio(to *hopWay, read func(hopSample) float64) float64 {
	values := make([]float64, len(w.seen))
	for i, s := range w.seen {
		values[i] = read(s) / read(to.seen[i])
	}
	return medianOf(values)
}

func medianOf(values []float64) float64 {
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

func rateOf(s hopSample) float64 { return s.rate }
func cpuFor(s hopSample) float64 { return s.cpu }
func p50Of(s hopSample) float64  { return s.p50 }
func p99Of(s hopSample) float64  { return s.p99 }

// tell writes the table of what was measured; ratios are to one of the ways.
func tell(title string, ways []*hopWay, to *hopWay) {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "%s\trequests/s\tp50 µs\tp99 µs\tCPU µs\trequests/s ratio\tp50 ratio\tCPU ratio\t\n", title)
	for _, w := range ways {
		fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%.0f\t%.1f\t%.3f\t%.3f\t", w.name,
			w.median(rateOf), w.median(p50Of), w.median(p99Of), w.median(cpuFor), w.ratio(to, rateOf), w.ratio(to, p50Of))
		if len(w.procs) > 0 && len(to.procs) > 0 {
			fmt.Fprintf(table, "%.3f", w.ratio(to, cpuFor))
		}
		fmt.Fprint(table, "\t\n")
	}
	_ = table.Flush() // into a buffer
	fmt.Fprint(os.Stdout, "\n", text.String())
}

// A request through two sidecars of a real mesh, through two hand-written Envoys of the same binary, and straight to
// the application: what a request costs the Envoys, and what of the throughput is left. The last two ways have one
// sidecar of the mesh and one hand-written Envoy.
func BenchmarkSidecarHop(b *testing.B) {
	h := newHop(b)
	for _, protocol := range []string{"http", "http2", "grpc"} {
		b.Run(protocol, func(b *testing.B) {
			ways := h.ways(b, protocol)
			measure(b, ways)
			hand := ways[1]
			tell(protocol, ways, hand)
			b.ReportMetric(0, "ns/op") // one operation is all rounds
			for _, w := range ways[2:] {
				b.ReportMetric(w.ratio(hand, cpuFor), w.name+"-cpu/hand")
				b.ReportMetric(w.ratio(hand, rateOf), w.name+"-rate/hand")
			}
		})
	}
}

// hop holds what the ways are made of.
type hop struct {
	servers             map[string]string
	logging, quiet      hopMesh
	caller, callee      string // folders of the hand-written Envoys
	toCallee, toSidecar map[string]leg
}

// hopMesh is a mesh with a caller and a callee.
type hopMesh struct {
	*meshtest.Mesh
	caller, callee *meshtest.Instance
}

func newHop(b *testing.B) *hop {
	b.Helper()
	h := &hop{servers: hopServers(b), toCallee: map[string]leg{}, toSidecar: map[string]leg{}}
	h.logging, h.quiet = newHopMesh(b, h.servers, false), newHopMesh(b, h.servers, true)
	var caller, callee []leg
	hand := mesh.EndpointSet{Host: meshtest.HostOf("hand"), Endpoints: []mesh.Endpoint{{
		Address: "127.0.0.1", Ports: map[string]int{}, Workload: "hand", Health: mesh.Healthy,
	}}}
	service := &mesh.Service{Host: hand.Host, Name: "hand", Namespace: meshtest.Namespace}
	for protocol, port := range hopPorts {
		in := newLeg(b, "callee", protocol, h.servers[protocol])
		h.toCallee[protocol] = newLeg(b, "to-callee", protocol, in.at())
		h.toSidecar[protocol] = newLeg(b, "to-sidecar", protocol, fmt.Sprintf("%s:%d", h.quiet.callee.Address, port))
		caller, callee = append(caller, h.toCallee[protocol], h.toSidecar[protocol]), append(callee, in)
		hand.Endpoints[0].Ports[protocol] = in.Port
		service.Ports = append(service.Ports, mesh.Port{Name: protocol, Number: port, Protocol: mesh.ProtocolOf(protocol)})
	}
	slices.SortFunc(service.Ports, func(a, b mesh.Port) int { return a.Number - b.Number })
	h.caller, h.callee = startHandWritten(b, caller), startHandWritten(b, callee)
	h.quiet.AddRegistry(mesh.Registry{Services: []*mesh.Service{service}, Endpoints: []*mesh.EndpointSet{&hand}})
	return h
}

func newHopMesh(b *testing.B, servers map[string]string, noLog bool) hopMesh {
	b.Helper()
	m := hopMesh{Mesh: meshtest.New(b)}
	m.Set(func(s *mesh.Settings) { s.NoAccessLog, s.AuthPolicy = noLog, mesh.AuthNone }) // as what was written by hand
	spec := meshtest.Spec{Service: "hop", Version: "v1"}
	for _, protocol := range []string{"http", "http2", "grpc"} {
		spec.Ports = append(spec.Ports, meshtest.SpecPort{Name: protocol, Number: hopPorts[protocol], Target: servers[protocol]})
	}
	m.callee = m.StartSpec(spec)
	m.caller = m.Caller("caller", nil)
	return m
}

// ways returns the ways for a protocol, the direct one and the hand-written one first.
func (h *hop) ways(b *testing.B, protocol string) []*hopWay {
	b.Helper()
	authority := fmt.Sprintf("hop:%d", hopPorts[protocol])
	toHand := fmt.Sprintf("hand:%d", hopPorts[protocol])
	way := func(name, address, authority string, dirs ...string) *hopWay {
		w := &hopWay{name: name, load: newHopLoad(b, protocol, address, authority)}
		for _, dir := range dirs {
			w.procs = append(w.procs, envoyIn(b, dir))
		}
		return w
	}
	l, q := h.logging, h.quiet
	return []*hopWay{
		way("direct", h.servers[protocol], authority),
		way("hand", h.toCallee[protocol].at(), authority, h.caller, h.callee),
		way("lateen", l.caller.Proxy(), authority, l.caller.Dir, l.callee.Dir),
		way("lateen-no-log", q.caller.Proxy(), authority, q.caller.Dir, q.callee.Dir),
		way("caller-only", q.caller.Proxy(), toHand, q.caller.Dir, h.callee),
		way("callee-only", h.toSidecar[protocol].at(), authority, h.caller, q.callee.Dir),
	}
}
