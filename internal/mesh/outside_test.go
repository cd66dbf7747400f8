package mesh

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Which ports rules name for requests, and which rules there are for each, follows from all rules, however they come and go. What changes is told by port.
func TestOutsideFollows(t *testing.T) {
	t.Parallel()
	rule := func(destination string, ports ...Port) *EgressRule {
		return &EgressRule{Object: Ref{Kind: "EgressRule", Name: destination}, Destination: Host(destination), Ports: ports}
	}
	port := func(number int, p Protocol) Port { return Port{Number: number, Protocol: p} }
	s := NewSnapshot("cluster.local")
	for _, step := range []struct {
		what    string
		edit    func(d *Draft)
		want    string // rules by port
		changed string // keys that follow
	}{
		{
			"one host", func(d *Draft) {
				d.SetEgress("a.test", rule("a.test", port(80, HTTP), port(443, HTTPS), port(5432, TCP)))
			},
			"80: a.test; 443: a.test", "outside , outside 443, outside 80",
		},
		{"a wildcard and another host", func(d *Draft) {
			d.SetEgressPatterns(NewEgressPatterns([]*EgressRule{rule("*.test", port(80, HTTP)), rule("192.0.2.0/24", port(7000, TCP))}))
			d.SetEgress("b.test", rule("b.test", port(80, HTTP2)))
		}, "80: *.test a.test b.test; 443: a.test", "outside 80"},
		{
			"a port moves", func(d *Draft) { d.SetEgress("a.test", rule("a.test", port(8080, HTTP), port(443, HTTPS))) },
			"80: *.test b.test; 443: a.test; 8080: a.test", "outside , outside 443, outside 80, outside 8080",
		},
		{
			"requests become bytes", func(d *Draft) { d.SetEgress("a.test", rule("a.test", port(8080, TCP))) },
			"80: *.test b.test", "outside , outside 443, outside 8080",
		},
		{"an equal rule beside one that changes", func(d *Draft) {
			d.SetEgressPatterns(NewEgressPatterns([]*EgressRule{rule("*.test", port(80, HTTP)), rule("192.0.2.0/24", port(7001, TCP))}))
		}, "80: *.test b.test", ""},
		{"that rule changes", func(d *Draft) {
			d.SetEgressPatterns(NewEgressPatterns([]*EgressRule{rule("*.test", port(80, HTTP2)), rule("192.0.2.0/24", port(7001, TCP))}))
		}, "80: *.test b.test", "outside 80"},
		{"all go", func(d *Draft) { d.SetEgress("a.test", nil); d.SetEgress("b.test", nil); d.SetEgressPatterns(nil) }, "", "outside , outside 80"},
	} {
		d := s.Edit()
		step.edit(d)
		next, keys := d.Done()
		var got, changed []string
		for _, number := range next.OutsidePorts() {
			var names []string
			for _, r := range next.Outside(number).Rules {
				names = append(names, string(r.Destination))
			}
			got = append(got, fmt.Sprintf("%d: %s", number, strings.Join(names, " ")))
		}
		for _, k := range keys {
			if k.Kind == KindOutside {
				changed = append(changed, k.String())
			}
		}
		slices.Sort(changed)
		if all := strings.Join(got, "; "); all != step.want {
			t.Errorf("%s: %q, want %q", step.what, all, step.want)
		}
		if all := strings.Join(changed, ", "); all != step.changed {
			t.Errorf("%s: changed are %q, want %q", step.what, all, step.changed)
		}
		s = next
	}
}
