package store_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// call is a request, or a connection, with what is known of its caller.
type call struct {
	bytes   bool // a connection: path and headers are not known
	serves  []mesh.Host
	labels  mesh.Labels
	address string
	dialled string // "": a name
	path    string
	headers map[string][]string
}

// takes tells whether the rule takes the call, as plain as it can be said.
func (c call) takes(r *mesh.RouteRule) bool {
	if c.bytes && (r.URI != nil || len(r.Headers) > 0 || r.Redirect != nil) {
		return false
	}
	if s := r.Source; s != nil && ((s.Host != "" && !slices.Contains(c.serves, s.Host)) || !s.Labels.Select(c.labels)) {
		return false
	}
	if r.TCP != nil && (!inOne(r.TCP.Sources, c.address) || !inOne(r.TCP.Destinations, c.dialled)) {
		return false
	}
	if c.bytes {
		return true
	}
	for _, h := range r.Headers {
		if !slices.ContainsFunc(c.headers[h.Name], h.Takes) {
			return false
		}
	}
	return r.URI == nil || r.URI.Takes(c.path)
}

// usual tells whether the caller serves one host at most, and no header is there twice: overlaps on others are not told.
func (c call) usual() bool { return len(c.serves) < 2 && len(c.headers["x"]) < 2 }

func inOne(networks []string, address string) bool {
	at, err := netip.ParseAddr(address)
	return len(networks) == 0 || err == nil && slices.ContainsFunc(networks, func(n string) bool { return netip.MustParsePrefix(n).Contains(at) })
}

// texts are values of which matches are made, and values to match.
var texts = []string{"", "a", "ab", "a/b", "é", "b", "\n"}

// calls returns every call of a small world.
func calls() []call {
	var all []call
	for _, serves := range [][]mesh.Host{nil, {"a"}, {"a", "b"}} {
		for _, labels := range []mesh.Labels{nil, {"v": "x"}, {"v": "y", "w": "x"}} {
			for _, address := range []string{"10.0.0.1", "10.1.0.1", "::1"} {
				for _, dialled := range []string{"", "10.0.0.9"} {
					c := call{serves: serves, labels: labels, address: address, dialled: dialled, bytes: true}
					all = append(all, c)
					c.bytes = false
					for _, path := range texts {
						c.path = "/" + path
						for _, x := range texts {
							c.headers = map[string][]string{"x": {x}}
							all = append(all, c)
							c.headers = map[string][]string{"x": {x, "b"}, "y": {x}}
							all = append(all, c)
						}
						c.headers = nil
						all = append(all, c)
					}
				}
			}
		}
	}
	return all
}

func randomMatch(r *rand.Rand, begin string) mesh.StringMatch {
	kind := one(r, mesh.MatchExact, mesh.MatchPrefix, mesh.MatchRegex)
	if kind == mesh.MatchRegex {
		return mesh.StringMatch{Kind: kind, Value: begin + one(r, ".*", ".", "..", "a|b", "(?i)A", "[^a]*", "a.*", "é?", "a?b?", "(?s).*")}
	}
	return mesh.StringMatch{Kind: kind, Value: begin + one(r, texts[:6]...)}
}

func randomRule(r *rand.Rand) *mesh.RouteRule {
	rule := &mesh.RouteRule{Destination: "r", Precedence: r.IntN(2)}
	if r.IntN(3) == 0 {
		m := randomMatch(r, "/")
		rule.URI = &m
	}
	for _, name := range []string{"x", "y"} {
		for r.IntN(4) == 0 {
			rule.Headers = append(rule.Headers, mesh.HeaderMatch{Name: name, StringMatch: randomMatch(r, "")})
		}
	}
	if r.IntN(3) == 0 {
		rule.Source = &mesh.SourceMatch{Host: one[mesh.Host](r, "", "a", "b"), Labels: one(r, nil, mesh.Labels{"v": "x"}, mesh.Labels{"v": "y"}, mesh.Labels{"v": "y", "w": "x"})}
	}
	if r.IntN(3) == 0 {
		networks := [][]string{nil, {"10.0.0.0/8"}, {"10.0.0.0/16"}, {"10.1.0.0/16", "::/0"}, {"0.0.0.0/0"}, {"10.0.0.0/16", "10.1.0.0/16"}}
		rule.TCP = &mesh.TCPMatch{Sources: one(r, networks...), Destinations: one(r, networks...)}
	}
	if r.IntN(5) == 0 {
		rule.Redirect = &mesh.Redirect{URI: "/"}
	}
	return rule
}

// TestUnreachableRulesTakeNothing shows of random rules that one that is told to be never reached gets no call of a small
// world, and that two that share a usual call which their names alone decide about are told.
func TestUnreachableRulesTakeNothing(t *testing.T) {
	world, found := calls(), map[string]int{}
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		random := rand.New(rand.NewPCG(4, 4))
		for round := range 60 {
			rules := map[string]*mesh.RouteRule{}
			var set []*mesh.RouteRule
			var text strings.Builder
			for i := range 6 {
				rule := randomRule(random)
				rule.Object = mesh.Ref{Kind: "Said", Namespace: "default", Name: fmt.Sprint("r", i)}
				rules[rule.Object.Name], set = rule, append(set, rule)
				said, err := json.Marshal(rule)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprint(&text, says(rule.Object.Name, "rules: ["+string(said)+"]"))
			}
			b.setYAML(t, "file", text.String())
			told := map[string]string{}
			for _, p := range b.Problems() {
				told[p.Object.Name] = p.Code
				found[p.Code]++
			}
			ordered := mesh.NewRuleSet("r", set).Rules
			for _, c := range world {
				var takers []*mesh.RouteRule
				for _, rule := range ordered {
					if c.takes(rule) {
						takers = append(takers, rule)
					}
				}
				if len(takers) == 0 {
					continue
				}
				if told[takers[0].Object.Name] == config.CodeUnreachableRule {
					t.Fatalf("round %d: %s is told to be never reached and takes %+v of\n%s", round, takers[0].Object.Name, c, &text)
				}
				for _, second := range takers[1:] {
					if c.usual() && second.Precedence == takers[0].Precedence && told[second.Object.Name] == "" {
						t.Fatalf("round %d: %s is not told to overlap with %s on %+v of\n%s", round, second.Object.Name, takers[0].Object.Name, c, &text)
					}
				}
			}
		}
	})
	if found[config.CodeUnreachableRule] < 20 || found[config.CodeOverlappingRules] < 20 {
		t.Errorf("too little was told: %v", found)
	}
}
