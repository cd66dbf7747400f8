package xds

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// Messages of any size come through, also in pieces as a connection brings them, in buffers of no more than twice their size.
func TestCodec(t *testing.T) {
	t.Parallel()
	c := newCodec()
	for _, size := range []int{0, 10, 2 << 10, 60 << 10, 300 << 10, 3 << 20} {
		sent := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: "type", ResponseNonce: strings.Repeat("x", size)}
		data, err := c.Marshal(sent)
		if err != nil {
			t.Fatal(err)
		}
		whole := data.Materialize()
		data.Free()
		half := len(whole) / 2
		var got discoveryv3.DeltaDiscoveryRequest
		if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(whole[:half]), mem.SliceBuffer(whole[half:])}, &got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(sent, &got) {
			t.Errorf("a message of %d bytes has changed", len(whole))
		}
		if room := cap(*c.buffers.Get(size)); size > 32<<10 && room > 2*size {
			t.Errorf("a buffer for %d bytes has %d", size, room)
		}
	}
	if _, err := c.Marshal("text"); err == nil {
		t.Error("a text is sent as a message")
	}
	if err := c.Unmarshal(nil, new(string)); err == nil {
		t.Error("a text is read as a message")
	}
}

// What many streams are sent alike is written once, and read like any other response.
func TestBatch(t *testing.T) {
	t.Parallel()
	var resources []*Resource
	for i := range 1000 {
		resources = append(resources, &Resource{Type: ScopeType, Name: fmt.Sprint("scope ", i), Version: fmt.Sprint("version ", i), Body: []byte(strings.Repeat("x", i))})
	}
	b, c := NewBatch(ScopeType, resources), newCodec()
	var before []byte
	for range 2 {
		sessions := []*Session{NewSession(), NewSession()}
		for _, s := range sessions {
			_, err := s.Receive(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(ScopeType)})
			if err != nil {
				t.Fatal(err)
			}
		}
		shared, d := sessions[0].RespondBatch(b, []string{"gone"})
		own, want := sessions[1].Respond(ScopeType, resources, []string{"gone"})
		if !maps.Equal(d.Sent, want.Sent) || len(d.Sent) != 1000 {
			t.Errorf("%d resources count as sent, want %d", len(d.Sent), len(want.Sent))
		}
		wire := shared.Delta()
		data, err := c.Marshal(wire)
		if err != nil {
			t.Fatal(err)
		}
		last := data[len(data)-1].ReadOnlyData()
		if before != nil && &before[0] != &last[0] {
			t.Error("the second response has bytes of its own")
		}
		before = last
		var got discoveryv3.DeltaDiscoveryResponse
		if err := c.Unmarshal(data, &got); err != nil || !proto.Equal(&got, own.Delta()) {
			t.Errorf("the other side reads something else: %v", err)
		}
		if again, err := c.Marshal(wire); err != nil || again.Len() != data.Len() {
			t.Errorf("a second time %d bytes are written, want %d: %v", again.Len(), data.Len(), err)
		}
	}
	if all := Batches(ScopeType, []*Resource{{Body: make([]byte, MaxBodies)}, {Body: []byte("x")}, {Body: []byte("y")}}); len(all) != 2 || len(all[1].Resources) != 2 || all[1].Size != 2 {
		t.Errorf("%d batches", len(all))
	}
	s := NewSession()
	if _, err := s.Receive(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: string(ScopeType)}); err != nil {
		t.Fatal(err)
	}
	if empty, _ := s.RespondBatch(NewBatch(ScopeType, nil), nil); empty == nil || empty.Delta().GetNonce() == "" {
		t.Error("an empty batch is no response")
	}
}
