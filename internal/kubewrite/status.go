package kubewrite

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Manager is the field manager of what is written into objects of others.
const Manager = "lateen"

// Judge tells what there is to say of the objects of a cluster. Its methods may be called from any goroutine.
type Judge interface {
	// News returns the objects of which there may be something else to say than when it was last asked, or all.
	News(all bool) []mesh.Ref
	// Judge returns what there is to say of one, nil where there is none of the name. Not ready: there will be something soon.
	Judge(ref mesh.Ref) (j *mesh.Judged, ready bool)
	// Rest tells it, again and again, that nobody asks: the next one asks for all.
	Rest()
}

// Bounds of how often a status is written.
const (
	statusBeat  = time.Second
	mostWrites  = 20               // at each beat
	countsLast  = 3 * time.Second  // a number of proxies has lasted
	countsPause = 15 * time.Second // between two writes for numbers of proxies
	bareBeats   = 12               // beats of the Writer, after which a kind without a status is tried again
)

// statuses keeps the status of objects.
type statuses struct {
	c       Config
	leading func() bool
	pace    *pace[mesh.Ref]
	events  *events

	forbidden bool                 // the last status could not be written since Lateen may not
	bare      map[string]time.Time // kinds that have no status, as the cluster has them, and when they are tried again; it was told

	began   time.Time // when this replica began to lead; zero: it does not
	written map[mesh.Ref]written
}

// written is what this replica has written last of an object, while it leads.
type written struct {
	verdict verdict
	at      time.Time // zero: nothing
	since   time.Time // since when something else is to stand there; zero: it is not
}

func newStatuses(c Config, leading func() bool) *statuses {
	return &statuses{
		c: c, leading: leading, pace: newPace(mesh.Ref.Compare), events: newEvents(c), written: map[mesh.Ref]written{}, bare: map[string]time.Time{},
	}
}

// run writes at each beat, while this replica leads.
func (s *statuses) run(ctx context.Context) error {
	if s.c.Judge == nil {
		return nil
	}
	beats(ctx, statusBeat, func(ctx context.Context) {
		leading := s.leading()
		if !leading {
			s.began = time.Time{}
			clear(s.written)
			s.pace.due(false)
			s.c.Judge().Rest()
			return
		}
		judge, first := s.c.Judge(), s.began.IsZero()
		if first {
			s.began = time.Now()
		}
		for _, ref := range judge.News(first) {
			s.pace.look(ref)
		}
		due, writes := s.pace.due(true), 0
		for i, ref := range due {
			if writes == mostWrites || ctx.Err() != nil || !s.leading() {
				s.later(due[i:])
				return
			}
			wrote, err := s.keep(ctx, judge, ref)
			if wrote {
				writes++
			}
			if err != nil && apierrors.ReasonForError(err) == metav1.StatusReasonUnknown { // the API server does not answer
				s.later(due[i+1:])
				return
			}
		}
	})
	return nil
}

// later has objects looked at with the next beat.
func (s *statuses) later(refs []mesh.Ref) {
	for _, ref := range refs {
		s.pace.look(ref)
	}
}

// keep makes the status of an object what it is to be, and tells whether it tried to.
func (s *statuses) keep(ctx context.Context, judge Judge, ref mesh.Ref) (wrote bool, err error) {
	j, ready := judge.Judge(ref)
	switch {
	case !ready:
		s.pace.look(ref)
		return false, nil
	case j == nil:
		delete(s.written, ref)
		return false, nil
	}
	now, there, last := time.Now(), readVerdict(j.Status), s.written[ref]
	v := verdictOf(j, s.c.Refused, there, now)
	difference := v.compare(there)
	if difference == same {
		last.since = time.Time{}
		s.written[ref] = last
		return false, nil
	}
	if last.since.IsZero() {
		last.since = now
		s.written[ref] = last
	}
	if wait := latest(s.patience(difference, last), s.bare[j.Plural]).Sub(now); wait > 0 {
		s.pace.lookIn(ref, wait)
		return false, nil
	}
	// What is to stand there since it was written last somebody else has changed.
	fresh := last.at.IsZero() || v.compare(last.verdict) != same
	err = s.write(ctx, j, v)
	if err == nil {
		delete(s.bare, j.Plural)
		s.written[ref] = written{verdict: v, at: now}
		s.events.tell(ctx, j, there, v)
	}
	if apierrors.IsNotFound(err) { // it is gone, or its kind has no status
		if !s.hasStatus(ctx, j) {
			s.lacks(j)
			s.pace.look(ref)
		}
		return true, nil
	}
	if apierrors.IsConflict(err) { // somebody has written it meanwhile, and it is looked at when that is seen
		fresh, err = false, nil
	}
	forbidden := apierrors.IsForbidden(err) // as everything then is: it is told once
	if s.pace.note(ref, fresh, err) && !(forbidden && s.forbidden) {
		s.c.Log.Warn("the status of an object does not last: somebody changes it, or it cannot be written", "object", ref.String(), "err", err)
	}
	s.forbidden = forbidden
	return true, err
}

// hasStatus tells whether the kind of an object has a status, as the cluster has it; so it does where that cannot be found out.
func (s *statuses) hasStatus(ctx context.Context, j *mesh.Judged) bool {
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	var kinds metav1.APIResourceList
	err := s.c.Client.Core().Get().AbsPath("/apis/" + j.APIVersion).Do(ctx).Into(&kinds)
	has := func(name string) bool {
		return slices.ContainsFunc(kinds.APIResources, func(r metav1.APIResource) bool { return r.Name == name })
	}
	return err != nil || !has(j.Plural) || has(j.Plural+"/status")
}

// lacks notes that a kind has no status, as when its definition is an old one that was kept, and tells it once.
func (s *statuses) lacks(j *mesh.Judged) {
	if _, told := s.bare[j.Plural]; !told {
		s.c.Log.Warn("the status of objects cannot be written: their kind, as the cluster has it, has none; lateen install mends that", "kind", j.Object.Kind)
	}
	s.bare[j.Plural] = time.Now().Add(bareBeats * s.c.Beat)
}

// patience returns when a difference is to be written. How far objects are is not told while proxies come back to a control plane that
// has just begun; and numbers of proxies when they have lasted, and seldom.
func (s *statuses) patience(d differs, last written) time.Time {
	var at time.Time
	if d < inMatter {
		at = s.began.Add(s.c.Settle)
	}
	if d == counts {
		at = latest(at, last.since.Add(countsLast), last.at.Add(countsPause))
	}
	return at
}

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }

// write writes a status, unless the object is another one by now.
func (s *statuses) write(ctx context.Context, j *mesh.Judged, v verdict) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var status map[string]any
	if err := json.Unmarshal(text, &status); err != nil {
		return err
	}
	version, err := schema.ParseGroupVersion(j.APIVersion)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	_, err = s.c.Objects.Resource(version.WithResource(j.Plural)).Namespace(j.Object.Namespace).ApplyStatus(ctx, j.Object.Name, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": j.APIVersion, "kind": j.Object.Kind,
		"metadata": map[string]any{"name": j.Object.Name, "namespace": j.Object.Namespace, "uid": j.UID, "resourceVersion": j.ResourceVersion},
		"status":   status,
	}}, metav1.ApplyOptions{FieldManager: Manager, Force: true})
	return err
}
