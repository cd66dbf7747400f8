package xds

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "google.golang.org/genproto/googleapis/rpc/status"
)

// What Envoy and gRPC refuse, they call by its whole name.
func TestNamed(t *testing.T) {
	t.Parallel()
	const (
		plain   = "outbound|9080||reviews.default.svc.cluster.local"
		variant = plain + "|default/p"
		subset  = "outbound|9080|version=v1,zone=a|reviews.default.svc.cluster.local"
	)
	all := []string{plain, variant, subset, "reviews:9080", "views:9080", "reviews", "out/reviews:9080", "out/*.example.com:80", "inbound|9080", "outbound", "[::1]:80"}
	for reason, want := range map[string][]string{
		"":      nil,
		"sorry": nil,
		"Error adding/updating cluster(s) " + variant + ": bad":                         {variant},
		"Error adding/updating cluster(s) " + plain + ": bad, " + subset + ": worse":    {plain, subset},
		"Error adding/updating listener(s) outbound: why\ninbound|9080: not outbound\n": {"outbound", "inbound|9080"},
		"Error adding/updating listener(s) inbound|9080: outbound is meant":             {"inbound|9080"},
		`error parsing "Listener" response: resource "reviews:9080": bad`:               {"reviews:9080"},
		"top: resource \"reviews\": bad;\nresource \"views:9080\": worse":               {"reviews", "views:9080"},
		`once more: "resource \"reviews:9080\": bad"`:                                   {"reviews:9080"},
		"[resource index 0: reviews: bad] [views:9080: bad]":                            {"reviews", "views:9080"},
		"LDS response Listener 'reviews:9080' validation error":                         {"reviews:9080"},
		"out/reviews:9080: bad":              {"out/reviews:9080"},
		"virtual host out/*.example.com:80:": {"out/*.example.com:80"},
		"[::1]:80: bad":                      {"[::1]:80"},
		"xreviews:9080: reviews:90801: reviews:9080/: \"reviews:9080 reviews: x/reviews: '": {"reviews"},
	} {
		var got []string
		for _, name := range all {
			if Named(reason, name) {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%q names %q, want %q", reason, got, want)
		}
	}
}

// A proxy's words are cut before anybody sees them, in both forms, and what they name after the cut counts.
func TestReasonIsCut(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x\u00e9", maxReason) + ` resource "b": bad` // an odd number of bytes before each second one
	refusal := &statusv3.Status{Message: long}
	delta := NewSession()
	receive1(t, delta, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(ClusterType)})
	sent, _ := delta.Respond(ClusterType, []*Resource{{Name: "a", Version: "1"}}, nil)
	events := []Event{receive1(t, delta, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(ClusterType), ResponseNonce: sent.Nonce, ErrorDetail: refusal})}
	c := newTold(t)
	c.says(ClusterType, "", "a", "b")
	c.hears(ClusterType, "", "a=1", "b=1")
	events = append(events, c.says(ClusterType, long, "a", "b"))
	for i, e := range events {
		if e.Refused == nil || len(e.Reason) > maxReason || len(e.Reason) < maxReason-utf8.UTFMax || !utf8.ValidString(e.Reason) || !strings.HasPrefix(long, e.Reason) {
			t.Errorf("form %d: a reason of %d bytes", i, len(e.Reason))
		}
	}
	if e := events[1]; len(e.Refused.Sent) != 1 || e.Refused.Sent["b"] == "" || e.Acked == nil {
		t.Errorf("refused is %+v", e.Refused)
	}
}

// Whatever a proxy says, a name that is found stands in it.
func FuzzNamed(f *testing.F) {
	f.Add("cluster(s) a: b", "a")
	f.Add(`resource "a"`, "a")
	f.Fuzz(func(t *testing.T, reason, name string) {
		for word := range named(reason) {
			if !strings.Contains(reason, word) || !Named(reason, word) {
				t.Fatalf("%q is found in %q", word, reason)
			}
		}
		if Named(reason, name) && !strings.Contains(reason, name) {
			t.Fatalf("%q is not in %q", name, reason)
		}
	})
}
