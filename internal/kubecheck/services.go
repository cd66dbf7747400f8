package kubecheck

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lateen-mesh/lateen/internal/checkup"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// servicesArea judges the ports of services that pods with a proxy serve.
func (f *facts) servicesArea() (string, []checkup.Finding) {
	if f.noServices || f.noPods {
		return notKnown, nil
	}
	var unknown, silent []checkup.Finding
	served := 0
	for i := range f.services {
		s := &f.services[i]
		pods := f.behind(s)
		if len(pods) == 0 {
			continue
		}
		served++
		for j := range s.Spec.Ports {
			p := &s.Spec.Ports[j]
			at := fmt.Sprintf("%s.%s:%d", s.Name, s.Namespace, p.Port)
			if !namesProtocol(p) {
				unknown = append(unknown, checkup.Finding{
					Severity: checkup.Warning, Code: ProtocolUnknown, Subject: at,
					Message: fmt.Sprintf("neither its appProtocol nor its name %q says what it speaks: it is taken for TCP, and no rule for requests concerns it", p.Name),
					Fix:     "set appProtocol, or let the name begin with http-, http2-, grpc-, https- or tcp-",
				})
			}
			if f.strict(s, p) {
				silent = append(silent, tcpProbes(at, p, pods)...)
			}
		}
	}
	return fmt.Sprintf("%s served by pods with a proxy", number(served, "service")), slices.Concat(bounded(unknown), bounded(silent), f.selectors())
}

// behind returns the pods with a proxy that a service selects.
func (f *facts) behind(s *corev1.Service) []*corev1.Pod {
	if len(s.Spec.Selector) == 0 {
		return nil
	}
	selector := labels.SelectorFromSet(s.Spec.Selector)
	var pods []*corev1.Pod
	for i := range f.pods {
		if p := &f.pods[i]; p.Namespace == s.Namespace && selector.Matches(labels.Set(p.Labels)) {
			pods = append(pods, p)
		}
	}
	return pods
}

// namesProtocol tells whether a port says what it speaks.
func namesProtocol(p *corev1.ServicePort) bool {
	if p.AppProtocol != nil && *p.AppProtocol != "" || p.Protocol == corev1.ProtocolUDP || p.Protocol == corev1.ProtocolSCTP {
		return true
	}
	if mesh.ProtocolOf(p.Name) != mesh.TCP {
		return true
	}
	word, _, _ := strings.Cut(strings.ToLower(p.Name), "-")
	switch word {
	case "tcp", "tls", "mongo", "mysql", "redis", "udp":
		return true
	}
	return false
}

// strict tells whether callers of a port have to prove who they are, as far as the control plane has said so.
func (f *facts) strict(s *corev1.Service, p *corev1.ServicePort) bool {
	for i := range f.known {
		if !strings.HasPrefix(string(f.known[i].Host), s.Name+"."+s.Namespace+".") {
			continue
		}
		for _, known := range f.known[i].Ports {
			if known.Number == int(p.Port) {
				return known.Policy == mesh.AuthMutualTLS
			}
		}
	}
	return false
}

// tcpProbes finds probes that only connect to a port whose callers have to prove who they are: the proxy takes the connection,
// whatever becomes of the application.
func tcpProbes(at string, p *corev1.ServicePort, pods []*corev1.Pod) []checkup.Finding {
	for _, pod := range pods {
		for i := range pod.Spec.Containers {
			c := &pod.Spec.Containers[i]
			for _, probe := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
				if probe == nil || probe.TCPSocket == nil || portNumber(c, probe.TCPSocket.Port) != targetOf(p, c) || targetOf(p, c) < 0 {
					continue
				}
				return []checkup.Finding{{
					Severity: checkup.Warning, Code: ProbeSaysNothing, Subject: at,
					Message: fmt.Sprintf("container %s of pod %s/%s has a probe that connects to it and asks nothing: the proxy takes the connection, so it succeeds even if the application is not there", c.Name, pod.Namespace, pod.Name),
					Fix:     "use an httpGet, grpc or exec probe",
				}}
			}
		}
	}
	return nil
}

// targetOf returns the port of a container that a port of a service leads to, or -1.
func targetOf(p *corev1.ServicePort, c *corev1.Container) int {
	if p.TargetPort == (intstr.IntOrString{}) {
		return int(p.Port)
	}
	return portNumber(c, p.TargetPort)
}

// portNumber returns the number of a container's port, -1 if it has none of that name.
func portNumber(c *corev1.Container, port intstr.IntOrString) int {
	if port.Type == intstr.Int {
		return port.IntValue()
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return int(p.ContainerPort)
		}
	}
	return -1
}
