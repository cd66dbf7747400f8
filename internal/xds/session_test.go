package xds

import (
	"slices"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "google.golang.org/genproto/googleapis/rpc/status"
)

// receive hands a request to the session; the protocol must allow it.
func receive1(t *testing.T, s *Session, req *discoveryv3.DeltaDiscoveryRequest) Event {
	t.Helper()
	e, err := s.Receive(req)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// A session from the first request to the end of a subscription.
func TestSession(t *testing.T) {
	t.Parallel()
	s := NewSession()
	if s.Opened(ClusterType) {
		t.Error("a type is open before it was asked for")
	}
	e := receive1(t, s, &discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: string(ClusterType), ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: map[string]string{"a": "1"},
	})
	if !e.First || e.Held.Versions()["a"] != "1" || !slices.Equal(e.Subscribed, []string{Everything}) || !s.Opened(ClusterType) {
		t.Errorf("the first request says %+v", e)
	}

	made, delivery := s.Respond(ClusterType, []*Resource{{Type: ClusterType, Name: "b", Version: "7", Body: []byte{1}}}, []string{"a"})
	response := made.Delta()
	if response.GetNonce() == "" || response.GetResources()[0].GetVersion() != "7" || response.GetRemovedResources()[0] != "a" {
		t.Errorf("the response is %v", response)
	}
	if s.InFlight() != 1 {
		t.Errorf("%d responses in flight, want 1", s.InFlight())
	}
	e = receive1(t, s, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(ClusterType), ResponseNonce: response.GetNonce()})
	if e.First || e.Acked != delivery || e.Refused != nil || s.InFlight() != 0 {
		t.Errorf("the confirmation says %+v", e)
	}

	e = receive1(t, s, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(EndpointsType), ResourceNamesSubscribe: []string{"z", "b"}})
	if !e.First || !slices.Equal(e.Subscribed, []string{"b", "z"}) {
		t.Errorf("the subscription says %+v", e)
	}
	e = receive1(t, s, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(EndpointsType), ResourceNamesUnsubscribe: []string{"b"}})
	if !slices.Equal(e.Unsubscribed, []string{"b"}) {
		t.Errorf("the end of the subscription says %+v", e)
	}
}

// Responses may be answered in any order, each once; a refusal carries the proxy's words.
func TestRefusal(t *testing.T) {
	t.Parallel()
	s := NewSession()
	receive1(t, s, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(ListenerType)})
	one, _ := s.Respond(ListenerType, []*Resource{{Name: "l", Version: "1"}}, nil)
	two, second := s.Respond(ListenerType, []*Resource{{Name: "l", Version: "2"}}, nil)
	e := receive1(t, s, &discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: string(ListenerType), ResponseNonce: two.Nonce, ErrorDetail: &statusv3.Status{Message: "no"},
	})
	if e.Refused != second || e.Acked != nil || e.Reason != "no" || second.Sent["l"] != "2" {
		t.Errorf("the refusal says %+v", e)
	}
	receive1(t, s, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(ListenerType), ResponseNonce: one.Nonce})
	for _, nonce := range []string{one.Nonce, "99", "x"} {
		if _, err := s.Receive(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(ListenerType), ResponseNonce: nonce}); err == nil {
			t.Errorf("nonce %q is taken", nonce)
		}
	}
}

// A virtual host carries its name as alias, which is what Envoy looks for.
func TestVirtualHostAlias(t *testing.T) {
	t.Parallel()
	s := NewSession()
	receive1(t, s, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(VirtualHostType)})
	made, _ := s.Respond(VirtualHostType, []*Resource{{Name: "out/a:80", Version: "1"}}, nil)
	if got := made.Delta().GetResources()[0].GetAliases(); !slices.Equal(got, []string{"out/a:80"}) {
		t.Errorf("aliases %q", got)
	}
}

// A request that names too much is refused before anything is kept of it.
func TestTooMuchIsNamed(t *testing.T) {
	t.Parallel()
	s := NewSession()
	long := strings.Repeat("a", maxName+1)
	for name, req := range map[string]*discoveryv3.DeltaDiscoveryRequest{
		"many names":               {TypeUrl: string(VirtualHostType), ResourceNamesSubscribe: make([]string, maxNames+1)},
		"a long type":              {TypeUrl: long},
		"a long name":              {TypeUrl: string(ClusterType), ResourceNamesSubscribe: []string{"a", long}},
		"a long name not any more": {TypeUrl: string(ClusterType), ResourceNamesUnsubscribe: []string{long}},
		"a long name that is held": {TypeUrl: string(ClusterType), InitialResourceVersions: map[string]string{long: "1"}},
		"a long version":           {TypeUrl: string(ClusterType), InitialResourceVersions: map[string]string{"a": long}},
		"a host beyond all bounds": {TypeUrl: string(VirtualHostType), ResourceNamesSubscribe: []string{strings.Repeat("a", maxHost+1)}},
	} {
		if _, err := s.Receive(req); err == nil || len(err.Error()) > 200 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(s.types) > 0 {
		t.Errorf("%d types are remembered", len(s.types))
	}
	// Any application behind a proxy may call a host so.
	receive1(t, s, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(VirtualHostType), ResourceNamesSubscribe: []string{"out/" + long}})
	receive1(t, s, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(ClusterType), ResourceNamesSubscribe: []string{long[1:]}})
}

// Whatever a proxy sends, the session keeps its balance.
func FuzzSession(f *testing.F) {
	f.Add("a", "b", "1", true)
	f.Fuzz(func(t *testing.T, subscribe, unsubscribe, nonce string, refuse bool) {
		s := NewSession()
		receive1(t, s, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(ClusterType)})
		s.Respond(ClusterType, []*Resource{{Name: subscribe, Version: "1"}}, nil)
		req := &discoveryv3.DeltaDiscoveryRequest{
			TypeUrl: string(ClusterType), ResponseNonce: nonce,
			ResourceNamesSubscribe: []string{subscribe}, ResourceNamesUnsubscribe: []string{unsubscribe},
		}
		if refuse {
			req.ErrorDetail = &statusv3.Status{Message: "no"}
		}
		e, err := s.Receive(req)
		if err == nil && nonce != "" && (e.Acked == nil) == (e.Refused == nil) {
			t.Errorf("an answer is neither a confirmation nor a refusal: %+v", e)
		}
		if s.InFlight() > 1 {
			t.Errorf("%d responses in flight", s.InFlight())
		}
	})
}
