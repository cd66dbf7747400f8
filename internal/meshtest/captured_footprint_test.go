package meshtest_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
	"github.com/lateen-mesh/lateen/internal/view"
)

// allocated is how many bytes an instance's Envoy has allocated.
func allocated(t *testing.T, i *meshtest.Instance) int64 {
	t.Helper()
	var memory struct {
		Allocated string `json:"allocated"`
	}
	if err := json.Unmarshal(i.Admin("/memory"), &memory); err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(memory.Allocated, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What a captured proxy holds of a thousand services that it does not call is a scope for each: no routes, clusters or endpoints.
func TestCapturedFootprint(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		const services = 1000
		m := meshtest.NewCaptured(t, meshtest.Config{})
		m.StartSpec(capturedSpec("web", "v1", mirrored("web")))
		caller := m.CapturedCaller("shop", nil)
		if status, _, _ := sendOut(t, caller, "GET", "http://web:9080/", ""); status != 200 {
			t.Fatalf("status %d", status)
		}
		before, sent := allocated(t, caller), m.Bytes(view.KindScope)
		more := meshtest.Bulk(services)
		for i, svc := range more.Services {
			svc.Addresses = []string{fmt.Sprintf("10.96.%d.%d", 100+i/250, 1+i%250)}
		}
		began := time.Now()
		m.AddRegistry(more)
		took := time.Since(began)
		grown, bytes := allocated(t, caller)-before, m.Bytes(view.KindScope)-sent
		t.Logf("%d scopes: %d bytes each, %d bytes of Envoy's memory each, in force in two proxies after %v", services, bytes/(2*services), grown/services, took)
		if bytes > 2*services*200 {
			t.Errorf("%d bytes for a scope, want 200 at most", bytes/(2*services))
		}
		if grown > services*6<<10 {
			t.Errorf("%d bytes of Envoy's memory for a scope, want 6 KiB at most", grown/services)
		}
		if own := caller.Stat("cluster_manager.active_clusters"); own > 12 {
			t.Errorf("the proxy has %d clusters for one service that it calls", own)
		}
		began = time.Now()
		m.Edit(func(r *mesh.Registry) {
			svc := *r.Services[len(r.Services)-1]
			svc.Ports = append(slices.Clone(svc.Ports), mesh.Port{Name: "http-more", Number: 81, Protocol: mesh.HTTP})
			r.Services[len(r.Services)-1] = &svc
		})
		t.Logf("one more after %v", time.Since(began))
	})
}
