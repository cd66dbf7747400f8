package meshtest

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/capture"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// ServiceRange and ServiceRange6 are where services have their addresses in a mesh with pods.
const (
	ServiceRange  = "10.96.0.0/16"
	ServiceRange6 = "fd00:96::/112"
)

// NewCaptured starts a control plane on a network of pods, and a mesh whose services have addresses. It must run in a network
// namespace of its own ([netns.Run]). Instances with [Spec.Capture] run in pods.
func NewCaptured(t testing.TB, config Config) *Mesh {
	t.Helper()
	config.Version, config.network = cmp.Or(config.Version, "test"), netns.NewNetwork(t)
	if len(config.Families) == 0 {
		config.Families = []netns.Family{netns.IPv4}
	}
	m := NewWith(t, config)
	m.Set(func(s *mesh.Settings) {
		s.ServiceRanges = []string{ServiceRange}
		if slices.Contains(config.Families, netns.IPv6) {
			s.ServiceRanges = append(s.ServiceRanges, ServiceRange6)
		}
	})
	return m
}

// Network is that of the mesh's pods.
func (m *Mesh) Network() *netns.Network { return m.config.network }

// Serve serves a handler on a listener until the test ends.
func (m *Mesh) Serve(l net.Listener, h http.Handler) { serveOn(m.t, l, h) }

// pod is where a captured instance runs.
type pod struct {
	*netns.Pod
	envoy string // program that starts Envoy there, as the user whose traffic is not captured
}

// newPod makes a pod whose traffic is captured.
func (m *Mesh) newPod(name string, c capture.Config, families []netns.Family) *pod {
	m.t.Helper()
	if len(families) == 0 {
		families = m.config.Families
	}
	p := &pod{Pod: m.config.network.Pod(name, families...)}
	for _, a := range p.Addresses {
		if strings.Contains(a, ":") {
			c.Families = append(c.Families, capture.IPv6)
		} else {
			c.Families = append(c.Families, capture.IPv4)
		}
	}
	if err := p.Do(func() error { return capture.Apply(m.t.Context(), c, m.log(name)) }); err != nil {
		m.t.Fatal(err)
	}
	// Envoy's folder is the test's, so its user is let through to it.
	script := fmt.Sprintf("#!/bin/sh\nexec nsenter --net=%s setpriv --pdeathsig=KILL --reuid=%[2]d --regid=%[2]d --clear-groups "+
		"--inh-caps=+dac_override --ambient-caps=+dac_override %s \"$@\"\n", p.Namespace(), mesh.ProxyUser, m.envoy)
	p.envoy = filepath.Join(m.Dir, name+".sh")
	if err := os.WriteFile(p.envoy, []byte(script), 0o700); err != nil { //nolint:gosec // it is to be run
		m.t.Fatal(err)
	}
	return p
}

// intoPod makes a workload one that runs in a pod of its own.
func (m *Mesh) intoPod(w *mesh.Workload, families ...netns.Family) *pod {
	m.t.Helper()
	var c capture.Config
	if in := w.Inbound; in != nil {
		c.Take, c.Keep = in.Take, append(slices.Clone(in.Keep), mesh.AgentMetricsPort, mesh.AgentHealthPort)
	}
	p := m.newPod(w.Name, c, families)
	w.Capture, w.Address, w.Further, w.Outbound = true, p.Address, p.Addresses[1:], 0
	return p
}

// startCaptured starts an instance whose applications listen in a pod.
func (m *Mesh) startCaptured(s Spec) *Instance {
	m.t.Helper()
	w := m.workload(s.Service+"-"+s.Version, mesh.Sidecar, mesh.Labels{"app": s.Service, "version": s.Version})
	w.Account, w.Probes, w.Inbound, w.Namespace = cmp.Or(s.Account, w.Account), s.Probes, s.Inbound, cmp.Or(s.Namespace, w.Namespace)
	i := &Instance{Workload: w, mesh: m, pod: m.intoPod(w, s.Families...)}
	client := i.Client()
	host := mesh.ServiceHost(s.Service, w.Namespace, Domain)
	svc := &mesh.Service{Host: host, Name: s.Service, Namespace: w.Namespace, Headless: s.Headless}
	for _, p := range s.Ports {
		if p.App != nil {
			serveOn(m.t, i.pod.Listen(":"+strconv.Itoa(p.Number)), p.App(client))
		}
		protocol := mesh.ProtocolOf(p.Name)
		svc.Ports = append(svc.Ports, mesh.Port{Name: p.Name, Number: p.Number, Protocol: protocol})
		w.Serves = append(w.Serves, mesh.Serving{Host: host, Port: p.Number, Protocol: protocol, Listen: p.Number})
	}
	m.Edit(func(r *mesh.Registry) {
		if !slices.ContainsFunc(r.Services, func(known *mesh.Service) bool { return known.Host == host }) {
			if !s.Headless {
				svc.Addresses = m.serviceAddresses(len(r.Services) + 1)
			}
			r.Services = append(r.Services, svc)
		}
	})
	m.launched(i)
	m.setEndpoint(i, mesh.Healthy)
	return i
}

// serviceAddresses returns the addresses of the service with a number, of the families that the mesh has.
func (m *Mesh) serviceAddresses(number int) []string {
	var all []string
	for _, f := range m.config.Families {
		if f == netns.IPv6 {
			all = append(all, fmt.Sprintf("fd00:96::%x", number))
		} else {
			all = append(all, fmt.Sprintf("10.96.0.%d", number))
		}
	}
	return all
}

// CapturedCaller starts an instance in a pod that serves nothing and only calls. The pod has addresses of some families; without any, of
// those that [Config.Families] has.
func (m *Mesh) CapturedCaller(name string, labels mesh.Labels, families ...netns.Family) *Instance {
	m.t.Helper()
	w := m.workload(name, mesh.Sidecar, labels)
	i := &Instance{Workload: w, mesh: m, pod: m.intoPod(w, families...)}
	m.launched(i)
	return i
}

// ServiceAddress returns the address of a service, or the last one that it had.
func (m *Mesh) ServiceAddress(service string) string {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, svc := range m.registry.Services {
		if svc.Host == HostOf(service) && len(svc.Addresses) > 0 {
			m.addresses[service] = svc.Addresses[0]
		}
	}
	return m.addresses[service]
}

// ServiceAddresses returns all addresses of a service.
func (m *Mesh) ServiceAddresses(service string) []string { return m.AddressesOf(HostOf(service)) }

// AddressesOf returns all addresses of the service with a host.
func (m *Mesh) AddressesOf(host mesh.Host) []string {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, svc := range m.registry.Services {
		if svc.Host == host {
			return slices.Clone(svc.Addresses)
		}
	}
	return nil
}

// dialCaptured dials as an application in the instance's pod: an IP address as it is, the name of a service at its address, or the last
// one that it had.
func (i *Instance) dialCaptured(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(host) == nil {
		name, _, _ := strings.Cut(host, ".")
		if host = i.mesh.ServiceAddress(name); host == "" {
			return nil, fmt.Errorf("nobody knows %s", address)
		}
	}
	return i.pod.Dial(ctx, network, net.JoinHostPort(host, port))
}

// DialFrom dials as an application in the instance's pod.
func (i *Instance) DialFrom(address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(i.mesh.t.Context(), Patience)
	defer cancel()
	return i.dialCaptured(ctx, "tcp", address)
}

// Pod returns the pod in which the instance runs.
func (i *Instance) Pod() *netns.Pod { return i.pod.Pod }

// capturedTransport calls out of the instance's pod.
func (i *Instance) capturedTransport() *http.Transport {
	return &http.Transport{MaxIdleConnsPerHost: 64, DialContext: i.dialCaptured, IdleConnTimeout: time.Minute}
}
