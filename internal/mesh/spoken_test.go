package mesh

import (
	"fmt"
	"slices"
	"testing"
)

// What services speak on a number follows from all that have it, however they come and go. It counts as changed only when it says something
// else, and a snapshot from before goes on saying what it said.
func TestSpokenFollows(t *testing.T) {
	t.Parallel()
	service := func(name string, addresses []string, ports ...Port) func(*Draft) {
		svc := &Service{Host: Host(name), Name: name, Ports: ports, Addresses: addresses}
		return func(d *Draft) { d.SetService(svc.Host, svc) }
	}
	at := func(addresses ...string) []string { return addresses }
	gone := func(name string) func(*Draft) { return func(d *Draft) { d.SetService(Host(name), nil) } }
	port := func(number int, p Protocol) Port { return Port{Name: fmt.Sprint(number), Number: number, Protocol: p} }
	many := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("10.97.%d.%d", i/256, i%256))
		}
		return all
	}
	s := NewSnapshot("cluster.local")
	var was []string
	for _, step := range []struct {
		what    string
		edit    func(d *Draft)
		want    string
		changed bool
	}{
		{"requests and bytes", service("a", at("10.96.0.1"), port(80, HTTP), port(3306, TCP)), "requests [80] bytes [3306] apart []", true},
		{"another one alike", service("b", at("fd00::2"), port(80, GRPC), port(3306, HTTPS)), "requests [80] bytes [3306] apart []", false},
		{"one more number", service("c", at("10.96.0.3"), port(81, HTTP2)), "requests [80 81] bytes [3306] apart []", true},
		{"who has no address", service("d", nil, port(80, TCP), port(82, HTTP)), "requests [80 81] bytes [3306] apart []", false},
		{"who has none that is one", service("e", at("None", "fe80::1%eth0"), port(80, TCP)), "requests [80 81] bytes [3306] apart []", false},
		{"one that differs", service("e", at("10.96.0.5", "::ffff:10.96.0.4"), port(80, TCP)), "requests [81] bytes [3306] apart [{80 [10.96.0.4 10.96.0.5]}]", true},
		{"another word for it", service("e", at("10.96.0.5", "::ffff:10.96.0.4"), port(80, HTTPS)), "requests [81] bytes [3306] apart [{80 [10.96.0.4 10.96.0.5]}]", false},
		{"another address", service("e", at("10.96.0.6"), port(80, TCP)), "requests [81] bytes [3306] apart [{80 [10.96.0.6]}]", true},
		{"two have the same", service("f", at("10.96.0.6"), port(80, TCP)), "requests [81] bytes [3306] apart [{80 [10.96.0.6]}]", false},
		{"one of them goes", gone("f"), "requests [81] bytes [3306] apart [{80 [10.96.0.6]}]", false},
		{"too many differ", service("f", many(maxApart), port(80, TCP)), "requests [81] bytes [3306] apart [] unclear [80]", true},
		{"as many as may", service("f", many(maxApart-1), port(80, TCP)), fmt.Sprintf("requests [81] bytes [3306] apart [{80 %v}]", append(at("10.96.0.6"), sorted(many(maxApart-1))...)), true},
		{"they go", gone("f"), "requests [81] bytes [3306] apart [{80 [10.96.0.6]}]", true},
		{"it agrees", service("e", at("10.96.0.6"), port(80, HTTP)), "requests [80 81] bytes [3306] apart []", true},
		{"one of several goes", gone("b"), "requests [80 81] bytes [3306] apart []", false},
		{"the last one goes", gone("c"), "requests [80] bytes [3306] apart []", true},
		{"all go", func(d *Draft) { gone("a")(d); gone("d")(d); gone("e")(d) }, "requests [] bytes [] apart []", true},
	} {
		d := s.Edit()
		step.edit(d)
		next, keys := d.Done()
		if got := said(next); got != step.want {
			t.Errorf("%s: %s, want %s", step.what, got, step.want)
		}
		if changed := slices.Contains(keys, Key{Kind: KindSpoken}); changed != step.changed {
			t.Errorf("%s: changed: %v", step.what, changed)
		}
		if len(was) > 0 && said(s) != was[len(was)-1] {
			t.Errorf("%s: the snapshot from before says %s now", step.what, said(s))
		}
		was = append(was, said(next))
		s = next
	}
}

func said(s *Snapshot) string {
	got := s.Spoken()
	text := fmt.Sprintf("requests %v bytes %v apart %v", got.Requests, got.Bytes, got.Apart)
	if len(got.Unclear) > 0 {
		text += fmt.Sprintf(" unclear %v", got.Unclear)
	}
	return text
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
