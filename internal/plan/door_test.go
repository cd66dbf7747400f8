package plan_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
	"github.com/lateen-mesh/lateen/internal/view"
)

// doorOf returns the plan of an ingress for rules, which are in their order. Their backends do not exist.
func doorOf(t *testing.T, rules ...*mesh.DoorRule) plan.Door {
	t.Helper()
	draft := mesh.NewSnapshot("cluster.local").Edit()
	draft.SetDoor(&mesh.Door{Rules: rules})
	snapshot, _ := draft.Done()
	v, _ := view.Cut(snapshot, view.Caller{Type: mesh.Ingress}, view.ID{Kind: view.KindRoutes, Name: view.DoorRoutes})
	door, ok := plan.Of(v).(plan.Door)
	if !ok {
		t.Fatalf("the plan is a %T", plan.Of(v))
	}
	return door
}

func doorRule(object, host string, anyDepth bool, path string) *mesh.DoorRule {
	return &mesh.DoorRule{
		Object: mesh.Ref{Kind: "Ingress", Namespace: "n", Name: object}, Host: host, AnyDepth: anyDepth,
		Path: mesh.StringMatch{Kind: mesh.MatchElements, Value: path},
	}
}

// deciding returns the name of the route that decides about a request.
func deciding(t *testing.T, d plan.Door, authority, scheme, path string) string {
	t.Helper()
	for _, r := range d.Host(authority).Routes {
		takes := r.Path.Value == "/" || r.Path.Value == path
		for _, h := range r.Headers {
			value := map[string]string{":authority": authority, ":scheme": scheme}[h.Name]
			takes = takes && (value == h.Value || (h.Kind == mesh.MatchRegex && regexp.MustCompile(`\A(?:`+h.Value+`)\z`).MatchString(value)))
		}
		if takes {
			return strings.TrimPrefix(r.Name, "n/")
		}
	}
	return "nothing"
}

// A request goes to the rules for its host, else to those of the longest pattern that takes it, else to those without a
// host. A pattern takes one label, or several if its object is of an older version.
func TestDoorHosts(t *testing.T) {
	fallback := doorRule("fallback", "", false, "/")
	fallback.Default = true
	rules := []*mesh.DoorRule{
		doorRule("exact", "shop.example.com", false, "/x"),
		doorRule("one", "*.example.com", false, "/x"),
		doorRule("one-deeper", "*.a.example.com", false, "/x"),
		doorRule("deep", "*.com", true, "/x"),
		doorRule("mixed", "*.org", false, "/x"),
		doorRule("mixed-deep", "*.org", true, "/x"),
		doorRule("any", "", false, "/x"),
	}
	for _, c := range []struct{ authority, want string }{
		{"shop.example.com", "exact"},
		{"SHOP.example.com:8080", "exact"},
		{"cart.example.com", "one"},
		{"Cart.Example.com:1", "one"},
		{"a.example.com", "one"},
		{"x.a.example.com", "one-deeper"},
		{"x.y.a.example.com", "deep"},
		{"x.b.example.com", "deep"},
		{"example.com", "deep"},
		{"com", "any"},
		{".com", "any"},
		{"a.org", "mixed"},
		{"b.a.org", "mixed-deep"},
		{"org", "any"},
		{"example.net", "any"},
		{"shop.example.com.", "any"},
		{"shop_example.com", "deep"},
		{"127.0.0.1:80", "any"},
		{"", "any"},
	} {
		if got := deciding(t, doorOf(t, rules...), c.authority, "http", "/x"); got != c.want {
			t.Errorf("%s is for %s, want %s", c.authority, got, c.want)
		}
		with := append(slices.Clone(rules), fallback)
		if got := deciding(t, doorOf(t, with...), c.authority, "http", "/y"); got != "fallback" {
			t.Errorf("a path that nobody has, of %s, is for %s, want the default backend", c.authority, got)
		}
	}
	if got := deciding(t, doorOf(t, rules...), "shop.example.com", "http", "/y"); got != "<no-path>" {
		t.Errorf("a path that nobody has is for %s, want <no-path>", got)
	}
}

// Of equal paths the first counts; what is for TLS only leaves plain requests to others.
func TestDoorEqualPaths(t *testing.T) {
	secure := doorRule("secure", "", false, "/x")
	secure.TLSOnly = true
	door := doorOf(t, secure, doorRule("never", "", false, "/x"), doorRule("rest", "", false, "/"), doorRule("never", "", false, "/"))
	for scheme, want := range map[string]string{"https": "secure", "http": "rest"} {
		if got := deciding(t, door, "a.example.com", scheme, "/x"); got != want {
			t.Errorf("%s is for %s, want %s", scheme, got, want)
		}
	}
	if n := len(door.Hosts[0].Routes); n != 3 {
		t.Errorf("%d routes, want 3", n)
	}
}
