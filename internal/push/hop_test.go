package push_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/explain"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
)

// How a request goes on is told, with why where that is not mutual TLS; where no endpoint may be called, the proxy answers.
func TestHopIsTold(t *testing.T) {
	t.Parallel()
	const accepted = "spiffe://cluster.local/ns/default/sa/reviews"
	stance := func(policy mesh.AuthPolicy, excluded bool) mesh.PortStance {
		return mesh.PortStance{Port: 9080, Policy: policy}.Settled(excluded)
	}
	changing := stance(mesh.AuthPermissive, false)
	changing.Speak = mesh.Plain
	for name, c := range map[string]struct {
		caller   mesh.ProxyType
		stance   mesh.PortStance
		own      bool     // the service says it
		accounts []string // with "past" before it: the port is left out of capture there
		want     string
	}{
		"mutual TLS":  {mesh.Sidecar, stance(mesh.AuthPermissive, false), false, []string{"reviews"}, "mtls "},
		"a program":   {mesh.Proxyless, stance(mesh.AuthPermissive, false), false, []string{"reviews"}, "plain the caller has no identity"},
		"turned away": {mesh.Proxyless, stance(mesh.AuthMutualTLS, false), false, []string{"reviews"}, "plain the caller has no identity, and MUTUAL_TLS turns it away"},
		"none":        {mesh.Sidecar, stance(mesh.AuthNone, false), false, []string{"reviews"}, "plain authPolicy NONE"},
		"excluded":    {mesh.Sidecar, stance(mesh.AuthMutualTLS, true), false, []string{"reviews"}, "plain mtlsExcludedServices"},
		"on its way":  {mesh.Sidecar, changing, false, []string{"reviews"}, "plain until all proxies have taken a change of its policy"},
		"no sidecar":  {mesh.Sidecar, stance(mesh.AuthPermissive, false), false, []string{""}, "plain no endpoint has an identity"},
		"some":        {mesh.Sidecar, stance(mesh.AuthPermissive, false), false, []string{"reviews", "", "reviews"}, "both 1 of 3 endpoints have no identity"},
		"past":        {mesh.Sidecar, stance(mesh.AuthMutualTLS, false), false, []string{"past reviews", "past reviews"}, "plain at 2 of 2 endpoints the port is left out of capture"},
		"some past": {
			mesh.Sidecar, stance(mesh.AuthPermissive, false), false,
			[]string{"past reviews", "", "reviews"},
			"both 2 of 3 endpoints have no identity, or leave the port out of capture",
		},
		"left out": {mesh.Sidecar, stance(mesh.AuthMutualTLS, false), false, []string{"reviews", ""}, "mtls 1 of 2 endpoints left out, which cannot prove who they are"},
		"nobody": {
			mesh.Sidecar, stance(mesh.AuthMutualTLS, false), false,
			[]string{"", ""},
			"503 no endpoint can prove who it is (authPolicy MUTUAL_TLS of the mesh)",
		},
		"nobody, by the service": {
			mesh.Sidecar, stance(mesh.AuthMutualTLS, false), true,
			[]string{""},
			"503 no endpoint can prove who it is (authPolicy MUTUAL_TLS of reviews.default.svc.cluster.local:9080)",
		},
		"early":  {mesh.Sidecar, stance(mesh.AuthMutualTLS, false), false, []string{"another"}, "503 no endpoint has an identity that all callers know yet"},
		"nought": {mesh.Sidecar, stance(mesh.AuthMutualTLS, false), false, nil, " "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := push.NewEngine(push.Config{Log: slog.New(slog.DiscardHandler)})
			svc := meshtest.NewService("reviews", "http", 9080)
			if c.own {
				svc.Ports[0].AuthPolicy = c.stance.Policy
			}
			set := &mesh.EndpointSet{Host: svc.Host}
			for i, account := range c.accounts {
				var inbound *mesh.Inbound
				account, past := strings.CutPrefix(account, "past ")
				if past {
					inbound = &mesh.Inbound{Keep: []uint16{9080}}
				}
				set.Endpoints = append(set.Endpoints, mesh.Endpoint{
					Address: fmt.Sprint("127.9.9.", i+1), Ports: map[string]int{"http": 9080}, Account: account, Inbound: inbound, Health: mesh.Healthy,
				})
			}
			draft := mesh.NewSnapshotOf(mesh.Realm{Domain: meshtest.Domain, TrustDomain: "cluster.local"}).Edit()
			meshtest.Put(draft, mesh.Registry{
				Services: []*mesh.Service{svc}, Endpoints: []*mesh.EndpointSet{set},
				Workloads: []*mesh.Workload{{Name: "caller", Namespace: "default", Type: c.caller, Account: "caller", Address: "127.7.7.1", Outbound: 15001}},
			})
			if c.stance.Policy == mesh.AuthMutualTLS && c.stance.Speak == mesh.Plain {
				draft.SetSettings(&mesh.Settings{MTLSExcluded: []mesh.Host{svc.Host}})
			}
			draft.SetStance(svc.Host, &mesh.Stance{Host: svc.Host, Ports: []mesh.PortStance{c.stance}, Identities: []string{accepted}, Admitted: []string{accepted}})
			engine.Apply(draft.Done())
			d, err := engine.Decide("caller.default", explain.Request{Method: "GET", Scheme: "http", Authority: "reviews:9080", Path: "/"})
			if err != nil || len(d.Outcomes) != 1 {
				t.Fatalf("%+v, %v", d, err)
			}
			o := d.Outcomes[0]
			got := string(o.Transport) + " " + o.Why
			if o.Status != 0 {
				got = fmt.Sprint(o.Status, " ", o.Why)
			}
			if got != c.want || o.Destination == nil || o.Percent != 100 {
				t.Errorf("it is told %q, want %q: %+v", got, c.want, o)
			}
		})
	}
}
