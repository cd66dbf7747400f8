package plan

import (
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/internal/view"
)

// What EgressRules say of the proxy's own ports does not open them.
func TestCapturedOwnPorts(t *testing.T) {
	t.Parallel()
	behind := inspected(view.Inspected{Outside: []int{80, 15001, 15006}})
	if len(behind.Outside) != 1 || behind.Outside[0].Port != 80 {
		t.Errorf("chains for %v", behind.Outside)
	}
	p := capturedOutbound(view.CapturedOutbound{Outside: []int{80, 15001, 15006}})
	if !slices.Equal(p.Outside, []int{80}) {
		t.Errorf("inspected are %v", p.Outside)
	}
	p = capturedOutbound(view.CapturedOutbound{OnlyKnown: true, Named: []view.Named{{Network: "0.0.0.0/0", Ports: []int{80, 15001, 15006}}}})
	if len(p.Named) != 1 || p.Named[0].Port != 80 {
		t.Errorf("chains for %v", p.Named)
	}
}

// A network that a listener knows stands in it once, however often and however it is said, and what is none not at all.
func TestCapturedNetworks(t *testing.T) {
	t.Parallel()
	p := capturedOutbound(view.CapturedOutbound{
		Services: []string{"10.96.3.4/16", "10.96.0.0/16", "nowhere", "fd00::/108"},
		Mesh:     []string{"10.96.0.0/16", "10.0.0.0/8", "10.244.0.0/16", "10.244.9.9/16"},
	})
	if want := []string{"10.96.0.0/16", "fd00::/108"}; !slices.Equal(p.Services, want) {
		t.Errorf("of services: %q, want %q", p.Services, want)
	}
	if want := []string{"10.0.0.0/8", "10.244.0.0/16"}; !slices.Equal(p.Mesh, want) {
		t.Errorf("others of the mesh: %q, want %q", p.Mesh, want)
	}
}
