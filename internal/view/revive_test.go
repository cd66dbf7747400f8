package view_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// What drains takes requests as long as there is nobody else that callers may call: in the service, in a subset of it, with a port, or with
// an identity that they know.
func TestTheLastThatDrainsIsCalled(t *testing.T) {
	t.Parallel()
	const host mesh.Host = "reviews.default.svc.cluster.local"
	endpoint := func(number int, version string, health mesh.Health, ports ...string) mesh.Endpoint {
		e := mesh.Endpoint{Address: fmt.Sprintf("10.0.0.%d", number), Labels: mesh.Labels{"version": version}, Health: health, Ports: map[string]int{"http": 80}}
		for _, p := range ports {
			e.Ports[p] = 81
		}
		return e
	}
	named := func(e mesh.Endpoint, account string) mesh.Endpoint { e.Account = account; return e }
	v1 := mesh.Labels{"version": "v1"}
	for name, c := range map[string]struct {
		endpoints []mesh.Endpoint
		subset    mesh.Subset
		known     []string // accounts whose identities are called; nil: nothing is secured
		want      []mesh.Health
	}{
		"all of the service": {
			[]mesh.Endpoint{endpoint(1, "v1", mesh.Draining), endpoint(2, "v2", mesh.Draining)},
			mesh.Subset{Port: 80},
			nil,
			[]mesh.Health{mesh.Healthy, mesh.Healthy},
		},
		"one of the service": {
			[]mesh.Endpoint{endpoint(1, "v1", mesh.Draining), endpoint(2, "v2", mesh.Healthy)},
			mesh.Subset{Port: 80},
			nil,
			[]mesh.Health{mesh.Draining, mesh.Healthy},
		},
		"the last of a version": {
			[]mesh.Endpoint{endpoint(1, "v1", mesh.Draining), endpoint(2, "v2", mesh.Healthy)},
			mesh.Subset{Port: 80, Labels: v1},
			nil,
			[]mesh.Health{mesh.Healthy},
		},
		"not the last of a version": {
			[]mesh.Endpoint{endpoint(1, "v1", mesh.Draining), endpoint(2, "v1", mesh.Healthy)},
			mesh.Subset{Port: 80, Labels: v1},
			nil,
			[]mesh.Health{mesh.Draining, mesh.Healthy},
		},
		"the last with a port": {
			[]mesh.Endpoint{endpoint(1, "v1", mesh.Draining, "tcp"), endpoint(2, "v1", mesh.Healthy)},
			mesh.Subset{Port: 81},
			nil,
			[]mesh.Health{mesh.Healthy},
		},
		"the last whose identity is known": {
			[]mesh.Endpoint{named(endpoint(1, "v1", mesh.Draining), "a"), named(endpoint(2, "v1", mesh.Healthy), "b")},
			mesh.Subset{Port: 80},
			[]string{"a"},
			[]mesh.Health{mesh.Healthy},
		},
		"one of those whose identities are known": {
			[]mesh.Endpoint{named(endpoint(1, "v1", mesh.Draining), "a"), named(endpoint(2, "v1", mesh.Healthy), "b")},
			mesh.Subset{Port: 80},
			[]string{"a", "b"},
			[]mesh.Health{mesh.Draining, mesh.Healthy},
		},
		"nobody": {nil, mesh.Subset{Port: 80}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := mesh.NewSnapshot("cluster.local")
			d := before.Edit()
			d.SetService(host, &mesh.Service{Host: host, Name: "reviews", Namespace: "default", Ports: []mesh.Port{
				{Name: "http", Number: 80, Protocol: mesh.HTTP}, {Name: "tcp", Number: 81, Protocol: mesh.TCP},
			}})
			d.SetEndpoints(host, &mesh.EndpointSet{Host: host, Endpoints: c.endpoints})
			if c.known != nil {
				stance := &mesh.Stance{Host: host, Ports: []mesh.PortStance{{Port: 80, Policy: mesh.AuthMutualTLS, Accept: mesh.TLS, Speak: mesh.TLS}}}
				for _, account := range c.known {
					stance.Identities = append(stance.Identities, before.Realm().IdentityOf("default", account))
				}
				stance.Admitted = stance.Identities
				d.SetStance(host, stance)
			}
			snapshot, _ := d.Done()
			c.subset.Host = host
			v, _ := view.Cut(snapshot, view.Caller{}, view.ID{Kind: view.KindEndpoints, Name: c.subset.String()})
			var got []mesh.Health
			for _, e := range v.(view.Endpoints).Endpoints {
				got = append(got, e.Health)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("the endpoints are %v, want %v", got, c.want)
			}
		})
	}
}
