package kubewrite

import (
	"context"
	"math"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Bounds of how long a Lease of somebody else is believed without being renewed, whatever it says.
const (
	shortestLease = time.Second
	longestLease  = time.Minute
)

// durationOf returns for how long a Lease is good that is renewed at each beat, in whole seconds.
func durationOf(beat time.Duration) int32 {
	return int32(max(1, math.Ceil((missed * beat).Seconds())))
}

// lifeOf returns how long a Lease is believed without being renewed.
func lifeOf(l *coordinationv1.Lease) time.Duration {
	if l.Spec.LeaseDurationSeconds == nil {
		return shortestLease
	}
	return min(max(time.Duration(*l.Spec.LeaseDurationSeconds)*time.Second, shortestLease), longestLease)
}

// observed remembers how long Leases were not renewed, by name. The clocks of replicas may differ, so what counts is how long
// nothing has changed here, and only while the API server has answered.
type observed map[string]sight

type sight struct {
	version string // of the Lease
	at      time.Time
	idle    time.Duration // that it was seen unchanged
}

// look notes how a Lease is now, and tells whether it has expired. Times between answers that are longer than a few beats are
// no reason to think so: nobody could renew then.
func (o observed) look(l *coordinationv1.Lease, now time.Time, longest time.Duration) (expired bool) {
	before, known := o[l.Name]
	if !known || before.version != l.ResourceVersion {
		o[l.Name] = sight{version: l.ResourceVersion, at: now}
		return false
	}
	before.idle += min(now.Sub(before.at), longest)
	before.at = now
	o[l.Name] = before
	return before.idle > lifeOf(l)
}

// renew writes a Lease: as change makes it of what is there. It does nothing when change says so.
func renew(ctx context.Context, c Config, name string, change func(*coordinationv1.Lease) bool) error {
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	leases := c.Client.Leases(mesh.SystemNamespace)
	there, err := leases.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		fresh := &coordinationv1.Lease{ObjectMeta: meta(name)}
		if change(fresh) {
			_, err = leases.Create(ctx, fresh, metav1.CreateOptions{})
			return err
		}
		return nil
	}
	if err != nil {
		return err
	}
	next := there.DeepCopy()
	if !change(next) {
		return nil
	}
	_, err = leases.Update(ctx, next, metav1.UpdateOptions{})
	return err
}

// hold makes a Lease somebody's from now on.
func hold(l *coordinationv1.Lease, who string, beat time.Duration) {
	now, seconds := metav1.NowMicro(), durationOf(beat)
	if l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity != who {
		l.Spec.AcquireTime = &now
		raise(l, termOf(l)+1)
	}
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &who, &seconds, &now
}

// termOf returns how often the holder of a Lease has changed. It only rises, so long as nobody removes the Lease.
func termOf(l *coordinationv1.Lease) int32 {
	if l.Spec.LeaseTransitions == nil {
		return 0
	}
	return *l.Spec.LeaseTransitions
}

// raise makes the term of a Lease what it is to be at least.
func raise(l *coordinationv1.Lease, term int32) {
	term = max(term, termOf(l))
	l.Spec.LeaseTransitions = &term
}
