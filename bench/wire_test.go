package bench

import (
	"fmt"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// response is what a lean proxy reads of a response: names and versions, not what they stand for.
type response struct {
	typ       xds.Type
	nonce     string
	resources []carried
	removed   []*name
	size      int // bytes of the message

	names *names
}

// carried is one resource of a response.
type carried struct {
	name    *name
	version string
	nothing bool // the name is answered with nothing
}

// name is the name of a resource, once for all proxies.
type name struct {
	text   string
	subset bool // of a cluster: its endpoints are asked for
}

// names knows every name that some proxy has met.
type names struct {
	mu  sync.Mutex
	all map[string]*name
}

func (n *names) of(text []byte) *name {
	n.mu.Lock()
	defer n.mu.Unlock()
	known, ok := n.all[string(text)]
	if !ok {
		_, err := mesh.ParseSubset(string(text))
		known = &name{text: string(text), subset: err == nil}
		n.all[known.text] = known
	}
	return known
}

// leanCodec reads responses without making messages of them: a thousand proxies share one processor.
type leanCodec struct{}

// Name returns the name of the content type that it speaks.
func (leanCodec) Name() string { return "proto" }

// Marshal writes a request.
func (leanCodec) Marshal(v any) ([]byte, error) {
	request, ok := v.(*discoveryv3.DeltaDiscoveryRequest)
	if !ok {
		return nil, fmt.Errorf("marshal %T", v)
	}
	return proto.Marshal(request)
}

// Unmarshal reads a response.
func (leanCodec) Unmarshal(data []byte, v any) error {
	r, ok := v.(*response)
	if !ok {
		return fmt.Errorf("unmarshal %T", v)
	}
	r.size = len(data)
	return fields(data, func(number protowire.Number, value []byte) error {
		switch number {
		case 2:
			c, err := r.resource(value)
			r.resources = append(r.resources, c)
			return err
		case 4:
			r.typ = xds.Type(r.names.of(value).text)
		case 5:
			r.nonce = string(value)
		case 6:
			r.removed = append(r.removed, r.names.of(value))
		}
		return nil
	})
}

// resource reads an envoy.service.discovery.v3.Resource.
func (r *response) resource(data []byte) (carried, error) {
	c := carried{nothing: true}
	err := fields(data, func(number protowire.Number, value []byte) error {
		switch number {
		case 1:
			c.version = string(value)
		case 2:
			c.nothing = false
		case 3:
			c.name = r.names.of(value)
		}
		return nil
	})
	if err == nil && c.name == nil {
		err = fmt.Errorf("a resource of %s without a name", r.typ)
	}
	return c, err
}

// fields calls f for every field of a message that is a string, bytes or a message.
func fields(data []byte, f func(protowire.Number, []byte) error) error {
	for len(data) > 0 {
		number, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		if typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, typ, data); n < 0 {
				return protowire.ParseError(n)
			}
			data = data[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := f(number, value); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
