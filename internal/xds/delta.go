package xds

import (
	"fmt"
	"slices"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// Receive takes a request in the delta form and tells what it says. An error means that the proxy does not keep to the
// protocol.
func (s *Session) Receive(req *discoveryv3.DeltaDiscoveryRequest) (Event, error) {
	held := heldOf(req)
	e, st, err := s.begin(Type(req.GetTypeUrl()), held, req.GetResourceNamesSubscribe(), req.GetResourceNamesUnsubscribe())
	if err != nil {
		return e, err
	}
	if e.First {
		e.Held = held
	}
	if req.GetResponseNonce() != "" {
		d, err := st.answer(req.GetResponseNonce())
		if err != nil {
			return e, fmt.Errorf("%s: %w", e.Type, err)
		}
		if req.GetErrorDetail() != nil {
			e.Refused, e.Reason = d, cutReason(req.GetErrorDetail().GetMessage())
		} else {
			e.Acked = d
		}
	}
	e.Subscribed = names(e.Type, req.GetResourceNamesSubscribe())
	e.Unsubscribed = names(e.Type, req.GetResourceNamesUnsubscribe())
	if e.First && e.Type.listed() && len(e.Subscribed) == 0 {
		e.Subscribed = []string{Everything}
	}
	return e, nil
}

// names returns names sorted, without [Everything] where the type has no such thing.
func names(t Type, list []string) []string {
	list = slices.Clone(list)
	if !t.listed() {
		list = slices.DeleteFunc(list, func(name string) bool { return name == Everything })
	}
	slices.Sort(list)
	return list
}

// Delta writes the response in the delta form. What it carries of a [Batch] stands in it in the bytes that all streams share: as
// fields that are written already.
func (r *Response) Delta() *discoveryv3.DeltaDiscoveryResponse {
	wire := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: string(r.Type), Nonce: r.Nonce, RemovedResources: r.Removed}
	if written := r.batch.written(); written != nil {
		wire.ProtoReflect().SetUnknown(written)
	} else {
		wire.Resources = deltaOf(r.Type, r.Resources)
	}
	return wire
}

// deltaOf returns resources as the delta form carries them.
func deltaOf(t Type, resources []*Resource) []*discoveryv3.Resource {
	wire := make([]*discoveryv3.Resource, len(resources))
	for i, x := range resources {
		wire[i] = &discoveryv3.Resource{Name: x.Name, Version: x.Version, Resource: x.any()}
		if t == VirtualHostType {
			wire[i].Aliases = []string{x.Name} // Envoy looks for the name that it asked for among the aliases
		}
	}
	return wire
}

// any returns the resource as the protocol carries it, nil for one without a body.
func (r *Resource) any() *anypb.Any {
	if r.Body == nil {
		return nil
	}
	return &anypb.Any{TypeUrl: string(r.Type), Value: r.Body}
}
