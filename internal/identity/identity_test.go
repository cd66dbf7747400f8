package identity_test

import (
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/lateen-mesh/lateen/internal/identity"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct{ text, want string }{
		{"spiffe://cluster.local/ns/default/sa/reviews", ""},
		{"spiffe://a-b_c.9/ns/N/sa/A.b_c-9", ""},
		{"", "not of the form"},
		{"reviews", "not of the form"},
		{"https://cluster.local/ns/default/sa/reviews", "not of the form"},
		{"SPIFFE://cluster.local/ns/default/sa/reviews", "not of the form"},
		{"spiffe://cluster.local", "not of the form"},
		{"spiffe://cluster.local/ns/default/sa", "not of the form"},
		{"spiffe://cluster.local/ns/default/sa/reviews/x", "not of the form"},
		{"spiffe://cluster.local/ns/default/sa/reviews/", "not of the form"},
		{"spiffe://cluster.local//ns/default/sa/reviews", "not of the form"},
		{"spiffe://cluster.local/NS/default/sa/reviews", "not of the form"},
		{"spiffe:///ns/default/sa/reviews", "a trust domain has 1 to 255 bytes"},
		{"spiffe://" + strings.Repeat("a", 256) + "/ns/default/sa/reviews", "a trust domain has 1 to 255 bytes"},
		{"spiffe://Cluster.local/ns/default/sa/reviews", "only a-z"},
		{"spiffe://cluster.local:80/ns/default/sa/reviews", "only a-z"},
		{"spiffe://me@cluster.local/ns/default/sa/reviews", "only a-z"},
		{"spiffe://cluster.local/ns//sa/reviews", "is no namespace"},
		{"spiffe://cluster.local/ns/../sa/reviews", "is no namespace"},
		{"spiffe://cluster.local/ns/default/sa/.", "is no account"},
		{"spiffe://cluster.local/ns/default/sa/%72eviews", "only letters"},
		{"spiffe://cluster.local/ns/default/sa/reviews?x", "only letters"},
		{"spiffe://cluster.local/ns/default/sa/reviews#", "only letters"},
		{"spiffe://cluster.local/ns/default/sa/rev\x00iews", "only letters"},
		{"spiffe://cluster.local/ns/default/sa/révues", "only letters"},
		{"spiffe://cluster.local/ns/default/sa/" + strings.Repeat("a", 2048), "at most 2048"},
	}
	for _, test := range tests {
		id, err := identity.Parse(test.text)
		switch {
		case test.want == "" && (err != nil || id.String() != test.text):
			t.Errorf("%s is read as %s, %v", test.text, id, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s is read as %s, %v; want an error with %q", test.text, id, err, test.want)
		}
	}
	if got := identity.ControlPlane("cluster.local").String(); got != "spiffe://cluster.local/ns/lateen-system/sa/lateen" {
		t.Errorf("the control plane is %s", got)
	}
	if got := (identity.ID{}).String(); got != "" {
		t.Errorf("nobody is %q", got)
	}
}

// What is read as an ID is written in the same way, and is one for other implementations too.
func FuzzParse(f *testing.F) {
	f.Add("spiffe://cluster.local/ns/default/sa/reviews")
	f.Add("spiffe://cluster.local/ns/%64efault/sa/reviews")
	f.Add("spiffe://a.b/ns/../sa/.")
	f.Add("spiffe://a:1/ns/a/sa/b#")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := identity.Parse(text)
		if err != nil {
			if id != (identity.ID{}) {
				t.Errorf("%q is refused, and is %s", text, id)
			}
			return
		}
		if id.String() != text || id.URL().String() != text {
			t.Errorf("%q is written %q and %q", text, id, id.URL())
		}
		other, err := spiffeid.FromString(text)
		if err != nil || other.TrustDomain().Name() != id.TrustDomain || other.Path() != id.URL().Path {
			t.Errorf("go-spiffe reads %q as %s, %v", text, other, err)
		}
	})
}
