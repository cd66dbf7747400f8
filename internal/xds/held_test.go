package xds

import (
	"fmt"
	"maps"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// field is a field of a request in its bytes.
func field(number protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), text)
}

// What a proxy says to have is read as protobuf's own reader does, wherever in a request it stands, and so is what is around it.
func TestHeld(t *testing.T) {
	t.Parallel()
	entry := func(parts ...[]byte) []byte {
		var all []byte
		for _, part := range parts {
			all = append(all, part...)
		}
		return field(heldField, string(all))
	}
	good := entry(field(nameField, "a"), field(versionField, "1"))
	for name, parts := range map[string][][]byte{
		"nothing":             {},
		"none":                {field(2, "type"), field(3, "x")},
		"one":                 {field(2, "type"), good},
		"before all else":     {good, field(2, "type"), field(3, "x"), field(6, "7")},
		"between":             {field(3, "x"), good, field(3, "y"), entry(field(nameField, "b"), field(versionField, "2")), field(6, "7")},
		"twice":               {good, entry(field(nameField, "a"), field(versionField, "2"))},
		"a name alone":        {entry(field(nameField, "a"))},
		"a version alone":     {entry(field(versionField, "1"))},
		"nothing in it":       {entry()},
		"more in it":          {entry(field(nameField, "a"), field(9, "more"), field(versionField, "1"))},
		"no field of ours":    {good, field(99, "more")},
		"a name that is cut":  {entry(field(nameField, "abc")[:3])},
		"a name that is none": {entry(field(nameField, "\xff"), field(versionField, "1"))},
		"an entry that is cut": {
			good, entry(field(nameField, "a"), field(versionField, "1"))[:5],
		},
		"a number": {protowire.AppendVarint(protowire.AppendTag(nil, heldField, protowire.VarintType), 7), good},
	} {
		var data []byte
		for _, part := range parts {
			data = append(data, part...)
		}
		var want, got discoveryv3.DeltaDiscoveryRequest
		wrong := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, &want)
		err := newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, &got)
		if (wrong == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", name, err, wrong)
		}
		if err != nil {
			continue
		}
		held := heldOf(&got)
		if !maps.Equal(held.Versions(), want.GetInitialResourceVersions()) || held.None() != (len(want.GetInitialResourceVersions()) == 0) {
			t.Errorf("%s: %v, want %v", name, held.Versions(), want.GetInitialResourceVersions())
		}
		want.InitialResourceVersions = nil
		got.ProtoReflect().SetUnknown(nil)
		if !proto.Equal(&got, &want) {
			t.Errorf("%s: around it %v, want %v", name, &got, &want)
		}
	}
}

// That a proxy has a thousand resources costs nothing for each of them until somebody asks.
func TestHeldIsNotTakenApart(t *testing.T) {
	versions := map[string]string{}
	for i := range 1000 {
		versions[fmt.Sprint("10.96.0.1:", i)] = "0123456789abcdef"
	}
	data, err := proto.Marshal(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(ScopeType), InitialResourceVersions: versions})
	if err != nil {
		t.Fatal(err)
	}
	c, n := newCodec(), 0
	allocations := testing.AllocsPerRun(10, func() {
		var req discoveryv3.DeltaDiscoveryRequest
		if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, &req); err != nil {
			t.Error(err)
		}
		e, err := NewSession().Receive(&req)
		if err != nil {
			t.Error(err)
		}
		n = 0
		for name, version := range e.Held.All() {
			if versions[string(name)] == string(version) {
				n++
			}
		}
	})
	if n != 1000 || allocations > 50 {
		t.Errorf("%d of 1000 are the same, with %v allocations", n, allocations)
	}
}
