package bench

import (
	"net"
	"strconv"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// capturedHop is a network of pods: one that calls and three that are called, and one of each that has no sidecar.
type capturedHop struct {
	*meshtest.Mesh
	plain   *netns.Pod // calls without a sidecar
	bare    *netns.Pod // is called without one
	caller  *meshtest.Instance
	callees map[mesh.AuthPolicy]*meshtest.Instance
}

// capturedServices are those with a sidecar: "mutual-tls" has each hop proven, "none" none.
var capturedServices = map[mesh.AuthPolicy]string{mesh.AuthMutualTLS: "mutual-tls", mesh.AuthNone: "none"}

func newCapturedHop(b *testing.B) *capturedHop {
	b.Helper()
	h := &capturedHop{Mesh: meshtest.NewCaptured(b, meshtest.Config{}), callees: map[mesh.AuthPolicy]*meshtest.Instance{}}
	h.plain, h.bare = h.Network().Pod("plain"), h.Network().Pod("bare")
	serve := func(p *netns.Pod) {
		hopServersOn(b, func(protocol string) net.Listener { return p.Listen(":" + strconv.Itoa(hopPorts[protocol])) })
	}
	serve(h.bare)
	for policy, service := range capturedServices {
		spec := meshtest.Spec{Service: service, Version: "v1", Capture: true}
		for protocol, port := range hopPorts {
			spec.Ports = append(spec.Ports, meshtest.SpecPort{Name: protocol, Number: port})
		}
		h.callees[policy] = h.StartSpec(spec)
		serve(h.callees[policy].Pod())
	}
	h.caller = h.CapturedCaller("caller", nil)
	h.Edit(func(r *mesh.Registry) {
		for i, service := range r.Services {
			changed := *service
			changed.Ports = nil
			for _, p := range service.Ports {
				p.AuthPolicy = mesh.AuthNone
				if service.Name == capturedServices[mesh.AuthMutualTLS] {
					p.AuthPolicy = mesh.AuthMutualTLS
				}
				changed.Ports = append(changed.Ports, p)
			}
			r.Services[i] = &changed
		}
	})
	return h
}

// ways returns the ways for a protocol: from pod to pod without sidecars first.
func (h *capturedHop) ways(b *testing.B, protocol string) []*hopWay {
	b.Helper()
	port := strconv.Itoa(hopPorts[protocol])
	ways := []*hopWay{{name: "no-sidecars", load: dialledHopLoad(b, protocol, "bare:"+port, func() (net.Conn, error) {
		return h.plain.Dial(b.Context(), "tcp", net.JoinHostPort(h.bare.Address, port))
	})}}
	for _, policy := range []mesh.AuthPolicy{mesh.AuthNone, mesh.AuthMutualTLS} {
		service := capturedServices[policy]
		ways = append(ways, &hopWay{
			name:  "captured-" + service,
			load:  dialledHopLoad(b, protocol, service+":"+port, func() (net.Conn, error) { return h.caller.DialFrom(service + ":" + port) }),
			procs: []string{envoyIn(b, h.caller.Dir), envoyIn(b, h.callees[policy].Dir)},
		})
	}
	return ways
}

// What a hop between two captured pods costs, by the address of a service, in plain text and with mutual TLS, beside the same
// between two pods that have no sidecar.
func BenchmarkCapturedHop(b *testing.B) {
	netns.RunBenchmark(b, func(b *testing.B) {
		b.Helper()
		h := newCapturedHop(b)
		for _, protocol := range []string{"http", "http2", "grpc"} {
			ways := h.ways(b, protocol)
			measure(b, ways)
			without := ways[0]
			tell(protocol, ways, without)
			for _, w := range ways[1:] {
				b.ReportMetric(w.median(p50Of)-without.median(p50Of), protocol+"-"+w.name+"-p50-more-µs")
				b.ReportMetric(w.median(cpuFor), protocol+"-"+w.name+"-cpu-µs")
			}
		}
		b.ReportMetric(0, "ns/op") // one operation is all rounds
	})
}
