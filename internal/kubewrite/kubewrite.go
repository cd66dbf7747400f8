// Package kubewrite is all that the control plane writes to a cluster beside the authority's key: who of its replicas are there and
// which of them leads, in Leases, the roots of the trust domain, in a ConfigMap in every namespace, how ports are secured, what the API
// server is told of the webhooks, the addresses of the ingress in the status of the Ingress objects that are for it, and what there is
// to say of the objects of users, in their status and as Events.
//
// Every replica keeps a Lease with its address, so that the others find it ([Writer.Replicas]); one that does not renew it is
// forgotten after three beats. One holds the Lease that makes it the leader. Only the leader writes what is for all: it creates
// the ConfigMap in new namespaces at once, and repairs one that was changed or removed, ever more slowly where somebody
// changes it again and again. So it is with the status of an object: it is compared with what is to stand there, and written, for its
// own version only, when that differs; how often is bounded, and most where only numbers of proxies change. An Event says what
// has changed in the status, so none is repeated after a restart. While the API server is away nothing is written and nobody is forgotten.
package kubewrite

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

	"github.com/lateen-mesh/lateen/internal/kubeapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/peers"
)

// Names of what is written.
const (
	// LeaderLease is the Lease that the leader holds.
	LeaderLease = "lateen-leader"
	// ReplicaLabel is on the Lease of each replica; the value is "true".
	ReplicaLabel = "lateen.dev/replica"
	// AddressAnnotation is on it too: HOST:PORT where the replica answers the others.
	AddressAnnotation = "lateen.dev/address"
	replicaPrefix     = "lateen-replica-"
	// TermAnnotation is on what the leader writes: the term of its Lease. Nobody whose term is lower writes over it.
	TermAnnotation = "lateen.dev/term"
)

const (
	defaultBeat   = 5 * time.Second
	defaultSettle = 10 * time.Second
	missed        = 3 // beats after which a Lease has expired
	callBound     = 5 * time.Second
	goodbye       = 2 * time.Second // bounds what is written at the end
)

// Config is what a Writer is made with.
type Config struct {
	Client  *kubeapi.Client
	Replica string        // name of this replica, as its pod has it
	Address string        // HOST:PORT where it answers the others
	Roots   func() []byte // of the trust domain, in PEM
	// Ingress returns which Ingress objects are for the ingress; false: nobody knows yet. nil: nothing is written into them.
	Ingress func() (mesh.IngressSettings, bool)
	// Hooks returns what the API server is to be told of our webhooks; false: that is not known yet. nil: it is told nothing.
	Hooks func() (*admissionv1.MutatingWebhookConfiguration, *admissionv1.ValidatingWebhookConfiguration, bool)
	Beat  time.Duration // how often Leases are renewed; 0: 5 s
	Log   *slog.Logger

	// Judge returns what tells what there is to say of objects; it is asked for while the writer runs. nil: no status is written.
	Judge   func() Judge
	Objects dynamic.Interface // where their status is written
	Refused string            // code of problems that proxies have with an object, which is applied nevertheless
	Settle  time.Duration     // after the start of a leader, for which how far something is counts as not known yet; 0: 10 s
}

// Writer writes to a cluster. Its methods may be called from any goroutine.
type Writer struct {
	c       Config
	members *members
	leader  *leader
	roots   *roots
	stances *Stances
	ingress *ingressStatuses // nil: none are written
	hooks   *hooks
	status  *statuses
}

// New returns a writer. It starts nothing.
func New(c Config) *Writer {
	if c.Beat == 0 {
		c.Beat = defaultBeat
	}
	if c.Settle == 0 {
		c.Settle = defaultSettle
	}
	w := &Writer{c: c, members: newMembers(c), leader: &leader{c: c, seen: observed{}}}
	w.roots = newRoots(c, w.Leading)
	w.hooks = &hooks{c: c, leading: w.Leading, wrote: map[string]writing{}, wanted: map[string]any{}, gone: map[string]bool{}}
	w.status = newStatuses(c, w.Leading)
	w.stances = &Stances{client: c.Client, leading: w.Leading, follows: w.leader.follows, term: w.leader.reign, overtaken: w.leader.overtaken, log: c.Log, beat: c.Beat}
	if c.Ingress != nil {
		w.ingress = newIngressStatuses(c, w.Leading)
	}
	return w
}

// Run writes until ctx ends, and then says good-bye.
func (w *Writer) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.members.run(ctx) })
	group.Go(func() error { return w.leader.run(ctx, w.begin) })
	group.Go(func() error { return w.roots.run(ctx) })
	group.Go(func() error { return w.hooks.run(ctx) })
	group.Go(func() error { return w.stances.run(ctx) })
	group.Go(func() error { return w.status.run(ctx) })
	if w.ingress != nil {
		group.Go(func() error { return w.ingress.run(ctx) })
	}
	return group.Wait()
}

// begin has everything looked at that the leader writes, since this replica has become it.
func (w *Writer) begin() {
	w.roots.all()
	if w.ingress != nil {
		w.ingress.stir()
	}
}

// Leading tells whether this replica is the leader.
func (w *Writer) Leading() bool { return w.leader.leading() }

// Leader returns the name of the replica that leads; "": nobody does, as far as is known.
func (w *Writer) Leader() string { return w.leader.name() }

// Replicas implements [peers.Members].
func (w *Writer) Replicas() ([]peers.Replica, bool) { return w.members.list() }

// Stances returns what keeps in the cluster how ports are secured.
func (w *Writer) Stances() *Stances { return w.stances }

// meta is what our objects have.
func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: mesh.SystemNamespace, Labels: labels()}
}

func labels() map[string]string {
	return map[string]string{mesh.NameLabel: mesh.SystemName, mesh.PartLabel: mesh.SystemName}
}

// beats calls something at once and at each beat, until ctx ends.
func beats(ctx context.Context, every time.Duration, each func(context.Context)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		each(ctx)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}
