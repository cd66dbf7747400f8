package kubewrite

import (
	"context"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// leader tries to hold the Lease of the leader.
type leader struct {
	c    Config
	seen observed
	fail bool // told once

	mu     sync.Mutex
	until  time.Time // that this replica leads; before the Lease expires for the others
	holder string
	other  time.Time // that another one is known to lead
	term   int32     // of the Lease, while this replica leads; each leader has a higher one than those before
	seems  int32     // a term that somebody has written under: the next one is higher, if this replica holds the Lease
}

func (l *leader) leading() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.until)
}

// follows tells whether another replica is known to lead.
func (l *leader) follows() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.other)
}

func (l *leader) name() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holder
}

// run tries until ctx ends. Began is called when this replica has become the leader.
func (l *leader) run(ctx context.Context, began func()) error {
	beats(ctx, l.c.Beat, func(ctx context.Context) {
		before, now := l.leading(), time.Now()
		mine, term := false, int32(0)
		err := renew(ctx, l.c, LeaderLease, func(lease *coordinationv1.Lease) bool {
			mine = l.take(lease, now)
			term = termOf(lease)
			return mine
		})
		if err == nil && mine {
			l.mu.Lock()
			l.until, l.holder, l.term = now.Add((missed-1)*l.c.Beat), l.c.Replica, term
			l.mu.Unlock()
			if !before {
				l.c.Log.Info("this replica leads: it writes what is for all")
				began()
			}
		}
		l.tell(ctx, err)
	})
	if !l.leading() {
		return nil
	}
	l.mu.Lock()
	l.until = time.Time{}
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	_ = renew(ctx, l.c, LeaderLease, func(lease *coordinationv1.Lease) bool { // it expires anyway
		free := lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity == l.c.Replica
		lease.Spec.HolderIdentity = nil
		return free
	})
	return nil
}

// take makes the Lease ours if it is, or nobody's (any more), and tells whether it is.
func (l *leader) take(lease *coordinationv1.Lease, now time.Time) bool {
	holder := ""
	if lease.Spec.HolderIdentity != nil {
		holder = *lease.Spec.HolderIdentity
	}
	expired := l.seen.look(lease, now, missed*l.c.Beat/2)
	if holder != "" && holder != l.c.Replica && !expired {
		l.mu.Lock()
		l.holder, l.until, l.other = holder, time.Time{}, now.Add(missed*l.c.Beat)
		l.mu.Unlock()
		return false
	}
	hold(lease, l.c.Replica, l.c.Beat)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seems >= termOf(lease) { // somebody has removed the Lease, and its term began anew
		raise(lease, l.seems+1)
	}
	return true
}

// reign returns the term in which this replica leads, or did last.
func (l *leader) reign() int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term
}

// overtaken notes that somebody has written under a term that is not below this replica's.
func (l *leader) overtaken(term int32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seems = max(l.seems, term)
}

func (l *leader) tell(ctx context.Context, err error) {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		err = nil // somebody else was faster
	}
	if failed := err != nil && ctx.Err() == nil; failed != l.fail {
		l.fail = failed
		if failed {
			l.c.Log.Warn("nobody can tell which replica leads", "err", err)
		} else {
			l.c.Log.Info("which replica leads can be told again")
		}
	}
}
