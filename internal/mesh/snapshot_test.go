package mesh

import (
	"slices"
	"testing"
)

func service(host Host, port int) *Service {
	return &Service{Host: host, Ports: []Port{{Name: "http", Number: port, Protocol: HTTP}}}
}

// An edit leaves the snapshot it started from as it was, reports exactly the keys that differ, and shares the rest.
func TestEdit(t *testing.T) {
	t.Parallel()
	first, keys := func() (*Snapshot, []Key) {
		d := NewSnapshot("cluster.local").Edit()
		d.SetService("a", service("a", 80))
		d.SetService("b", service("b", 80))
		d.SetEndpoints("a", &EndpointSet{Host: "a"})
		d.SetDoor(&Door{})
		return d.Done()
	}()
	if want := []Key{{KindDoor, ""}, {KindEndpoints, "a"}, {KindService, "a"}, {KindService, "b"}, {KindServices, ""}}; !slices.Equal(keys, want) {
		t.Errorf("keys %v, want %v", keys, want)
	}
	if first.Revision() != 1 {
		t.Errorf("revision %d, want 1", first.Revision())
	}

	d := first.Edit()
	d.SetService("a", service("a", 80)) // equal: no change
	d.SetService("b", service("b", 81))
	d.SetService("c", nil) // was not there
	d.SetDoor(nil)
	second, keys := d.Done()
	if want := []Key{{KindDoor, ""}, {KindService, "b"}}; !slices.Equal(keys, want) {
		t.Errorf("keys %v, want %v", keys, want)
	}
	if second.Service("a") != first.Service("a") || second.Endpoints("a") != first.Endpoints("a") {
		t.Error("parts that did not change have lost their pointers")
	}
	if first.Service("b").Ports[0].Number != 80 || first.Door() == nil {
		t.Error("the edit changed the snapshot that it started from")
	}
	if second.Door() != nil || second.Has(Key{Kind: KindDoor}) {
		t.Error("a removed part is still there")
	}
	if want := []Key{{KindService, "a"}, {KindService, "b"}}; !slices.Equal(second.Keys(KindService), want) {
		t.Errorf("services %v, want %v", second.Keys(KindService), want)
	}
}

// An edit that is taken back is none.
func TestEditTakenBack(t *testing.T) {
	t.Parallel()
	d := NewSnapshot("cluster.local").Edit()
	d.SetService("a", service("a", 80))
	first, _ := d.Done()
	d = first.Edit()
	d.SetService("a", nil)
	d.SetService("a", service("a", 80))
	if second, keys := d.Done(); second != first || keys != nil {
		t.Errorf("got revision %d and keys %v, want the same snapshot", second.Revision(), keys)
	}
}
