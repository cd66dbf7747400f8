package kube

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// protocolOf reads the protocol of a port from its appProtocol, and where that says nothing that is known from its name.
func protocolOf(appProtocol *string, portName string) mesh.Protocol {
	switch strings.ToLower(valueOf(appProtocol)) {
	case "http", "kubernetes.io/ws", "grpc-web":
		return mesh.HTTP
	case "http2", "h2c", "kubernetes.io/h2c":
		return mesh.HTTP2
	case "grpc":
		return mesh.GRPC
	case "https", "kubernetes.io/wss":
		return mesh.HTTPS
	case "tcp", "tls", "mongo", "mysql", "redis":
		return mesh.TCP
	default:
		return mesh.ProtocolOf(portName)
	}
}

// probesOf returns the probes that reach a port of a pod's containers, and the hooks that do, but for those of its proxy.
func probesOf(spec *corev1.PodSpec) []mesh.Probe {
	var probes []mesh.Probe
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			c := &list[i]
			if c.Name == mesh.ProxyContainer {
				continue
			}
			for _, asked := range asksOf(c) {
				if probe, ok := probeOf(c, asked); ok {
					probes = append(probes, probe)
				}
			}
		}
	}
	slices.SortFunc(probes, mesh.Probe.Compare)
	return slices.Compact(probes)
}

// asksOf returns what the node does to find out how a container is, and to tell it that it has begun and that it is about to end.
func asksOf(c *corev1.Container) []corev1.ProbeHandler {
	var all []corev1.ProbeHandler
	for _, p := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
		if p != nil {
			all = append(all, p.ProbeHandler)
		}
	}
	if c.Lifecycle == nil {
		return all
	}
	for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
		if h != nil { // the node does nothing about a tcpSocket of a hook
			all = append(all, corev1.ProbeHandler{HTTPGet: h.HTTPGet})
		}
	}
	return all
}

func probeOf(c *corev1.Container, p corev1.ProbeHandler) (mesh.Probe, bool) {
	var out mesh.Probe
	switch {
	case p.HTTPGet != nil && p.HTTPGet.Host != "", p.TCPSocket != nil && p.TCPSocket.Host != "": // it goes elsewhere
		return out, false
	case p.HTTPGet != nil:
		out = mesh.Probe{Kind: mesh.ProbeHTTP, Port: portOf(c, p.HTTPGet.Port), Path: "/" + strings.TrimPrefix(p.HTTPGet.Path, "/")}
		if p.HTTPGet.Scheme == corev1.URISchemeHTTPS {
			out.Kind = mesh.ProbeHTTPS
		}
	case p.GRPC != nil:
		out = mesh.Probe{Kind: mesh.ProbeGRPC, Port: int(p.GRPC.Port), Service: valueOf(p.GRPC.Service)}
	case p.TCPSocket != nil:
		out = mesh.Probe{Kind: mesh.ProbeTCP, Port: portOf(c, p.TCPSocket.Port)}
	}
	return out, out.Port > 0 && out.Port < 65536
}

// portOf returns the number of a container's port, 0 when it has none of that name.
func portOf(c *corev1.Container, port intstr.IntOrString) int {
	if port.Type == intstr.Int {
		return port.IntValue()
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return int(p.ContainerPort)
		}
	}
	return 0
}

// namedPorts returns the ports that containers name. Of two of one name the first counts, as for the cluster.
func namedPorts(spec *corev1.PodSpec) []target {
	var ports []target
	for _, list := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for i := range list {
			for _, p := range list[i].Ports {
				if p.Name != "" && (p.Protocol == corev1.ProtocolTCP || p.Protocol == "") {
					ports = append(ports, target{int(p.ContainerPort), intern(p.Name)})
				}
			}
		}
	}
	return ports
}

// numberOf returns the number of the port that a service means, 0 for none.
func (p *pod) numberOf(t target) int {
	if t.name == "" {
		return t.number
	}
	if i := slices.IndexFunc(p.ports, func(named target) bool { return named.name == t.name }); i >= 0 {
		return p.ports[i].number
	}
	return 0
}
