package xds

import (
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
