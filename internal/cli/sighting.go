package cli

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// sighting waits until the control plane of a cluster has seen what was written there, and then until that is in force.
type sighting struct {
	*waiting
	results   []api.Result
	files     []api.File // that were written; none: objects were deleted by name
	namespace string
	found     []mesh.Problem // that were told
}

// inForce waits, if it is told to, and says in how many proxies the change is in force. Where nobody may ask the control
// plane, or there is none, the change is made all the same, and that is said.
func (s *sighting) inForce(wait, changed bool) error {
	s.results = slices.DeleteFunc(slices.Clone(s.results), func(r api.Result) bool { return !steers(r.Object.Kind) })
	switch {
	case !wait:
		return s.waiting.inForce(false, changed)
	case len(s.results) == 0:
		s.say("not waited for: the control plane is not asked about these kinds")
		return nil
	}
	s.of = s.progress
	err := s.waiting.inForce(true, changed)
	if away, ok := errors.AsType[*api.Unreachable](err); ok {
		s.say("stored; whether it is in force is not known: " + away.Error())
		return nil
	}
	if err == nil || s.cmd.Context().Err() == nil {
		s.doubts()
	}
	return err
}

// steers tells whether the control plane of a cluster answers for a kind.
func steers(kind string) bool { return kind != "Secret" }

// atOnce bounds the objects that are asked about in one question.
const atOnce = 200

// progress tells how far what was written is.
func (s *sighting) progress(ctx context.Context, wait time.Duration) (api.Progress, error) {
	var p api.Progress
	var err error
	for part := range slices.Chunk(s.newest(), atOnce) {
		if p, err = s.target.client.ObjectProgress(ctx, part, wait); err != nil || !p.Done() {
			break // the last part holds for all: the mesh is one
		}
	}
	return p, err
}

// newest returns the results that have to be known for all to be: of what was written of a kind in a namespace the last, since
// the API server tells changes in their order, and every deletion, whose order is not known.
func (s *sighting) newest() []api.Result {
	var all []api.Result
	last := map[[2]string]int{}
	for _, r := range s.results {
		if r.Verb == "unchanged" { // its version may be another one by what the control plane does not look at
			r.ResourceVersion = 0
		}
		key := [2]string{r.Object.Kind, r.Object.Namespace}
		i, there := last[key]
		switch {
		case r.Verb == "deleted":
			all = append(all, r)
		case !there:
			last[key] = len(all)
			all = append(all, r)
		case r.ResourceVersion > all[i].ResourceVersion:
			all[i] = r
		}
	}
	return all
}

// doubts tells what the mesh as a whole makes doubtful about what was written, at the places where the user wrote it.
func (s *sighting) doubts() {
	written := map[mesh.Ref]*config.Object{}
	for _, f := range s.files {
		objects, _ := config.Parse(f.Name, []byte(f.Text), cmp.Or(s.namespace, s.target.namespace())) // told already
		for i := range objects {
			written[objects[i].Ref] = &objects[i]
		}
	}
	problems, err := s.target.client.Problems(s.cmd.Context())
	if err != nil || len(written) == 0 {
		return // the change is in force; who wants to know asks again
	}
	var doubts []mesh.Problem
	for _, p := range problems {
		o := written[p.Object]
		if o != nil && slices.ContainsFunc(s.results, func(r api.Result) bool { return r.Object == p.Object }) {
			p.Position = o.At(p.Field)
			doubts = append(doubts, p)
		}
	}
	mesh.SortProblems(doubts)
	tell(s.cmd.ErrOrStderr(), doubts)
	s.found = doubts
}
