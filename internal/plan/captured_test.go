package plan

import (
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/internal/view"
)

// A network for which a listener has a chain stands in it once, however often and however it is said, and what is none not at all.
func TestCapturedNetworks(t *testing.T) {
	t.Parallel()
	p := capturedOutbound(view.CapturedOutbound{
		Services: []string{"10.96.3.4/16", "10.96.0.0/16", "nowhere", "fd00::/108"},
		Mesh:     []string{"10.96.0.0/16", "10.0.0.0/8", "10.244.0.0/16", "10.244.9.9/16"},
	})
	if want := []string{"10.96.0.0/16", "fd00::/108"}; !slices.Equal(p.Requests, want) {
		t.Errorf("requests: %q, want %q", p.Requests, want)
	}
	if want := []string{"10.96.0.0/16", "fd00::/108", "10.0.0.0/8", "10.244.0.0/16"}; !slices.Equal(p.Bytes, want) {
		t.Errorf("bytes: %q, want %q", p.Bytes, want)
	}
}
