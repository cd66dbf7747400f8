package checkup

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/local"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// unprovenProblem is told of ports, from what runs.
const unprovenProblem = local.CodeNoIdentity

// ports judges what the ports of services ask of callers.
func (f *facts) ports() (string, []Finding) {
	if f.away != nil {
		return notKnown, nil
	}
	var findings []Finding
	count := map[mesh.AuthPolicy]int{}
	var open []string
	excluded := 0
	for i := range f.services {
		svc := &f.services[i]
		if svc.Excluded {
			excluded++
		}
		for _, p := range svc.Ports {
			count[p.Policy]++
			switch {
			case p.Policy == mesh.AuthNone:
				open = append(open, f.portName(svc.Host, p.Number))
			case p.Policy == mesh.AuthMutualTLS && !svc.Excluded:
				findings = append(findings, f.unproven(svc, p)...)
			}
		}
	}
	findings = append(openPorts(open), findings...)
	var parts []string
	for _, policy := range []mesh.AuthPolicy{mesh.AuthMutualTLS, mesh.AuthPermissive, mesh.AuthNone} {
		if n := count[policy]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, policy))
		}
	}
	if len(parts) == 0 {
		return "none", findings
	}
	if excluded > 0 {
		parts = append(parts, number(excluded, "service")+" excluded")
	}
	return strings.Join(parts, ", "), findings
}

// openPorts tells in one finding of all ports that are open, however many they are.
func openPorts(names []string) []Finding {
	if len(names) == 0 {
		return nil
	}
	message := "its policy is NONE: everybody can call it, and nobody proves who it is"
	if len(names) > 1 {
		message = fmt.Sprintf("the policy of %s is NONE: everybody can call them, and nobody proves who it is", number(len(names), "port"))
	}
	return []Finding{{
		Severity: Warning, Code: OpenPort, Subject: listed(names, shownSources), Message: message, Count: len(names),
		Fix: "take away what says NONE, settings.authPolicy or the annotations auth.istio.io/PORT: " +
			"with PERMISSIVE those who can prove who they are do, and nobody is refused",
	}}
}

// unproven finds the endpoints of a port that cannot do what it asks for.
func (f *facts) unproven(svc *api.Service, p api.ServicePort) []Finding {
	var names []string
	for i := range svc.Endpoints {
		if e := &svc.Endpoints[i]; e.Identity == "" {
			name := e.Address
			if e.Workload != "" {
				name = e.Workload + " (" + e.Address + ")"
			}
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	severity, rest := Warning, "the others get all calls"
	if len(names) == len(svc.Endpoints) {
		severity, rest = Error, "nobody can call it"
	}
	return []Finding{{
		Severity: severity, Code: UnprovenEndpoint, Subject: f.portName(svc.Host, p.Number), Count: len(names),
		Message: fmt.Sprintf("its policy is MUTUAL_TLS, and %s cannot prove who it is, having no sidecar: %s", listed(names, shownSources), rest),
		Fix: fmt.Sprintf("annotate the service with auth.istio.io/%d: PERMISSIVE, name it in settings.mtlsExcludedServices, or give the workload a sidecar",
			p.Number),
	}}
}

// portName returns "reviews.default:9080".
func (f *facts) portName(host mesh.Host, port int) string {
	return net.JoinHostPort(shortHost(host), strconv.Itoa(port))
}

// shortHost returns "reviews.default" for "reviews.default.svc.cluster.local", and other hosts as they are.
func shortHost(host mesh.Host) string {
	short, _, ok := strings.Cut(string(host), ".svc.")
	if !ok || strings.Count(short, ".") != 1 {
		return string(host)
	}
	return short
}

// port returns the port of a service, or false.
func (f *facts) port(host mesh.Host, number int) (*api.Service, api.ServicePort, bool) {
	i, ok := slices.BinarySearchFunc(f.services, host, func(s api.Service, h mesh.Host) int { return strings.Compare(string(s.Host), string(h)) })
	if !ok {
		return nil, api.ServicePort{}, false
	}
	for _, p := range f.services[i].Ports {
		if p.Number == number {
			return &f.services[i], p, true
		}
	}
	return nil, api.ServicePort{}, false
}
