package kubewrite

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/lateen-mesh/lateen/internal/kubeapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Reporter is who Events say that they come from.
const Reporter = "lateen.dev/control-plane"

// Bounds of Events.
const (
	eventsEach  = 2 // a second, for all objects
	eventsBurst = 50
	quietFor    = 10 * time.Minute // for which the same is not said again of an object
	maxSaid     = 4096             // of which that is known
	maxReason   = 128              // bytes, as the API server has it
	maxName     = 230              // bytes of the object's name in that of the Event, which has 253 at most
)

// events tells what happens to objects as Events. What is said follows from what stood in the status before and stands there
// now, so nothing is said again after a restart. What is too much is left out: the status says it too.
type events struct {
	client  *kubeapi.Client
	replica string
	log     *slog.Logger
	room    flowcontrol.RateLimiter
	said    map[saying]time.Time
}

// saying is what an Event says of an object.
type saying struct {
	object mesh.Ref
	uid    string
	kind   string // Normal or Warning
	reason string
	note   string
}

func newEvents(c Config) *events {
	return &events{
		client: c.Client, replica: c.Replica, log: c.Log, said: map[saying]time.Time{},
		room: flowcontrol.NewTokenBucketRateLimiter(eventsEach, eventsBurst),
	}
}

// tell tells what a verdict changes.
func (e *events) tell(ctx context.Context, j *mesh.Judged, before, now verdict) {
	for _, s := range sayings(before, now) {
		s.object, s.uid = j.Object, j.UID
		if !e.mayTell(s, time.Now()) {
			continue
		}
		if err := e.create(ctx, j, s); err != nil {
			e.log.Warn("an Event cannot be written: the status says the same", "object", j.Object.String(), "err", err)
		}
	}
}

// sayings lists what is to be told: that an object is bad, or good again; that a proxy refuses it, or none does any more.
func sayings(before, now verdict) []saying {
	var all []saying
	differs := func(kind string) (was, is *metav1.Condition, other bool) {
		was, is = before.of(kind), now.of(kind)
		return was, is, was == nil || was.Status != is.Status || was.Reason != is.Reason || was.Message != is.Message
	}
	was, is, other := differs(Accepted)
	switch {
	case !other:
	case is.Status == metav1.ConditionFalse:
		all = append(all, saying{kind: corev1.EventTypeWarning, reason: is.Reason, note: is.Message})
	case was != nil && was.Status == metav1.ConditionFalse:
		all = append(all, saying{kind: corev1.EventTypeNormal, reason: is.Reason, note: "it is good again: " + is.Message})
	}
	refusedBefore, refusedNow := refusals(before), refusals(now)
	switch {
	case refusedNow != "" && refusedNow != refusedBefore:
		all = append(all, saying{kind: corev1.EventTypeWarning, reason: now.of(Programmed).Reason, note: refusedNow})
	case refusedNow == "" && refusedBefore != "" && is.Status == metav1.ConditionTrue:
		all = append(all, saying{kind: corev1.EventTypeNormal, reason: now.of(Programmed).Reason, note: "no proxy refuses it any more"})
	}
	return all
}

// refusals returns what proxies refuse of an object, in one text; "": nothing.
func refusals(v verdict) string {
	c := v.of(Programmed)
	if c == nil {
		return ""
	}
	for _, p := range v.Problems {
		if Reason(p.Code) == c.Reason && c.Status == metav1.ConditionFalse {
			if p.Hint != "" {
				return p.Message + "; hint: " + p.Hint
			}
			return p.Message
		}
	}
	return ""
}

// mayTell tells whether something may be said now, and notes that it is.
func (e *events) mayTell(s saying, now time.Time) bool {
	maps.DeleteFunc(e.said, func(_ saying, at time.Time) bool { return now.Sub(at) > quietFor })
	if _, known := e.said[s]; known || len(e.said) >= maxSaid || !e.room.TryAccept() {
		return false
	}
	e.said[s] = now
	return true
}

func (e *events) create(ctx context.Context, j *mesh.Judged, s saying) error {
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	name := fmt.Sprintf("%s.%x", strings.TrimRight(j.Object.Name[:min(maxName, len(j.Object.Name))], "-."), time.Now().UnixNano())
	event := &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: j.Object.Namespace},
		EventTime:  metav1.NowMicro(), ReportingController: Reporter, ReportingInstance: e.replica, Action: "Judge",
		Reason: clip(s.reason, maxReason), Note: s.note, Type: s.kind,
		Regarding: corev1.ObjectReference{
			Kind: j.Object.Kind, APIVersion: j.APIVersion, Namespace: j.Object.Namespace, Name: j.Object.Name,
			UID: types.UID(j.UID), ResourceVersion: j.ResourceVersion,
		},
	}
	_, err := e.client.Events(j.Object.Namespace).Create(ctx, event, metav1.CreateOptions{FieldManager: Manager})
	return err
}
