package local

import (
	"cmp"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Mesh is what all Mesh documents together say: what should run.
type Mesh struct {
	Name      string // of the first document
	Namespace string // of the first document
	Settings  mesh.Settings
	Services  []*mesh.Service
	accounts  map[mesh.Host][]string // of the service's namespace, whose programs may answer for it
	namings   []naming               // identities that documents name
	Workloads []*Workload            // sorted by namespace and name
	Ingress   *Door                  // nil: nothing comes from outside

	Certificates []mesh.SealedCertificate // of the ingress, sorted by namespace and name
}

// Door is where requests from outside come in.
type Door struct {
	Address   string
	Port      int
	HTTPSPort int // 0: none
	Origin    mesh.Position
}

// Workload is one version of a service, as a Mesh file wants it.
type Workload struct {
	Name      string // "reviews-v2"
	Namespace string
	Type      mesh.ProxyType
	Host      mesh.Host // that it serves; "" for the ingress
	Account   string
	Labels    mesh.Labels
	Replicas  int
	Origin    mesh.Position

	Ports   []mesh.Port // of the service, as written: the first is ${PORT}
	Command []string
	Dir     string
	Env     map[string]string
	Ready   Ready

	DependsOn []mesh.Host // it starts when these are ready; sorted
	Upstreams []Upstream  // sorted by host and port
	Uses      mesh.Uses
	// unsound tells that it names a service or port that there is not, or waits for itself: whatever runs for it goes on.
	unsound bool

	Runs netip.AddrPort // where it already runs; then there is nothing to start. Port 0: the service's ports
	Door Door           // of an ingress
}

// Ready says when an application counts as ready.
type Ready struct {
	HTTP    string        // path that must answer with a status from 200 to 399; "": a connection must come about
	Timeout time.Duration // until it counts as failed
}

// key names the workload in its mesh.
func (w *Workload) key() string { return w.Namespace + "/" + w.Name }

// external tells that the workload runs by itself, without a proxy.
func (w *Workload) external() bool { return w.Runs.IsValid() }

// sameProcess tells whether what runs for w can go on running for o: they differ at most in what only the control
// plane is told.
func (w *Workload) sameProcess(o *Workload) bool {
	a, b := *w, *o
	a.Labels, b.Labels = nil, nil
	a.Replicas, b.Replicas = 0, 0
	a.DependsOn, b.DependsOn = nil, nil
	a.Uses, b.Uses = mesh.Uses{}, mesh.Uses{}
	a.Origin, b.Origin = mesh.Position{}, mesh.Position{}
	a.Door.Origin, b.Door.Origin = mesh.Position{}, mesh.Position{}
	return reflect.DeepEqual(a, b)
}

// portVariable returns the name under which an application finds the number of a named port: PORT_HTTP_ADMIN.
func portVariable(portName string) string {
	return "PORT_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(portName))
}

// variables returns what may stand in ${…} of the workload's command and environment, with the application's ports.
func (w *Workload) variables(ports map[string]int) map[string]string {
	values := make(map[string]string, len(w.Ports)+1)
	for i, p := range w.Ports {
		number := strconv.Itoa(ports[p.Name])
		values[portVariable(p.Name)] = number
		if i == 0 {
			values["PORT"] = number
		}
	}
	return values
}

// variables returns what may stand in ${…} of the instance's command and environment.
func (i *Instance) variables() map[string]string {
	values := i.Workload.variables(i.Ports)
	for n, u := range i.Workload.Upstreams {
		for name, part := range u.Variables {
			values[name] = part.of(i.Address, i.Upstream[n])
		}
	}
	return values
}

// Instance is one running replica of a workload: what the control plane is told of it, and what its processes need.
type Instance struct {
	Name     string // "reviews-v2-0"
	Ordinal  int
	Workload *Workload
	Address  netip.Addr     // of its own
	Outbound int            // port on Address where its proxy takes its requests; of the ingress, port of its door
	Listen   map[string]int // by port name: port on Address where its proxy answers for it
	Ports    map[string]int // by port name: port of the application
	Upstream []int          // of each of the workload's Upstreams: port on Address where its proxy leads there

	number int // of the address in its subnet
}

// instanceName returns the name of the instance with this ordinal. There is one ingress, but for the moment in which
// another takes its place.
func instanceName(w *Workload, ordinal int) string {
	if w.Type == mesh.Ingress && ordinal == 0 {
		return w.Name
	}
	return w.Name + "-" + strconv.Itoa(ordinal)
}

// ID returns the ID of the instance's proxy.
func (i *Instance) ID() mesh.ProxyID { return mesh.NewProxyID(i.Name, i.Workload.Namespace) }

// MeshWorkload returns the instance in the mesh's words.
func (i *Instance) MeshWorkload() *mesh.Workload {
	w := i.Workload
	m := &mesh.Workload{
		Name: i.Name, Namespace: w.Namespace, Type: w.Type, Account: w.Account, Labels: maps.Clone(w.Labels),
		Address: i.Address.String(), Outbound: i.Outbound, Uses: w.Uses,
	}
	if w.Type == mesh.Ingress {
		m.Door, m.DoorTLS = w.Door.Address, w.Door.HTTPSPort
		return m
	}
	for _, p := range w.Ports {
		m.Serves = append(m.Serves, mesh.Serving{
			Host: w.Host, Port: p.Number, Protocol: p.Protocol, Listen: i.Listen[p.Name],
			Target: netip.AddrPortFrom(loopback, uint16(i.Ports[p.Name])).String(),
		})
	}
	slices.SortFunc(m.Serves, func(a, b mesh.Serving) int { return cmp.Compare(a.Port, b.Port) })
	for n, u := range w.Upstreams {
		m.Upstreams = append(m.Upstreams, mesh.Upstream{Host: u.Host, Port: u.Port, Listen: i.Upstream[n]})
	}
	return m
}

// loopback is where applications are reached by their proxies.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// Endpoint returns where the instance takes requests.
func (i *Instance) Endpoint(health mesh.Health) mesh.Endpoint {
	w := i.Workload
	e := mesh.Endpoint{
		Address: i.Address.String(), Ports: map[string]int{}, Labels: maps.Clone(w.Labels),
		Workload: i.Name, Account: w.Account, Health: health,
	}
	listen := i.Listen
	if w.Type == mesh.Proxyless {
		e.Address, listen, e.Account = loopback.String(), i.Ports, "" // nobody stands before it
	}
	for _, p := range w.Ports {
		e.Ports[p.Name] = listen[p.Name]
	}
	if !w.external() {
		return e
	}
	e.Address, e.Account = w.Runs.Addr().String(), ""
	for _, p := range w.Ports {
		e.Ports[p.Name] = p.Number
		if w.Runs.Port() != 0 {
			e.Ports[p.Name] = int(w.Runs.Port())
		}
	}
	return e
}
