package mesh

import (
	"fmt"
	"slices"
	"testing"
)

// What services speak on a number follows from all that have it, however they come and go. It counts as changed only when it is another
// word for a number.
func TestSpokenFollows(t *testing.T) {
	t.Parallel()
	service := func(name, address string, ports ...Port) func(*Draft) {
		svc := &Service{Host: Host(name), Name: name, Ports: ports, Addresses: []string{address}, Headless: address == ""}
		if address == "" {
			svc.Addresses = nil
		}
		return func(d *Draft) { d.SetService(svc.Host, svc) }
	}
	gone := func(name string) func(*Draft) { return func(d *Draft) { d.SetService(Host(name), nil) } }
	port := func(number int, p Protocol) Port { return Port{Name: fmt.Sprint(number), Number: number, Protocol: p} }
	s := NewSnapshot("cluster.local")
	for _, step := range []struct {
		what            string
		edit            func(d *Draft)
		requests, bytes []int
		changed         bool
	}{
		{"requests and bytes", service("a", "10.96.0.1", port(80, HTTP), port(3306, TCP)), []int{80}, []int{3306}, true},
		{"another one alike", service("b", "fd00::2", port(80, GRPC), port(3306, HTTPS)), []int{80}, []int{3306}, false},
		{"one more number", service("c", "10.96.0.3", port(81, HTTP2)), []int{80, 81}, []int{3306}, true},
		{"who has no address", service("d", "", port(80, TCP), port(82, HTTP)), []int{80, 81}, []int{3306}, false},
		{"who has none that is one", service("e", "None", port(80, TCP)), []int{80, 81}, []int{3306}, false},
		{"one that differs", service("e", "10.96.0.5", port(80, TCP)), []int{81}, []int{3306}, true},
		{"another address", service("e", "10.96.0.6", port(80, TCP)), []int{81}, []int{3306}, false},
		{"it agrees", service("e", "10.96.0.6", port(80, HTTP)), []int{80, 81}, []int{3306}, true},
		{"one of several goes", gone("b"), []int{80, 81}, []int{3306}, false},
		{"the last one goes", gone("c"), []int{80}, []int{3306}, true},
		{"all go", func(d *Draft) { gone("a")(d); gone("d")(d); gone("e")(d) }, nil, nil, true},
	} {
		d := s.Edit()
		step.edit(d)
		next, keys := d.Done()
		got := next.Spoken()
		if !slices.Equal(got.Requests, step.requests) || !slices.Equal(got.Bytes, step.bytes) {
			t.Errorf("%s: requests %v and bytes %v, want %v and %v", step.what, got.Requests, got.Bytes, step.requests, step.bytes)
		}
		if changed := slices.Contains(keys, Key{Kind: KindSpoken}); changed != step.changed {
			t.Errorf("%s: changed: %v", step.what, changed)
		}
		s = next
	}
}
