package admin

import (
	"net/http"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// workloads lists what runs.
func (s *Server) workloads(*http.Request) (any, error) {
	snapshot := s.config.Store.Snapshot()
	list := []api.Workload{}
	for _, key := range snapshot.Keys(mesh.KindWorkload) {
		list = append(list, workloadOf(snapshot, snapshot.Workload(mesh.ProxyID(key.Name))))
	}
	return list, nil
}

// workload tells of one instance.
func (s *Server) workload(r *http.Request) (any, error) {
	id, err := s.config.Explain.Resolve(r.PathValue("workload"))
	if err != nil {
		return nil, notFound(err)
	}
	snapshot := s.config.Store.Snapshot()
	w := snapshot.Workload(id)
	if w == nil { // it has gone just now
		return nil, refuse(http.StatusNotFound, "no proxy %s", id)
	}
	return workloadOf(snapshot, w), nil
}

func workloadOf(snapshot *mesh.Snapshot, w *mesh.Workload) api.Workload {
	one := api.Workload{
		ID: w.ID(), Type: w.Type, Account: w.Account, Identity: snapshot.Realm().IdentityOf(w.Namespace, w.Account),
		Address: w.Address, Further: w.Further, Running: w.Running,
	}
	for _, s := range w.Serves {
		one.Serves = append(one.Serves, api.WorkloadPort{Host: s.Host, Port: s.Port, Listen: s.Listen})
	}
	return one
}

// services lists the hosts of the mesh, and how their ports are secured.
func (s *Server) services(*http.Request) (any, error) {
	snapshot := s.config.Store.Snapshot()
	list := []api.Service{}
	for _, host := range snapshot.Services() {
		one := serviceOf(snapshot, host)
		if since := s.config.Watch.SecuredSince(host); !since.IsZero() {
			one.Since = since.UTC()
		}
		list = append(list, one)
	}
	return list, nil
}

func serviceOf(snapshot *mesh.Snapshot, host mesh.Host) api.Service {
	svc, stance, settings := snapshot.Service(host), snapshot.Stance(host), snapshot.Settings()
	one := api.Service{Host: host, Ports: []api.ServicePort{}, Excluded: settings.Excludes(host)}
	for _, port := range svc.Ports {
		now := stance.Port(port.Number)
		one.Ports = append(one.Ports, api.ServicePort{
			Name: port.Name, Number: port.Number, Protocol: port.Protocol, Policy: settings.Policy(port), Accept: now.Accept, Speak: now.Speak,
		})
	}
	if stance != nil {
		one.Identities = stance.Identities
	}
	if set := snapshot.Endpoints(host); set != nil {
		for i := range set.Endpoints {
			e := &set.Endpoints[i]
			one.Endpoints = append(one.Endpoints, api.Endpoint{
				Address: e.Address, Workload: e.Workload, Health: e.Health,
				Identity: snapshot.Realm().IdentityOf(svc.Namespace, e.Account),
			})
		}
	}
	return one
}
