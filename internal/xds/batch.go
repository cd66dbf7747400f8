package xds

import (
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
)

// Batch is some resources of one type that many streams are sent alike, each in one response. How a response carries them is written once for
// all, and all streams send the same bytes. It is never changed.
type Batch struct {
	Type      Type
	Resources []*Resource
	Size      int // bytes of their bodies

	versions map[string]string
	once     sync.Once
	wire     []byte // a response in the delta form that has nothing but them
}

// NewBatch returns a batch of resources, which must not be changed any more.
func NewBatch(t Type, resources []*Resource) *Batch {
	b := &Batch{Type: t, Resources: resources, versions: versions(resources)}
	for _, r := range resources {
		b.Size += len(r.Body)
	}
	return b
}

// Batches divides resources into batches, as few as a response may carry each.
func Batches(t Type, resources []*Resource) []*Batch {
	var all []*Batch
	first, size := 0, 0
	for i, r := range resources {
		if i > first && size+len(r.Body) > MaxBodies {
			all = append(all, NewBatch(t, resources[first:i]))
			first, size = i, 0
		}
		size += len(r.Body)
	}
	if first < len(resources) {
		all = append(all, NewBatch(t, resources[first:]))
	}
	return all
}

// written returns the resources as a response in the delta form carries them; nil: there is none, or they cannot be written.
func (b *Batch) written() []byte {
	if b == nil {
		return nil
	}
	b.once.Do(func() {
		if wire, err := proto.Marshal(&discoveryv3.DeltaDiscoveryResponse{Resources: deltaOf(b.Type, b.Resources)}); err == nil {
			b.wire = wire
		}
	})
	return b.wire
}
