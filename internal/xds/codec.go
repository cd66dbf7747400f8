package xds

import (
	"fmt"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// codec is gRPC's own for protobuf, with buffers that fit: those of gRPC itself have 1 MiB from 32 KiB on. An Envoy begins
// every stream with 60 KB, in which it lists what it is built of.
type codec struct{ buffers mem.BufferPool }

var _ encoding.CodecV2 = codec{}

func newCodec() codec {
	return codec{mem.NewTieredBufferPool(256, 4<<10, 16<<10, 32<<10, 64<<10, 128<<10, 256<<10, 512<<10, 1<<20, 2<<20)}
}

// Name implements [encoding.CodecV2].
func (codec) Name() string { return grpcproto.Name }

// Marshal implements [encoding.CodecV2].
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	message, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no message", v)
	}
	if shared := message.ProtoReflect().GetUnknown(); len(shared) > 0 {
		return c.marshalBeside(message, shared)
	}
	size := proto.Size(message)
	options := proto.MarshalOptions{UseCachedSize: true}
	if mem.IsBelowBufferPoolingThreshold(size) {
		text, err := options.Marshal(message)
		return mem.BufferSlice{mem.SliceBuffer(text)}, err
	}
	buffer := c.buffers.Get(size)
	if _, err := options.MarshalAppend((*buffer)[:0], message); err != nil {
		c.buffers.Put(buffer)
		return nil, err
	}
	return mem.BufferSlice{mem.NewBuffer(buffer, c.buffers)}, nil
}

// marshalBeside writes a message whose last fields are written already, in bytes that many messages share: they are sent from where
// they are.
func (c codec) marshalBeside(message proto.Message, shared []byte) (mem.BufferSlice, error) {
	own := message.ProtoReflect()
	own.SetUnknown(nil)
	defer own.SetUnknown(shared)
	text, err := c.Marshal(message)
	return append(text, mem.SliceBuffer(shared)), err
}

// Unmarshal implements [encoding.CodecV2].
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	message, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no message", v)
	}
	whole := data.MaterializeToBuffer(c.buffers)
	defer whole.Free()
	if request, ok := v.(*discoveryv3.DeltaDiscoveryRequest); ok {
		return unmarshalDelta(whole.ReadOnlyData(), request)
	}
	return proto.Unmarshal(whole.ReadOnlyData(), message)
}
