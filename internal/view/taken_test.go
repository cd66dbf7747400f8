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
