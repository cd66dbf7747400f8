package meshtest

import (
	"fmt"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Domain is the DNS suffix of all test meshes.
const Domain = "cluster.local"

// Namespace is where test services live unless a test says otherwise.
const Namespace = "default"

// HostOf returns the full name of a test service.
func HostOf(service string) mesh.Host { return mesh.ServiceHost(service, Namespace, Domain) }

// NewService returns a service with one port. The protocol follows from the port's name.
func NewService(name, portName string, port int) *mesh.Service {
	return &mesh.Service{
		Host: HostOf(name), Name: name, Namespace: Namespace,
		Ports: []mesh.Port{{Name: portName, Number: port, Protocol: mesh.ProtocolOf(portName)}},
	}
}

// Bulk returns a snapshot draft's worth of n services, svc-000 and so on, each with an HTTP port 9080 and one endpoint
// that nobody answers for.
func Bulk(n int) mesh.Registry {
	var r mesh.Registry
	for i := range n {
		svc := NewService(fmt.Sprintf("svc-%03d", i), "http", 9080)
		r.Services = append(r.Services, svc)
		r.Endpoints = append(r.Endpoints, &mesh.EndpointSet{Host: svc.Host, Endpoints: []mesh.Endpoint{{
			Address: fmt.Sprintf("127.200.%d.%d", i/250, 1+i%250), Ports: map[string]int{"http": 9080},
			Labels: mesh.Labels{"app": svc.Name, "version": "v1"}, Workload: svc.Name + "-v1-0", Health: mesh.Healthy,
		}}})
	}
	return r
}

// Put puts a whole registry into a draft.
func Put(d *mesh.Draft, r mesh.Registry) {
	for _, s := range r.Services {
		d.SetService(s.Host, s)
	}
	for _, e := range r.Endpoints {
		d.SetEndpoints(e.Host, e)
	}
	for _, w := range r.Workloads {
		d.SetWorkload(w.ID(), w)
	}
}
