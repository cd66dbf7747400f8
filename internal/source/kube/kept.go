package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// part is the name under which objects are kept for a start without the API server.
const part = ObjectsName

// kept are the objects from before the start. They count until their kind is read.
type kept struct {
	objects  map[mesh.Ref]config.Object
	saved    time.Time
	loaded   bool           // something was kept, and be it that there were none
	problems []mesh.Problem // of what was kept and cannot be used
}

// keptObjects is the form of the part.
type keptObjects struct {
	Texts []string `json:"texts"`
}

// remember reads what was kept before this start.
func (s *Source) remember() {
	if s.config.Cache == nil {
		return
	}
	var all keptObjects
	saved, err := s.config.Cache.Load(part, &all)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := &s.objects.kept
	if refused, ok := errors.AsType[*cache.Refused](err); ok {
		k.problems = []mesh.Problem{refused.Problem()}
		return
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.config.Log.Warn("what the cluster's objects were is not known any more", "err", err)
		}
		return
	}
	k.objects, k.saved, k.loaded = map[mesh.Ref]config.Object{}, saved, true
	for _, text := range all.Texts {
		objects, problems := config.Parse(Origin, []byte(text), "")
		if len(objects) != 1 || mesh.HasErrors(problems) {
			continue
		}
		if kind := s.config.Kinds.Find(objects[0].APIVersion, objects[0].Kind); kind != nil && !kind.Confidential {
			k.objects[objects[0].Ref] = objects[0]
		}
	}
}

// has tells whether there are objects from before that a state is about.
func (k *kept) has(st *state) bool {
	for ref := range k.objects {
		if st.covers(ref) {
			return true
		}
	}
	return false
}

// stale says that kept objects count.
func (k *kept) stale() mesh.Problem {
	return mesh.Problem{
		Code: config.CodeSourceStale, Severity: mesh.Warning,
		Message: fmt.Sprintf("objects of the cluster have not been read since the start: what they were at %s counts until they are", k.saved.Format(time.RFC3339)),
		Hint:    "nothing is removed before; what has changed since is not known",
	}
}

// keep has what was handed over kept for a start without the API server. The lock is held.
func (s *Source) keep() {
	if s.config.Cache == nil {
		return
	}
	s.objects.doubt = s.objects.doubt || len(s.objects.kept.problems) > 0
	s.objects.kept.problems = nil // it is written anew
	s.config.Cache.Keep(part, func() any {
		var all keptObjects
		for _, o := range s.Objects() {
			all.Texts = append(all.Texts, o.Text)
		}
		return all
	})
}
