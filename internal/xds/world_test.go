package xds

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "google.golang.org/genproto/googleapis/rpc/status"
)

// told is a client in the state-of-the-world form, driven by the test step by step.
type told struct {
	t *testing.T
	*Session
	last map[Type]*Response
}

func newTold(t *testing.T) *told {
	t.Helper()
	return &told{t, NewWorldSession(), map[Type]*Response{}}
}

// says is a request with names that answers the last response of the type, if there is one.
func (c *told) says(typ Type, refusal string, names ...string) Event {
	c.t.Helper()
	req := &discoveryv3.DiscoveryRequest{TypeUrl: string(typ), ResourceNames: names}
	if r := c.last[typ]; r != nil {
		req.ResponseNonce = r.Nonce
	}
	if refusal != "" {
		req.ErrorDetail = &statusv3.Status{Message: refusal}
	}
	e, err := c.ReceiveWorld(req)
	if err != nil {
		c.t.Fatal(err)
	}
	return e
}

// hears is a response; it returns the names and versions in it.
func (c *told) hears(typ Type, removed string, resources ...string) string {
	c.t.Helper()
	var list []*Resource
	for _, r := range resources {
		name, version, _ := strings.Cut(r, "=")
		list = append(list, &Resource{Type: typ, Name: name, Version: version, Body: []byte(r)})
	}
	var gone []string
	if removed != "" {
		gone = []string{removed}
	}
	response, _ := c.Respond(typ, list, gone)
	if response == nil {
		return "nothing"
	}
	c.last[typ] = response
	var got []string
	for _, body := range response.World().GetResources() {
		if body.GetTypeUrl() != string(typ) {
			c.t.Errorf("a resource of type %q in a response for %q", body.GetTypeUrl(), typ)
		}
		got = append(got, string(body.GetValue()))
	}
	return strings.Join(got, " ")
}

func (e Event) said() string {
	text := strings.Join(e.Subscribed, " ")
	if len(e.Unsubscribed) > 0 {
		text += " not " + strings.Join(e.Unsubscribed, " ")
	}
	return text
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// The whole list of names in each request is read as its difference from the one before; no name at all means everything,
// until some name was said.
func TestWorldNames(t *testing.T) {
	t.Parallel()
	c := newTold(t)
	expect(t, "no name", c.says(ClusterType, "").said(), "*")
	expect(t, "no name again", c.says(ClusterType, "").said(), "")
	expect(t, "two names", c.says(ClusterType, "", "b", "a", "b").said(), "a b not *")
	expect(t, "one of them", c.says(ClusterType, "", "a").said(), " not b")
	expect(t, "no name any more", c.says(ClusterType, "").said(), " not a")
	expect(t, "everything and one", c.says(ClusterType, "", "*", "a").said(), "* a")
	expect(t, "no endpoints", c.says(EndpointsType, "").said(), "")
	expect(t, "all endpoints, of which there is no such thing", c.says(EndpointsType, "", "*", "x").said(), "x")
}

// A response for listeners or clusters carries all that the client has, one for others what is new.
func TestWorldResponses(t *testing.T) {
	t.Parallel()
	c := newTold(t)
	c.says(ClusterType, "", "a", "b", "c")
	expect(t, "the first", c.hears(ClusterType, "", "b=1", "a=1"), "a=1 b=1")
	first := c.last[ClusterType].World().GetVersionInfo()
	if e := c.says(ClusterType, "", "a", "b", "c"); e.Acked == nil || e.Refused != nil || len(e.Acked.Sent) != 2 {
		t.Errorf("the confirmation says %+v", e)
	}
	expect(t, "one is new", c.hears(ClusterType, "", "c=1"), "a=1 b=1 c=1")
	if v := c.last[ClusterType].World().GetVersionInfo(); v == first || v == "" {
		t.Errorf("the version is %q, and was %q", v, first)
	}
	c.says(ClusterType, "", "a", "b", "c")
	expect(t, "one is gone", c.hears(ClusterType, "c"), "a=1 b=1")
	if v := c.last[ClusterType].World().GetVersionInfo(); v != first {
		t.Errorf("the same set has version %q, and had %q", v, first)
	}
	c.says(ClusterType, "", "b")
	expect(t, "one is no longer asked for", c.hears(ClusterType, "", "b=2"), "b=2")
	expect(t, "a name that nobody knows", c.hears(ClusterType, "x"), "b=2")

	c.says(EndpointsType, "", "a", "b")
	expect(t, "endpoints", c.hears(EndpointsType, "", "a=1", "b=1"), "a=1 b=1")
	c.says(EndpointsType, "", "a", "b")
	expect(t, "changed endpoints", c.hears(EndpointsType, "", "b=2"), "b=2")
	c.says(EndpointsType, "", "a", "b")
	expect(t, "lost endpoints, for which there are no words", c.hears(EndpointsType, "a"), "nothing")
	if c.InFlight() != 2 { // the two last ones of clusters were one too many
		t.Errorf("%d responses in flight, want 2", c.InFlight())
	}
}

// One response of a type is on its way at most; what is said about another than the last counts for nothing.
func TestWorldNonces(t *testing.T) {
	t.Parallel()
	c := newTold(t)
	c.says(ListenerType, "", "a")
	if !c.Room(ListenerType, 8) {
		t.Error("there is no room for a first response")
	}
	c.hears(ListenerType, "", "a=1")
	if c.Room(ListenerType, 8) || !c.Room(ClusterType, 8) {
		t.Error("there is room for a second response, or none for another type")
	}
	for _, nonce := range []string{"99", "x", "-1"} {
		e, err := c.ReceiveWorld(&discoveryv3.DiscoveryRequest{TypeUrl: string(ListenerType), ResponseNonce: nonce, ResourceNames: []string{"b"}})
		if err != nil || e.Acked != nil || len(e.Subscribed) > 0 || c.InFlight() != 1 {
			t.Errorf("nonce %q: %+v, %v", nonce, e, err)
		}
	}
	if e := c.says(ListenerType, "", "a"); e.Acked == nil {
		t.Errorf("the confirmation says %+v", e)
	}
	if e := c.says(ListenerType, "", "a", "b"); e.Acked != nil || e.said() != "b" {
		t.Errorf("one more name with the same nonce says %+v", e)
	}
	old := &discoveryv3.DiscoveryRequest{TypeUrl: string(RouteType), ResponseNonce: "7", VersionInfo: "x", ResourceNames: []string{"r"}}
	if e, err := c.ReceiveWorld(old); err != nil || !e.First || e.said() != "r" {
		t.Errorf("a first request with the nonce of an earlier stream: %+v, %v", e, err)
	}
}

// What a client refuses by name is set back to what it had; the rest of the response counts.
func TestWorldRefusal(t *testing.T) {
	t.Parallel()
	c := newTold(t)
	c.says(ClusterType, "", "a", "b", "new")
	c.hears(ClusterType, "", "a=1", "b=1")
	c.says(ClusterType, "", "a", "b", "new")
	c.hears(ClusterType, "", "a=2", "b=2", "new=1")
	e := c.says(ClusterType, `resource "b": no good`, "a", "b", "new")
	if e.Refused == nil || !maps.Equal(e.Refused.Sent, map[string]string{"b": "2"}) || e.Reason == "" ||
		e.Acked == nil || !maps.Equal(e.Acked.Sent, map[string]string{"a": "2", "new": "1"}) {
		t.Errorf("the refusal says %+v", e)
	}
	expect(t, "after it", c.hears(ClusterType, "", "a=3"), "a=3 b=1 new=1")
	e = c.says(ClusterType, "???", "a", "b", "new")
	if e.Acked != nil || !maps.Equal(e.Refused.Sent, map[string]string{"a": "3"}) {
		t.Errorf("a refusal without a name says %+v", e)
	}
	expect(t, "after that", c.hears(ClusterType, "b"), "a=2 new=1")
	c.says(ClusterType, "", "a", "b", "new")
	expect(t, "what was never taken is not kept", c.hears(ClusterType, "", "b=9"), "a=2 b=9 new=1")
	c.says(ClusterType, "b", "a", "b", "new")
	expect(t, "it is gone again", c.hears(ClusterType, "", "a=4"), "a=4 new=1")
}

// A refusal by name takes nothing else from the client, whose name is a part of that one or merely stands in the text.
func TestWorldRefusalNamesWholeNames(t *testing.T) {
	t.Parallel()
	c := newTold(t)
	asked := []string{"reviews:9080", "views:9080", "reviews"}
	c.says(ListenerType, "", asked...)
	c.hears(ListenerType, "", "reviews:9080=bad", "views:9080=good", "reviews=good")
	e := c.says(ListenerType, `error parsing "Listener" response: resource "reviews:9080": nothing for reviews`, asked...)
	if e.Acked == nil || !maps.Equal(e.Acked.Sent, map[string]string{"views:9080": "good", "reviews": "good"}) ||
		!maps.Equal(e.Refused.Sent, map[string]string{"reviews:9080": "bad"}) {
		t.Errorf("taken is %+v, refused %+v", e.Acked, e.Refused)
	}
	expect(t, "after it", c.hears(ListenerType, "", "reviews:9080=bad"), "reviews=good reviews:9080=bad views:9080=good")
}

// Requests that ask for too much, or for nothing, end the stream, and nothing is kept of them.
func TestWorldHostile(t *testing.T) {
	t.Parallel()
	c := newTold(t)
	many := make([]string, maxNames+1)
	long := []string{"a", strings.Repeat("a", maxName+1)}
	for _, req := range []*discoveryv3.DiscoveryRequest{
		{}, {TypeUrl: long[1]}, {TypeUrl: string(ListenerType), ResourceNames: many}, {TypeUrl: string(ListenerType), ResourceNames: long},
	} {
		if _, err := c.ReceiveWorld(req); err == nil {
			t.Errorf("a request for a type of %d bytes with %d names is taken", len(req.GetTypeUrl()), len(req.GetResourceNames()))
		}
	}
	if len(c.types) > 0 {
		t.Errorf("%d types are remembered", len(c.types))
	}
	var err error
	for i := range maxTypes + 1 {
		_, err = c.ReceiveWorld(&discoveryv3.DiscoveryRequest{TypeUrl: fmt.Sprint("type", i)})
		if i < maxTypes && err != nil {
			t.Errorf("type %d: %v", i, err)
		}
	}
	if err == nil {
		t.Error("any number of types is taken")
	}
}

// Whatever a client sends, the session keeps its balance.
func FuzzWorldSession(f *testing.F) {
	f.Add("a b", "a", "1", "a is bad")
	f.Fuzz(func(t *testing.T, names, later, nonce, reason string) {
		s := NewWorldSession()
		split := func(list string) []string { return strings.Fields(list) }
		if _, err := s.ReceiveWorld(&discoveryv3.DiscoveryRequest{TypeUrl: string(ClusterType), ResourceNames: split(names)}); err != nil {
			t.Fatal(err)
		}
		s.Respond(ClusterType, []*Resource{{Name: "a", Version: "1"}}, split(later))
		for range 2 {
			e, err := s.ReceiveWorld(&discoveryv3.DiscoveryRequest{
				TypeUrl: string(ClusterType), ResponseNonce: nonce, ResourceNames: split(later), ErrorDetail: &statusv3.Status{Message: reason},
			})
			if err != nil || (e.Acked != nil) && e.Refused == nil || slices.Contains(e.Unsubscribed, "") {
				t.Fatalf("%+v, %v", e, err)
			}
		}
		if s.InFlight() > 1 {
			t.Fatalf("%d in flight", s.InFlight())
		}
	})
}
