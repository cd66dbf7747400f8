package kube

import (
	"encoding/json"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// maxStatus bounds the status that is kept of an object, in bytes. Ours are smaller; of another one it only counts that it is not.
const maxStatus = 64 << 10

// sightOf returns what the cluster says of an object.
func sightOf(u *unstructured.Unstructured, ours bool) mesh.Sight {
	s := mesh.Sight{UID: string(u.GetUID()), ResourceVersion: u.GetResourceVersion(), Generation: u.GetGeneration()}
	if status, ok := u.Object["status"]; ok && ours {
		if text, err := json.Marshal(status); err == nil && len(text) <= maxStatus {
			s.Status = text
		}
	}
	return s
}

// Moved returns the objects of which anything has changed since it was last called, sorted: also what does not count, such as
// their status. It may be called from any goroutine.
func (s *Source) Moved() []mesh.Ref {
	s.mu.Lock()
	defer s.mu.Unlock()
	moved := s.objects.moved
	s.objects.moved = map[mesh.Ref]bool{}
	return slices.SortedFunc(maps.Keys(moved), mesh.Ref.Compare)
}

// Sight returns an object as it was read last, and what the cluster says of it; false: it is not there, or was not read since the
// start. The object has no text when it cannot be read. It may be called from any goroutine.
func (s *Source) Sight(ref mesh.Ref) (config.Object, mesh.Sight, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects.rows[ref]
	if o == nil {
		return config.Object{}, mesh.Sight{}, false
	}
	return o.Object, o.sight, true
}

// Sights returns the names of all objects that were read, sorted. It may be called from any goroutine.
func (s *Source) Sights() []mesh.Ref {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.objects.rows), mesh.Ref.Compare)
}
