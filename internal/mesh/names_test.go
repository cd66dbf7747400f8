package mesh

import (
	"slices"
	"strings"
	"testing"
)

func TestCandidates(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"reviews":                           "reviews.shop.svc.cluster.local reviews",
		"reviews.default":                   "reviews.default.svc.cluster.local reviews.default",
		"reviews.default.svc":               "reviews.default.svc.cluster.local reviews.default.svc",
		"reviews.default.svc.cluster.local": "reviews.default.svc.cluster.local",
		"reviews.default.":                  "reviews.default.svc.cluster.local reviews.default",
		"www.example.com":                   "www.example.com",
		"":                                  "",
	} {
		var got []string
		for _, h := range Candidates(name, "shop", "cluster.local") {
			got = append(got, string(h))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q may mean %q, want %q", name, got, want)
		}
	}
}

func TestLabels(t *testing.T) {
	t.Parallel()
	l := Labels{"version": "v2", "app": "reviews"}
	if got := l.String(); got != "app=reviews,version=v2" {
		t.Errorf("String() = %q", got)
	}
	back, err := ParseLabels(l.String())
	if err != nil || back.String() != l.String() {
		t.Errorf("ParseLabels gave %v, %v", back, err)
	}
	for _, bad := range []string{"=x", "x", "a=b,", ","} {
		if _, err := ParseLabels(bad); err == nil {
			t.Errorf("ParseLabels(%q) is no error", bad)
		}
	}
	for _, c := range []struct {
		selector Labels
		want     bool
	}{
		{nil, true},
		{Labels{"version": "v2"}, true},
		{l, true},
		{Labels{"version": "v1"}, false},
		{Labels{"track": ""}, false},
	} {
		if got := c.selector.Select(l); got != c.want {
			t.Errorf("%v selects %v: %v", c.selector, l, got)
		}
	}
}

func TestSubsetName(t *testing.T) {
	t.Parallel()
	for _, s := range []Subset{
		{Host: "reviews.default.svc.cluster.local", Port: 9080},
		{Host: "reviews.default.svc.cluster.local", Port: 9080, Labels: Labels{"version": "v1", "track": "a/b"}},
		{Host: "*.example.com", Port: 443, Original: true},
	} {
		back, err := ParseSubset(s.String())
		if err != nil || back.String() != s.String() {
			t.Errorf("%s became %v, %v", s, back, err)
		}
	}
	for _, bad := range []string{
		"", "outbound", "inbound|9080", "outbound|0||h", "outbound|65536||h", "outbound|x||h", "outbound|80||", "outbound|80|x|h", "outbound|80||h|",
	} {
		if s, err := ParseSubset(bad); err == nil {
			t.Errorf("ParseSubset(%q) = %v", bad, s)
		}
	}
}

func TestNode(t *testing.T) {
	t.Parallel()
	const id = "sidecar~127.1.2.3~reviews-v2-0.default~default.svc.cluster.local"
	n, err := ParseNode(id)
	if err != nil || n.String() != id || n.ID() != "reviews-v2-0.default" || n.Domain != "cluster.local" {
		t.Errorf("ParseNode gave %+v, %v", n, err)
	}
	for _, bad := range []string{
		"", "a~b~c", "router~1.2.3.4~a.b~b.svc.c", "sidecar~1.2.3.4~ab~b.svc.c", "sidecar~1.2.3.4~a.b~c.svc.d", "sidecar~1.2.3.4~a.~.svc.d",
		"sidecar~1.2.3.4~.b~b.svc.c", "sidecar~1~a.b~b.svc.", strings.Repeat("x", 2000),
	} {
		if n, err := ParseNode(bad); err == nil {
			t.Errorf("ParseNode(%.40q) = %+v", bad, n)
		}
	}
}

func FuzzParseNode(f *testing.F) {
	f.Add("sidecar~127.1.2.3~reviews-v2-0.default~default.svc.cluster.local")
	f.Fuzz(func(t *testing.T, id string) {
		if n, err := ParseNode(id); err == nil && n.String() != id {
			t.Errorf("%q became %q", id, n.String())
		}
	})
}

func TestProtocolOf(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]Protocol{
		"http": HTTP, "HTTP": HTTP, "http-web": HTTP, "http2": HTTP2, "grpc-api": GRPC, "https": HTTPS,
		"tcp": TCP, "mysql": TCP, "mongo": TCP, "": TCP, "httpx": TCP,
	} {
		if got := ProtocolOf(name); got != want {
			t.Errorf("a port named %q speaks %s, want %s", name, got, want)
		}
	}
}

func TestProblem(t *testing.T) {
	t.Parallel()
	p := Problem{
		Object: Ref{"RouteRule", "default", "reviews"}, Field: "spec.rout", Position: Position{"rules.yaml", 7, 5},
		Code: "unknown-field", Severity: Error, Message: "unknown field", Hint: `did you mean "route"?`,
	}
	const want = "rules.yaml:7:5: error: RouteRule default/reviews: spec.rout: unknown field [unknown-field]\n" +
		"  hint: did you mean \"route\"?"
	if got := p.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := (Problem{Severity: Warning, Message: "m", Code: "c"}).String(); got != "warning: m [c]" {
		t.Errorf("got %s", got)
	}
	list := []Problem{
		{Position: Position{"b", 1, 1}}, {Position: Position{"a", 2, 1}}, {Position: Position{"a", 1, 9}}, {Position: Position{"a", 1, 2}},
	}
	SortProblems(list)
	if !slices.IsSortedFunc(list, func(a, b Problem) int { return strings.Compare(a.Position.String(), b.Position.String()) }) {
		t.Errorf("not sorted: %v", list)
	}
}

func TestRuleSetOrder(t *testing.T) {
	t.Parallel()
	rule := func(name string, precedence int) *RouteRule {
		return &RouteRule{Object: Ref{"RouteRule", "default", name}, Precedence: precedence}
	}
	set := NewRuleSet("h", []*RouteRule{rule("c", 0), rule("b", 1), rule("a", 1), rule("d", -1), rule("e", 9)})
	var got []string
	for _, r := range set.Rules {
		got = append(got, r.Object.Name)
	}
	if strings.Join(got, "") != "eabcd" {
		t.Errorf("the order is %v: precedence first, then the name", got)
	}
}

func TestInbound(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		inbound *Inbound
		past    []int
	}{
		"nothing said":        {nil, []int{AgentMetricsPort, AgentHealthPort}},
		"some kept":           {&Inbound{Keep: []uint16{9090}}, []int{9090, AgentMetricsPort, AgentHealthPort}},
		"some taken":          {&Inbound{Take: []uint16{9080}}, []int{80, 9090, AgentMetricsPort, AgentHealthPort}},
		"one taken and kept":  {&Inbound{Take: []uint16{9080, 9090}, Keep: []uint16{9090}}, []int{80, 9090, AgentMetricsPort, AgentHealthPort}},
		"none taken":          {&Inbound{Take: []uint16{}}, []int{80, 9080, 9090, AgentMetricsPort, AgentHealthPort}},
		"an agent's is taken": {&Inbound{Take: []uint16{80, 9080, 9090, AgentHealthPort}}, []int{AgentMetricsPort, AgentHealthPort}},
	} {
		var past []int
		for _, port := range []int{80, 9080, 9090, AgentMetricsPort, AgentHealthPort} {
			if test.inbound.Past(port) {
				past = append(past, port)
			}
		}
		if !slices.Equal(past, test.past) {
			t.Errorf("%s: past the proxy come %v, want %v", name, past, test.past)
		}
	}
}

func TestParsePorts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]uint16{"": {}, "80": {80}, " 9090, 80,,80": {80, 9090}, "65535": {65535}} {
		if got, err := ParsePorts(text); err != nil || got == nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"0", "65536", "-1", "http", "80-90", "80 90", "*"} {
		if got, err := ParsePorts(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
