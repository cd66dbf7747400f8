package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// secured is a mesh with one caller, and a callee for each way of securing a port.
type secured struct {
	*meshtest.Mesh
	servers map[string]string
	caller  *meshtest.Instance
	callees map[string]*meshtest.Instance
}

// securedWays are the ways of securing a port, plain text first. The last is a host that is called without mutual TLS, whose
// port takes both.
var securedWays = []struct {
	name   string
	policy mesh.AuthPolicy
}{
	{"none", mesh.AuthNone},
	{"mutual-tls", mesh.AuthMutualTLS},
	{"permissive", mesh.AuthPermissive},
	{"permissive-plain", mesh.AuthPermissive},
}

func newSecured(b *testing.B) *secured {
	b.Helper()
	s := &secured{Mesh: meshtest.New(b), servers: hopServers(b), callees: map[string]*meshtest.Instance{}}
	for _, way := range securedWays {
		spec := meshtest.Spec{Service: way.name, Version: "v1"}
		for _, protocol := range []string{"http", "http2", "grpc"} {
			spec.Ports = append(spec.Ports, meshtest.SpecPort{Name: protocol, Number: hopPorts[protocol], Target: s.servers[protocol]})
		}
		s.callees[way.name] = s.StartSpec(spec)
	}
	s.caller = s.Caller("caller", nil)
	s.Edit(func(r *mesh.Registry) {
		settings := mesh.DefaultSettings
		settings.MTLSExcluded = []mesh.Host{meshtest.HostOf("permissive-plain")}
		r.Settings = &settings
		for i, service := range r.Services {
			changed := *service
			changed.Ports = nil
			for _, p := range service.Ports {
				p.AuthPolicy = policyOf(service.Name)
				changed.Ports = append(changed.Ports, p)
			}
			r.Services[i] = &changed
		}
	})
	return s
}

func policyOf(service string) mesh.AuthPolicy {
	for _, way := range securedWays {
		if way.name == service {
			return way.policy
		}
	}
	return ""
}

// ways returns the ways of securing a port for a protocol.
func (s *secured) ways(b *testing.B, protocol string) []*hopWay {
	b.Helper()
	var ways []*hopWay
	for _, way := range securedWays {
		ways = append(ways, &hopWay{
			name:  way.name,
			load:  newHopLoad(b, protocol, s.caller.Proxy(), fmt.Sprintf("%s:%d", way.name, hopPorts[protocol])),
			procs: []string{envoyIn(b, s.caller.Dir), envoyIn(b, s.callees[way.name].Dir)},
		})
	}
	return ways
}

// handshakes returns how many connections an Envoy has proven and how many of those took up an old session.
func handshakes(b *testing.B, i *meshtest.Instance) (all, resumed int64) {
	b.Helper()
	lines := bufio.NewScanner(bytes.NewReader(i.Admin("/stats?filter=^listener\\..*\\.ssl\\.(handshake|session_reused)$")))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		if strings.HasSuffix(name, "session_reused") {
			resumed += n
		} else {
			all += n
		}
	}
	return all, resumed
}

// report tells what the ways cost, beside plain text.
func (s *secured) report(b *testing.B, title string, ways []*hopWay) {
	b.Helper()
	plain := ways[0]
	tell(title, ways, plain)
	b.ReportMetric(0, "ns/op") // one operation is all rounds
	for _, w := range ways[1:] {
		b.ReportMetric(w.ratio(plain, cpuFor), w.name+"-cpu/none")
		b.ReportMetric(w.ratio(plain, rateOf), w.name+"-rate/none")
	}
}

// What mutual TLS adds to a request through two sidecars, on connections that stay.
func BenchmarkMutualTLS(b *testing.B) {
	s := newSecured(b)
	for _, protocol := range []string{"http", "http2", "grpc"} {
		b.Run(protocol, func(b *testing.B) {
			ways := s.ways(b, protocol)
			measure(b, ways)
			s.report(b, protocol, ways)
		})
	}
}

// renew has every request use a connection of its own between the proxies.
func (s *secured) renew() {
	for _, way := range securedWays {
		s.Apply(fmt.Sprintf("apiVersion: config.istio.io/v1alpha2\nkind: DestinationPolicy\nmetadata: {name: %s}\n"+
			"spec: {destination: {name: %s}, circuitBreaker: {simpleCb: {httpMaxRequestsPerConnection: 1}}}\n", way.name, way.name))
	}
}

// What a connection between two sidecars costs: every request has one of its own. What it adds to the same without TLS is the
// handshake.
func BenchmarkHandshake(b *testing.B) {
	s := newSecured(b)
	s.renew()
	ways := s.ways(b, "http")
	before, _ := handshakes(b, s.callees["mutual-tls"])
	measure(b, ways)
	s.report(b, "new connections", ways)
	plain, proven := ways[0], ways[1]
	b.ReportMetric(proven.median(cpuFor)-plain.median(cpuFor), "handshake-cpu-µs")
	for _, w := range ways {
		w.load.open, w.load.took = w.load.open[:1], w.load.took[:1] // else most of the time is spent waiting for others
	}
	measure(b, ways)
	tell("one at a time", ways, plain)
	b.ReportMetric(proven.median(p50Of)-plain.median(p50Of), "handshake-p50-µs")
	all, resumed := handshakes(b, s.callees["mutual-tls"])
	if all-before < hopRounds || resumed > 0 {
		b.Errorf("%d handshakes, %d of them with an old session", all-before, resumed)
	}
	b.ReportMetric(float64(resumed), "resumed")
}

// securedParts are what a port with mutual TLS does that another one does not, and what all ports do since there is mutual TLS.
var securedParts = []hopPart{
	{"nothing", func(any) {}},
	{"TLS", without("transport_socket", "transport_socket_matches", "filter_chain_match", "listener_filters")},
	{"telling TLS from plain text", without("filter_chain_match", "listener_filters")},
	{"address in the certificate", withoutFilters("envoy.filters.network.rbac", "envoy.filters.network.set_filter_state")},
	{"log of those turned away", func(config any) {
		visit(config, func(o map[string]any) {
			if _, ok := o["filter_chains"]; ok {
				delete(o, "access_log")
			}
		})
	}},
	{"access log", without("access_log")},
	{"x-forwarded-client-cert", without("forward_client_cert_details", "set_current_client_cert_details")},
}

// What each part of mutual TLS costs a request on a connection that stays, and one with a connection of its own.
func BenchmarkMutualTLSParts(b *testing.B) {
	for _, title := range []string{"kept", "new"} {
		b.Run(title, func(b *testing.B) {
			s := newSecured(b)
			if title == "new" {
				s.renew()
			}
			ways := s.ways(b, "http")[:2]
			ours := ways[1]
			ours.round(b, hopWarm) // now the caller knows the host
			o := original{s.caller, s.callees[ours.name], ours.name}
			whole := o.copied(b, hopPart{"copy", func(any) {}})
			ways = append([]*hopWay{whole}, ways...)
			for _, p := range securedParts {
				ways = append(ways, o.copied(b, p))
			}
			measure(b, ways)
			tell(title+" connections, without", ways, whole)
			b.ReportMetric(0, "ns/op") // one operation is all rounds
			b.ReportMetric(whole.ratio(ours, cpuFor), "copy-cpu/mesh")
		})
	}
}
