package mesh

import (
	"reflect"
	"slices"
	"testing"
)

func endpointsAt(h Host, addresses ...string) *EndpointSet {
	set := &EndpointSet{Host: h}
	for _, a := range addresses {
		set.Endpoints = append(set.Endpoints, Endpoint{Address: a})
	}
	return set
}

// A snapshot knows to whom addresses belong, however they are spelled, and says so as the parts change.
func TestAddresses(t *testing.T) {
	t.Parallel()
	d := NewSnapshot("cluster.local").Edit()
	d.SetService("a", &Service{Host: "a", Addresses: []string{"10.96.0.1", "fd00::1"}})
	d.SetEndpoints("a", endpointsAt("a", "10.1.0.1", "10.1.0.2"))
	d.SetEndpoints("b", endpointsAt("b", "::ffff:10.1.0.2", "nowhere"))
	d.SetWorkload("w.default", &Workload{Name: "w", Namespace: "default", Address: "10.2.0.1"})
	first, _ := d.Done()
	want := map[string]*Address{
		"10.96.0.1": {Services: []Host{"a"}}, "fd00::1": {Services: []Host{"a"}}, "10.1.0.1": {Endpoints: []Host{"a"}},
		"10.1.0.2": {Endpoints: []Host{"a", "b"}}, "10.2.0.1": {Workloads: []ProxyID{"w.default"}},
	}
	for ip, is := range want {
		if got := first.Address(ip); !reflect.DeepEqual(got, is) {
			t.Errorf("%s is %+v, want %+v", ip, got, is)
		}
	}
	if got, want := first.Ranges().Networks, []string{"10.1.0.0/16", "10.2.0.0/16"}; !slices.Equal(got, want) {
		t.Errorf("the mesh is in %v, want %v", got, want)
	}

	if got, want := first.ServiceAddresses().Networks, []string{"10.96.0.1/32", "fd00::1/128"}; !slices.Equal(got, want) {
		t.Errorf("services are at %v, want %v", got, want)
	}

	d = first.Edit()
	d.SetEndpoints("a", endpointsAt("a", "10.1.0.3"))
	second, keys := d.Done()
	if want := []Key{{KindAddress, "10.1.0.1"}, {KindAddress, "10.1.0.2"}, {KindAddress, "10.1.0.3"}, {KindEndpoints, "a"}}; !slices.Equal(keys, want) {
		t.Errorf("changed %v, want %v", keys, want)
	}
	if second.Address("10.1.0.1") != nil || !slices.Equal(second.Address("10.1.0.2").Endpoints, []Host{"b"}) {
		t.Error("endpoints that are gone still have their addresses")
	}
	if second.Address("10.96.0.1") != first.Address("10.96.0.1") || !slices.Equal(first.Address("10.1.0.2").Endpoints, []Host{"a", "b"}) {
		t.Error("an address that did not change has another pointer, or the first snapshot has changed")
	}

	d = second.Edit()
	d.SetEndpoints("a", nil)
	d.SetEndpoints("b", nil)
	third, keys := d.Done()
	if got := third.Ranges().Networks; !slices.Equal(got, []string{"10.2.0.0/16"}) || !slices.Contains(keys, Key{Kind: KindRanges}) {
		t.Errorf("the mesh is in %v, with the changes %v", got, keys)
	}

	d = third.Edit()
	d.SetService("b", &Service{Host: "b", Addresses: []string{"10.96.0.1", "10.96.0.2"}})
	d.SetService("a", &Service{Host: "a", Addresses: []string{"10.96.0.3"}})
	fourth, keys := d.Done()
	if got, want := fourth.ServiceAddresses().Networks, []string{"10.96.0.1/32", "10.96.0.2/32", "10.96.0.3/32"}; !slices.Equal(got, want) {
		t.Errorf("services are at %v, want %v", got, want)
	}
	if at := (Key{Kind: KindServiceAddresses}); !slices.Contains(keys, at) {
		t.Errorf("changed %v, without %v", keys, at)
	}
	d = fourth.Edit()
	d.SetService("c", &Service{Host: "c", Addresses: []string{"10.96.0.2"}})
	d.SetService("a", &Service{Host: "a", Name: "a", Addresses: []string{"10.96.0.3"}})
	if _, keys := d.Done(); slices.Contains(keys, Key{Kind: KindServiceAddresses}) {
		t.Errorf("no address came or went, and there changed %v", keys)
	}
}

// Whatever the order in which parts come and go, what follows is the same.
func TestAddressesFollowFromTheParts(t *testing.T) {
	t.Parallel()
	s := NewSnapshot("cluster.local")
	for _, addresses := range [][]string{{"10.1.0.1"}, {"10.2.0.1", "10.1.0.1"}, {"10.2.0.1"}, {"10.2.0.1", "10.2.0.2"}} {
		d := s.Edit()
		d.SetEndpoints("a", endpointsAt("a", addresses...))
		s, _ = d.Done()
	}
	d := NewSnapshot("cluster.local").Edit()
	d.SetEndpoints("a", endpointsAt("a", "10.2.0.1", "10.2.0.2"))
	fresh, _ := d.Done()
	if !reflect.DeepEqual(s.Ranges(), fresh.Ranges()) || !slices.Equal(s.Keys(KindAddress), fresh.Keys(KindAddress)) {
		t.Errorf("%+v %v, want %+v %v", s.Ranges(), s.Keys(KindAddress), fresh.Ranges(), fresh.Keys(KindAddress))
	}
}
