package kubewrite

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/peers"
)

// mostReplicas bounds the Leases that are looked at.
const mostReplicas = 100

// members keeps the Lease of this replica and looks at those of the others.
type members struct {
	c    Config
	seen observed
	fail bool // told once

	mu     sync.Mutex
	others []peers.Replica
	known  bool // the others were listed, once
}

func newMembers(c Config) *members { return &members{c: c, seen: observed{}} }

// list returns the other replicas, sorted by name, and whether they are known at all.
func (m *members) list() ([]peers.Replica, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.others), m.known
}

func (m *members) run(ctx context.Context) error {
	beats(ctx, m.c.Beat, func(ctx context.Context) {
		err := renew(ctx, m.c, replicaPrefix+m.c.Replica, m.own)
		if err == nil || apierrors.IsConflict(err) {
			err = m.look(ctx)
		}
		if failed := err != nil && ctx.Err() == nil; failed != m.fail {
			m.fail = failed
			if failed {
				m.c.Log.Warn("the replicas of the control plane cannot be looked at: those that were known count on", "err", err)
			} else {
				m.c.Log.Info("the replicas of the control plane can be looked at again")
			}
		}
	})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	err := m.c.Client.Leases(mesh.SystemNamespace).Delete(ctx, replicaPrefix+m.c.Replica, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		m.c.Log.Warn("the others are not told that this replica goes: they see it when its Lease expires", "err", err)
	}
	return nil
}

// own is what this replica's Lease says.
func (m *members) own(l *coordinationv1.Lease) bool {
	hold(l, m.c.Replica, m.c.Beat)
	if l.Labels == nil {
		l.Labels = map[string]string{}
	}
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
	}
	maps.Copy(l.Labels, labels())
	l.Labels[ReplicaLabel] = "true"
	l.Annotations[AddressAnnotation] = m.c.Address
	return true
}

// look sees who else is there.
func (m *members) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	list, err := m.c.Client.Leases(mesh.SystemNamespace).List(ctx, metav1.ListOptions{
		LabelSelector: ReplicaLabel + "=true", Limit: mostReplicas,
	})
	if err != nil {
		return err
	}
	now := time.Now()
	var others []peers.Replica
	for i := range list.Items {
		l := &list.Items[i]
		name, ok := strings.CutPrefix(l.Name, replicaPrefix)
		if !ok || name == m.c.Replica || m.seen.look(l, now, missed*m.c.Beat/2) {
			continue
		}
		others = append(others, peers.Replica{Name: name, Address: l.Annotations[AddressAnnotation]})
	}
	slices.SortFunc(others, func(a, b peers.Replica) int { return strings.Compare(a.Name, b.Name) })
	m.tell(others)
	m.sweep(ctx, list.Items)
	return nil
}

// tell makes others those that are there, and logs who has come and gone.
func (m *members) tell(others []peers.Replica) {
	m.mu.Lock()
	before := m.others
	m.others, m.known = others, true
	m.mu.Unlock()
	for _, r := range others {
		if !slices.Contains(before, r) {
			m.c.Log.Info("another replica of the control plane is there", "replica", r.Name, "address", r.Address)
		}
	}
	for _, r := range before {
		if !slices.ContainsFunc(others, func(o peers.Replica) bool { return o.Name == r.Name }) {
			m.c.Log.Info("another replica of the control plane is gone", "replica", r.Name)
		}
	}
}

// oldLease is how long a Lease stays after it has expired: of a replica that was killed nobody else removes it.
const oldLease = 10 * time.Minute

// sweep removes the Leases of replicas that were killed long ago, and forgets those that are gone.
func (m *members) sweep(ctx context.Context, items []coordinationv1.Lease) {
	there := map[string]bool{}
	for i := range items {
		l := &items[i]
		there[l.Name] = true
		if m.seen[l.Name].idle > oldLease {
			options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &l.ResourceVersion}}
			_ = m.c.Client.Leases(mesh.SystemNamespace).Delete(ctx, l.Name, options) // the next look tries again
		}
	}
	for name := range m.seen {
		if !there[name] {
			delete(m.seen, name)
		}
	}
}
