package meshtest

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// ServicePort is the port of every service that [Mesh.Start] makes.
const ServicePort = 9080

// Instance is one workload instance: an application and the Envoy beside it.
type Instance struct {
	*mesh.Workload
	Dir  string // of its Envoy: access.log, admin.sock
	mesh *Mesh
	pod  *pod // nil: it is not captured
	stop func()
}

// App makes the application of an instance. It calls others with the client.
type App func(client *http.Client) http.Handler

// Start starts one more instance of a service in a version and returns when it takes requests. The service is made
// with the first one. In a mesh with pods it runs in one.
func (m *Mesh) Start(service, version string, app App) *Instance {
	m.t.Helper()
	return m.StartSpec(Spec{
		Service: service, Version: version, Ports: []SpecPort{{Name: "http", Number: ServicePort, App: app}}, Capture: m.config.network != nil,
	})
}

// Spec describes an instance that serves other ports than one for HTTP, or has local addresses.
type Spec struct {
	Service, Version string
	Account          string // "": default
	Namespace        string // with Capture: that of the service and of its pods; "": [Namespace]
	Ports            []SpecPort
	Upstreams        []mesh.Upstream // Listen is chosen

	Capture  bool           // it runs in a pod, and its traffic is captured
	Families []netns.Family // with Capture: of which the pod has addresses; none: as [Config.Families] has it
	Headless bool           // with Capture: the service has no address
	Probes   []mesh.Probe
	Inbound  *mesh.Inbound // with Capture: connections that its proxy does not take
}

// SpecPort is one port of a service, with the application behind it.
type SpecPort struct {
	Name   string // tells the protocol
	Number int
	App    App    // of HTTP
	Target string // "IP:PORT" of an application that the test runs itself, instead of App
}

// StartSpec starts one more instance of a service, like [Mesh.Start].
func (m *Mesh) StartSpec(s Spec) *Instance {
	m.t.Helper()
	if s.Capture {
		return m.startCaptured(s)
	}
	w := m.workload(s.Service+"-"+s.Version, mesh.Sidecar, mesh.Labels{"app": s.Service, "version": s.Version})
	w.Account = cmp.Or(s.Account, w.Account)
	client := (&Instance{Workload: w, mesh: m}).Client()
	host := HostOf(s.Service)
	svc := &mesh.Service{Host: host, Name: s.Service, Namespace: Namespace}
	for _, p := range s.Ports {
		target := p.Target
		if p.App != nil {
			target = handlerServer(m.t, p.App(client))
		}
		protocol := mesh.ProtocolOf(p.Name)
		svc.Ports = append(svc.Ports, mesh.Port{Name: p.Name, Number: p.Number, Protocol: protocol})
		w.Serves = append(w.Serves, mesh.Serving{Host: host, Port: p.Number, Protocol: protocol, Listen: p.Number, Target: target})
	}
	for _, u := range s.Upstreams {
		w.Upstreams = append(w.Upstreams, mesh.Upstream{Host: u.Host, Port: u.Port, Listen: m.freePort(w.Address)})
	}
	m.Edit(func(r *mesh.Registry) {
		if !slices.ContainsFunc(r.Services, func(known *mesh.Service) bool { return known.Host == host }) {
			r.Services = append(r.Services, svc)
		}
	})
	i := m.launch(w)
	m.setEndpoint(i, mesh.Healthy)
	return i
}

// Upstream returns "IP:PORT" of the instance's local address for a service port.
func (i *Instance) Upstream(service string, port int) string {
	for _, u := range i.Upstreams {
		if u.Host == HostOf(service) && u.Port == port {
			return net.JoinHostPort(i.Address, strconv.Itoa(u.Listen))
		}
	}
	i.mesh.t.Fatalf("%s has no local address for %s:%d", i.Name, service, port)
	return ""
}

func (m *Mesh) freePort(address string) int {
	l := listenLoopback(m.t, address)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Caller starts an instance that serves nothing and only calls.
func (m *Mesh) Caller(name string, labels mesh.Labels) *Instance {
	m.t.Helper()
	return m.launch(m.workload(name, mesh.Sidecar, labels))
}

// Door starts the ingress.
func (m *Mesh) Door() *Instance {
	m.t.Helper()
	w := m.workload("ingress", mesh.Ingress, mesh.Labels{"istio": "ingress"})
	w.Door, w.DoorTLS = w.Address, m.freePort(w.Address)
	return m.launch(w)
}

// workload describes a new instance on an address of its own.
func (m *Mesh) workload(name string, t mesh.ProxyType, labels mesh.Labels) *mesh.Workload {
	m.mu.Lock()
	number := m.taken
	m.taken++
	m.mu.Unlock()
	address := m.subnet.Address(number).String()
	return &mesh.Workload{
		Name: fmt.Sprintf("%s-%d", name, number), Namespace: Namespace, Type: t, Account: "default", Labels: labels,
		Address: address, Outbound: m.freePort(address),
	}
}

// Expect makes an instance known that serves nothing, and whose agent the test starts itself.
func (m *Mesh) Expect(name string) *Instance {
	m.t.Helper()
	return m.expect(m.workload(name, mesh.Sidecar, nil))
}

func (m *Mesh) expect(w *mesh.Workload) *Instance {
	m.t.Helper()
	i := &Instance{Workload: w, mesh: m}
	m.expected(i)
	return i
}

// expected makes an instance known.
func (m *Mesh) expected(i *Instance) {
	m.t.Helper()
	i.Dir = filepath.Join(m.Dir, i.Name)
	if err := os.Mkdir(i.Dir, 0o700); err != nil {
		m.t.Fatal(err)
	}
	m.Edit(func(r *mesh.Registry) { r.Workloads = append(r.Workloads, i.Workload) })
}

// launch starts the Envoy of an instance and returns when it is ready.
func (m *Mesh) launch(w *mesh.Workload) *Instance {
	m.t.Helper()
	i := &Instance{Workload: w, mesh: m}
	m.launched(i)
	return i
}

// launched is launch for an instance of which more is known.
func (m *Mesh) launched(i *Instance) {
	m.t.Helper()
	m.expected(i)
	w := i.Workload
	e := &events{ready: make(chan struct{})}
	beside := m.config.Agent
	if beside == nil {
		beside = func(c agent.Config) func(context.Context) error { return agent.New(c).Run }
	}
	i.stop = m.run("envoy "+w.Name, beside(m.agentConfig(i, e)))
	select {
	case <-e.ready:
	case <-time.After(Patience):
		m.t.Fatalf("envoy %s is not ready after %v", w.Name, Patience)
	}
	m.Edit(func(r *mesh.Registry) {
		running := *w
		running.Running = true
		r.Workloads[slices.IndexFunc(r.Workloads, func(o *mesh.Workload) bool { return o.Name == w.Name })] = &running
	})
}

// setEndpoint makes the instance an endpoint of what it serves, or no longer one ("").
func (m *Mesh) setEndpoint(i *Instance, health mesh.Health) {
	m.t.Helper()
	m.Edit(func(r *mesh.Registry) {
		hosts := map[mesh.Host]bool{}
		for _, s := range i.Serves {
			if hosts[s.Host] {
				continue
			}
			hosts[s.Host] = true
			n := slices.IndexFunc(r.Endpoints, func(e *mesh.EndpointSet) bool { return e.Host == s.Host })
			set := &mesh.EndpointSet{Host: s.Host}
			if n < 0 {
				n = len(r.Endpoints)
				r.Endpoints = append(r.Endpoints, set)
			}
			set.Endpoints = slices.DeleteFunc(slices.Clone(r.Endpoints[n].Endpoints), func(e mesh.Endpoint) bool {
				return e.Workload == i.Name
			})
			if health != "" {
				set.Endpoints = append(set.Endpoints, mesh.Endpoint{
					Address: i.Address, Further: i.Further, Ports: portsOf(i.Workload, s.Host, r), Labels: i.Labels, Workload: i.Name,
					Account: i.Account, Inbound: i.Inbound, Health: health,
				})
			}
			r.Endpoints[n] = set
		}
	})
}

// portsOf returns where a workload listens for a host, by the names of the service's ports.
func portsOf(w *mesh.Workload, h mesh.Host, r *mesh.Registry) map[string]int {
	ports := map[string]int{}
	for _, svc := range r.Services {
		for _, s := range w.Serves {
			if p, ok := svc.Port(s.Port); ok && svc.Host == h && s.Host == h {
				ports[p.Name] = s.Listen
			}
		}
	}
	return ports
}

// Announce makes the instance an endpoint of what it serves in some health, or no longer one (""), and returns when
// that is in force.
func (i *Instance) Announce(health mesh.Health) {
	i.mesh.t.Helper()
	i.mesh.setEndpoint(i, health)
}

// Stop takes the instance out of the mesh: it gets nothing new, finishes what it has, and ends.
func (i *Instance) Stop() {
	i.mesh.t.Helper()
	i.Announce(mesh.Draining)
	i.Announce("")
	i.stop()
	i.mesh.Edit(func(r *mesh.Registry) {
		r.Workloads = slices.DeleteFunc(r.Workloads, func(w *mesh.Workload) bool { return w.Name == i.Name })
	})
}

// Proxy is the address where the instance's Envoy takes requests: the workload's own, or those from outside.
func (i *Instance) Proxy() string { return net.JoinHostPort(i.Address, strconv.Itoa(i.Outbound)) }

// Client returns an HTTP client whose requests go through the instance's Envoy, as those of its application would.
func (i *Instance) Client() *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	switch {
	case i.pod != nil:
		transport = i.capturedTransport()
	case i.Type == mesh.Sidecar:
		transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: i.Proxy()})
	default:
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", i.Proxy())
		}
	}
	i.mesh.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// Get fetches a URL through the instance's Envoy with headers given in pairs, and returns status and body.
func (i *Instance) Get(target string, headers ...string) (status int, body string) {
	i.mesh.t.Helper()
	req, err := http.NewRequestWithContext(i.mesh.t.Context(), http.MethodGet, target, nil)
	if err != nil {
		i.mesh.t.Fatal(err)
	}
	for n := 0; n < len(headers); n += 2 {
		req.Header.Set(headers[n], headers[n+1])
	}
	client := i.Client()
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		i.mesh.t.Fatalf("GET %s: %v", target, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		i.mesh.t.Fatalf("GET %s: %v", target, err)
	}
	return res.StatusCode, string(text)
}

// Admin fetches a path of the admin interface of the instance's Envoy.
func (i *Instance) Admin(path string) []byte {
	i.mesh.t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(i.Dir, "admin.sock"))
	}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(i.mesh.t.Context(), http.MethodGet, "http://envoy"+path, nil)
	if err != nil {
		i.mesh.t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		i.mesh.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		i.mesh.t.Fatal(err)
	}
	return body
}

// Stat returns a counter or gauge of the instance's Envoy.
func (i *Instance) Stat(name string) int64 {
	i.mesh.t.Helper()
	text := string(i.Admin("/stats?filter=^" + url.QueryEscape(regexp.QuoteMeta(name)) + "$"))
	_, value, _ := strings.Cut(text, ": ")
	number, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	if err != nil {
		i.mesh.t.Fatalf("stat %s: %q", name, text)
	}
	return number
}

// Handler is an application that calls nobody.
func Handler(h http.HandlerFunc) App { return func(*http.Client) http.Handler { return h } }

// Named is an application that answers with a name.
func Named(name string) App {
	return Handler(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) })
}

// AddDeadEndpoint adds an endpoint to a service that refuses every connection.
func (m *Mesh) AddDeadEndpoint(service string) {
	m.t.Helper()
	w := m.workload(service+"-dead", mesh.Sidecar, mesh.Labels{"app": service})
	w.Serves = []mesh.Serving{{Host: HostOf(service), Port: ServicePort, Listen: w.Outbound}}
	m.setEndpoint(&Instance{Workload: w}, mesh.Healthy)
}
