package view_test

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// Two services on one port of a captured pod: the strictest decides, unless the other one may be called in plain text, for good
// or on the way to something else.
func TestServicesShareAPort(t *testing.T) {
	t.Parallel()
	strict := mesh.PortStance{Port: 80, Policy: mesh.AuthMutualTLS, Accept: mesh.TLS, Speak: mesh.TLS}
	for name, c := range map[string]struct {
		other mesh.PortStance
		want  mesh.Transport
	}{
		"both strict":        {strict, mesh.TLS},
		"permissive":         {mesh.PortStance{Port: 80, Policy: mesh.AuthPermissive, Accept: mesh.Both, Speak: mesh.TLS}, mesh.TLS},
		"excluded":           {mesh.PortStance{Port: 80, Policy: mesh.AuthMutualTLS, Accept: mesh.Both, Speak: mesh.Plain}, mesh.Both},
		"becomes strict":     {mesh.PortStance{Port: 80, Policy: mesh.AuthMutualTLS, Accept: mesh.Both, Speak: mesh.TLS}, mesh.Both},
		"becomes none":       {mesh.PortStance{Port: 80, Policy: mesh.AuthNone, Accept: mesh.Both, Speak: mesh.TLS}, mesh.Both},
		"none":               {mesh.PortStance{Port: 80, Policy: mesh.AuthNone, Accept: mesh.Plain, Speak: mesh.Plain}, mesh.Both},
		"nothing is said":    {mesh.PortStance{Port: 81}, mesh.Both},
		"becomes permissive": {mesh.PortStance{Port: 80, Policy: mesh.AuthPermissive, Accept: mesh.Both, Speak: mesh.Plain}, mesh.Both},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &mesh.Workload{Name: "pod", Namespace: "default", Type: mesh.Sidecar, Account: "a", Address: "10.244.0.2", Capture: true}
			d := mesh.NewSnapshot("cluster.local").Edit()
			for host, stance := range map[mesh.Host]mesh.PortStance{"a.default.svc.cluster.local": strict, "b.default.svc.cluster.local": c.other} {
				w.Serves = append(w.Serves, mesh.Serving{Host: host, Port: 80, Protocol: mesh.HTTP, Listen: 8080})
				d.SetStance(host, &mesh.Stance{Host: host, Ports: []mesh.PortStance{stance}})
			}
			d.SetWorkload(w.ID(), w)
			snapshot, _ := d.Done()
			for _, id := range view.Own(w) {
				if id.Kind != view.KindListener {
					continue
				}
				v, _ := view.Cut(snapshot, view.CallerOf(w).Project(id), id)
				if l, ok := v.(view.InboundListener); ok && l.Serving.Listen == 8080 {
					if l.Accept != c.want {
						t.Errorf("the port takes %s, want %s", l.Accept, c.want)
					}
					return
				}
			}
			t.Error("there is no listener for the port")
		})
	}
}

// state is what is said of the one port of a pod.
type state struct {
	mesh    mesh.AuthPolicy
	service mesh.Host       // that names the port; "": none does
	policy  mesh.AuthPolicy // that the service wants
}

// snapshot returns what is in force when nothing is left to do.
func (s state) snapshot(w mesh.Workload) *mesh.Snapshot {
	d := mesh.NewSnapshot("cluster.local").Edit()
	d.SetSettings(&mesh.Settings{AuthPolicy: s.mesh})
	if s.service != "" {
		w.Serves = []mesh.Serving{{Host: s.service, Port: 80, Protocol: mesh.HTTP, Listen: 8080}}
		identities := []string{"spiffe://cluster.local/ns/default/sa/a"}
		d.SetService(s.service, &mesh.Service{Host: s.service, Namespace: "default", Ports: []mesh.Port{{Name: "http", Number: 80, Protocol: mesh.HTTP}}})
		d.SetStance(s.service, &mesh.Stance{
			Host: s.service, Ports: []mesh.PortStance{mesh.PortStance{Port: 80, Policy: s.policy}.Settled(false)}, Identities: identities, Admitted: identities,
		})
	}
	d.SetWorkload(w.ID(), &w)
	snapshot, _ := d.Done()
	return snapshot
}

// takes returns what a pod takes on the port.
func (s state) takes(w mesh.Workload) mesh.Transport {
	snapshot := s.snapshot(w)
	cut := func(name string) view.View {
		id := view.ID{Kind: view.KindListener, Name: name}
		v, _ := view.Cut(snapshot, view.CallerOf(snapshot.Workload(w.ID())).Project(id), id)
		return v
	}
	if l, ok := cut("inbound|8080").(view.InboundListener); ok {
		return l.Accept
	}
	l, _ := cut("inbound").(view.CapturedInbound)
	return l.Accept
}

// spoken returns what others speak to the port, by the pod's address and, where there is one, by the service's.
func (s state) spoken(w mesh.Workload) []mesh.Transport {
	snapshot := s.snapshot(w)
	var all []mesh.Transport
	speak := func(m *view.Mutual) {
		if m == nil {
			all = append(all, mesh.Plain)
		} else {
			all = append(all, mesh.TLS)
		}
	}
	caller := view.Caller{Type: mesh.Sidecar, Namespace: "default"}
	v, _ := view.Cut(snapshot, caller, view.ID{Kind: view.KindCluster, Name: view.DialledPrefix + w.Address + ":8080"})
	if to, ok := v.(view.DialledCluster); ok && len(to.Ways) > 0 {
		speak(to.Ways[0].Mutual)
	}
	if s.service != "" {
		v, _ = view.Cut(snapshot, caller, view.ClusterOf(mesh.Subset{Host: s.service, Port: 80}))
		speak(v.(view.Cluster).Mutual)
	}
	return all
}

// What is said of a pod's port may change without steps: when a service comes or goes, and where none names it. Whoever has heard of
// that speaks what those take who have not, where nobody has to prove who they are before and after.
func TestNobodyIsTooEarly(t *testing.T) {
	t.Parallel()
	w := mesh.Workload{Name: "pod", Namespace: "default", Type: mesh.Sidecar, Account: "a", Address: "10.244.0.2", Capture: true}
	for name, c := range map[string]struct{ states []state }{
		"no service names it": {[]state{{mesh: mesh.AuthNone}, {mesh: mesh.AuthPermissive}, {mesh: mesh.AuthMutualTLS}}},
		"services come and go": {[]state{
			{mesh: mesh.AuthPermissive},
			{mesh.AuthPermissive, "a.default.svc.cluster.local", mesh.AuthNone},
			{mesh.AuthPermissive, "b.default.svc.cluster.local", mesh.AuthPermissive},
			{mesh: mesh.AuthNone},
			{mesh.AuthPermissive, "c.default.svc.cluster.local", mesh.AuthNone},
		}},
		"and where callers must prove who they are": {[]state{
			{mesh: mesh.AuthMutualTLS},
			{mesh.AuthMutualTLS, "b.default.svc.cluster.local", mesh.AuthPermissive},
			{mesh.AuthMutualTLS, "c.default.svc.cluster.local", mesh.AuthMutualTLS},
		}},
	} {
		for _, caller := range c.states {
			for _, server := range c.states {
				takes := server.takes(w)
				for _, speaks := range caller.spoken(w) {
					if takes != mesh.Both && takes != speaks {
						t.Errorf("%s: a caller that knows %+v speaks %s, a pod that knows %+v takes %s", name, caller, speaks, server, takes)
					}
				}
			}
		}
	}
}

// What leads to where a connection was going to is the same for all pods whose addresses are of the same families, so that it is made once.
func TestOriginalClustersAreShared(t *testing.T) {
	t.Parallel()
	pods := []*mesh.Workload{
		{Name: "one", Address: "10.244.0.2"},
		{Name: "two", Address: "10.244.0.3"},
		{Name: "both", Address: "10.244.0.4", Further: []string{"fd00:244::4"}},
	}
	d := mesh.NewSnapshot("cluster.local").Edit()
	for _, w := range pods {
		w.Namespace, w.Type, w.Account, w.Capture = "default", mesh.Sidecar, "a", true
		w.Serves = []mesh.Serving{{Host: "db.default.svc.cluster.local", Port: 80, Protocol: mesh.TCP, Listen: 8080}}
		d.SetWorkload(w.ID(), w)
	}
	snapshot, _ := d.Done()
	made := map[view.ID]map[string]bool{}
	for _, w := range pods {
		for _, id := range view.Own(w) {
			if v, _ := view.Cut(snapshot, view.CallerOf(w).Project(id), id); v != nil && id.Kind == view.KindCluster {
				if made[id] == nil {
					made[id] = map[string]bool{}
				}
				made[id][view.Hash(v)] = true
			}
		}
	}
	if len(made[view.ID{Kind: view.KindCluster, Name: view.Passthrough}]) != 1 || len(made[view.ID{Kind: view.KindCluster, Name: view.Inbound}]) != 2 {
		t.Errorf("of so many pods' own clusters there are so many: %v", made)
	}
	for id, views := range made {
		if len(views) > 2 {
			t.Errorf("%s: %d for two families", id, len(views))
		}
	}
}
