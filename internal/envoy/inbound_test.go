package envoy

import (
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

// What a port for requests accepts changes, and its connections stay: the listeners differ in their chains only, and a chain that
// both have is the same. Else Envoy makes another listener, and closes the connections of the one before when that has drained.
func TestConnectionsStayWhateverIsAccepted(t *testing.T) {
	t.Parallel()
	chains := map[string]*listenerv3.FilterChain{}
	var first *listenerv3.Listener
	for _, accept := range []mesh.Transport{mesh.Plain, mesh.Both, mesh.TLS} {
		l, err := inboundListener(plan.InboundListener{
			Name: "inbound|1", Address: "127.0.0.1", Port: 1, HTTP: true, TrustDomain: "cluster.local", Accept: accept,
			Route: plan.Route{Name: "inbound", Path: plan.PathMatch{Kind: plan.PathPrefix, Value: "/"}, Cluster: "inbound|1"},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range l.GetFilterChains() {
			if before := chains[c.GetName()]; before != nil && !proto.Equal(before, c) {
				t.Errorf("%s: the chain %q is another one", accept, c.GetName())
			}
			chains[c.GetName()] = c
		}
		l.FilterChains = nil
		if first == nil {
			first = l
		} else if !proto.Equal(first, l) {
			t.Errorf("%s: the listener differs in more than its chains:\n%v\n%v", accept, l, first)
		}
	}
	if len(chains) != 3 {
		t.Errorf("there are %d chains", len(chains))
	}
}

// A target that could be more than an address is not put into an expression.
func TestTargetIsAnAddress(t *testing.T) {
	t.Parallel()
	for target, good := range map[string]bool{
		"127.0.0.1:3306": true, "[::1]:3306": true, "": false, "-": false, "localhost:3306": false, "127.0.0.1": false, "127.0.0.1:99999": false,
		"[fe80::1%' : '127.0.0.1]:80": false, "[fe80::1%eth0]:80": false, "127.0.0.1:3306' : '-": false, "%REQ(x)%:1": false,
	} {
		for _, accept := range []mesh.Transport{mesh.Plain, mesh.Both, mesh.TLS} {
			l, err := inboundListener(plan.InboundListener{
				Name: "inbound|1", Address: "127.0.0.1", Port: 1, TrustDomain: "cluster.local", Accept: accept, Target: target, Cluster: "inbound|1",
			})
			if (err == nil) != good || (err == nil) != (l != nil) {
				t.Errorf("%s, target %q: %v", accept, target, err)
			}
		}
	}
}
