package meshtest_test

import (
	"fmt"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// A cluster that Envoy refuses only after it has made it stays behind as one that warms for ever, during which Envoy
// confirms no cluster: it is replaced by what was there before, and more changes than may be unconfirmed are in force.
func TestHalfRefusedCluster(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, part, change string }{
		{"one that was there", subsetOfReviews, policy("lb", "loadBalancing: {name: RANDOM}")},
		{"a new one", "outbound|9080|version=v2|reviews.", rule("all", "route: [{labels: {version: v2}}]")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &spoiler{t: t, with: func(message proto.Message) error {
				cluster := message.(*clusterv3.Cluster)
				cluster.LbPolicy, cluster.LoadBalancingPolicy = clusterv3.Cluster_MAGLEV, nil
				cluster.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{
					TableSize: wrapperspb.UInt64(4), // must be prime
				}}
				return nil
			}}
			m := meshtest.NewWith(t, meshtest.Config{Version: "test", Alter: s.alter})
			m.Start("reviews", "v1", meshtest.Named("v1"))
			m.Start("reviews", "v2", meshtest.Named("v2"))
			m.Start("other", "v1", meshtest.Named("other"))
			caller := m.Caller("caller", nil)
			m.Apply(rule("all", "route: [{labels: {version: v1}}]"))
			wantBody(t, caller, reviews, "v1")
			wantBody(t, caller, "http://other:9080/", "other")
			s.spoil(xds.ClusterType, c.part)
			if got := m.RefusedOf(m.TryApply(c.change).Revision); len(got) != 1 || !strings.Contains(got[0], "prime number") {
				t.Fatalf("refused: %q", got)
			}
			s.spoil("", "")
			for n := range 70 { // more than may be unconfirmed
				m.Apply(policyFor("{name: other}", "other", fmt.Sprintf("circuitBreaker: {simpleCb: {maxConnections: %d}}", 100+n)))
			}
			if n := caller.Stat("cluster_manager.warming_clusters"); n != 0 {
				t.Errorf("%d clusters are warming", n)
			}
			wantBody(t, caller, reviews, "v1")
			wantBody(t, caller, "http://other:9080/", "other")
		})
	}
}
