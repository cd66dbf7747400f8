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

const sightPace = 100 * time.Millisecond // between two looks

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
	revision, err := s.seen()
	if away, ok := errors.AsType[*api.Unreachable](err); ok {
		s.say("stored; whether it is in force is not known: " + away.Error())
		return nil
	}
	if err != nil {
		return err
	}
	s.revision = revision
	err = s.waiting.inForce(true, changed)
	s.doubts()
	return err
}

// steers tells whether the control plane of a cluster answers for a kind.
func steers(kind string) bool { return kind != "Secret" }

// seen waits until the control plane knows what was written, and returns a revision that holds it.
func (s *sighting) seen() (int64, error) {
	ctx, cancel := context.WithDeadline(s.cmd.Context(), s.deadline)
	defer cancel()
	for {
		missing, err := s.unseen(ctx)
		if err == nil && missing == "" {
			status, err := s.target.client.Status(s.cmd.Context())
			return status.Revision, err
		}
		if _, away := errors.AsType[*api.Unreachable](err); away && ctx.Err() == nil {
			return 0, err
		}
		if rest(ctx, sightPace); ctx.Err() != nil {
			return 0, failed("`lateen check` tells how the control plane is; the object is stored", "%s: the control plane has not seen %s after %s",
				s.target.said(), cmp.Or(missing, "what was written"), s.timeout)
		}
		if err != nil {
			return 0, err
		}
	}
}

// unseen returns one of the objects that the control plane does not know as they were written, "" for none.
func (s *sighting) unseen(ctx context.Context) (string, error) {
	known := map[mesh.Ref]int64{}
	asked := map[[2]string]bool{}
	for _, r := range s.results {
		if q := [2]string{r.Object.Kind, r.Object.Namespace}; !asked[q] {
			asked[q] = true
			objects, err := s.target.client.Objects(ctx, api.Query{Kind: q[0], Namespace: q[1]})
			if err != nil {
				return "", err
			}
			for _, o := range objects {
				known[o.Ref] = o.ResourceVersion
			}
		}
	}
	for _, r := range s.results {
		version, there := known[r.Object]
		deleted := r.Verb == "deleted"
		if deleted && there && version <= r.ResourceVersion || !deleted && version < r.ResourceVersion {
			return r.Object.String(), nil
		}
	}
	return "", nil
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
