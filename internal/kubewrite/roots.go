package kubewrite

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Pauses before a ConfigMap is written once more.
const (
	firstPause = time.Second // doubled each time, where it was changed again soon or could not be written
	longPause  = time.Minute
	calm       = 2 * time.Minute // without a change: the next one is repaired at once again
)

// roots keeps the ConfigMap with the roots in every namespace.
type roots struct {
	c       Config
	leading func() bool
	spaces  cache.Store // Namespaces
	there   cache.Store // ConfigMaps with the roots
	control []cache.Controller
	wake    chan struct{}

	mu    sync.Mutex
	dirty map[string]time.Time // namespaces that are to be looked at, and when
	wrote map[string]writing
}

// writing is what was written to a namespace lately.
type writing struct {
	at    time.Time
	pause time.Duration // before the next time
	told  bool          // that it does not last
}

func newRoots(c Config, leading func() bool) *roots {
	r := &roots{c: c, leading: leading, wake: make(chan struct{}, 1), dirty: map[string]time.Time{}, wrote: map[string]writing{}}
	core := c.Client.CoreV1().RESTClient()
	changed := func(object any) {
		if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = gone.Obj
		}
		switch o := object.(type) {
		case *corev1.Namespace:
			r.look(o.Name)
		case *corev1.ConfigMap:
			r.look(o.Namespace)
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: changed, UpdateFunc: func(_, now any) { changed(now) }, DeleteFunc: changed}
	var control cache.Controller
	r.spaces, control = cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(core, "namespaces", "", fields.Everything()), ObjectType: &corev1.Namespace{}, Handler: handler,
		Transform: slim,
	})
	r.control = append(r.control, control)
	r.there, control = cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(core, "configmaps", "", fields.OneTermEqualSelector("metadata.name", mesh.RootConfigMap)),
		ObjectType:    &corev1.ConfigMap{}, Handler: handler, Transform: slim,
	})
	r.control = append(r.control, control)
	return r
}

// slim drops what nobody reads.
func slim(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(nil)
	}
	if n, ok := object.(*corev1.Namespace); ok {
		n.Annotations, n.Labels, n.Spec = nil, nil, corev1.NamespaceSpec{}
	}
	return object, nil
}

// look has a namespace looked at, not before it may be written again.
func (r *roots) look(namespace string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w, now := r.wrote[namespace], time.Now()
	due := now
	if now.Sub(w.at) < calm && w.at.Add(w.pause).After(now) {
		due = w.at.Add(w.pause)
	}
	r.dirty[namespace] = due
	r.stir()
}

func (r *roots) stir() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// all has every namespace looked at.
func (r *roots) all() {
	for _, name := range r.spaces.ListKeys() {
		r.look(name)
	}
}

func (r *roots) run(ctx context.Context) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	for _, c := range r.control {
		watching.Go(func() { c.RunWithContext(ctx) })
	}
	synced := []cache.InformerSynced{}
	for _, c := range r.control {
		synced = append(synced, c.HasSynced)
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-timer.C:
		}
		timer.Reset(r.write(ctx))
	}
}

// write writes what is due, and returns when to come again.
func (r *roots) write(ctx context.Context) time.Duration {
	for _, namespace := range r.due() {
		if ctx.Err() != nil {
			break
		}
		r.keep(ctx, namespace)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := longPause
	for _, at := range r.dirty {
		wait = min(wait, max(time.Until(at), time.Millisecond))
	}
	return wait
}

// due takes the namespaces that are due, sorted. One who does not lead forgets them: whoever becomes the leader looks at all.
func (r *roots) due() []string {
	leading, now := r.leading(), time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for name, at := range r.dirty {
		if !leading || !at.After(now) {
			delete(r.dirty, name)
			names = append(names, name)
		}
	}
	if !leading {
		return nil
	}
	maps.DeleteFunc(r.wrote, func(_ string, w writing) bool { return now.Sub(w.at) > calm+longPause })
	slices.Sort(names)
	return names
}

// keep makes the ConfigMap of a namespace what it is to be.
func (r *roots) keep(ctx context.Context, namespace string) {
	object, there, err := r.spaces.GetByKey(namespace)
	space, ok := object.(*corev1.Namespace)
	if err != nil || !there || !ok || space.Status.Phase == corev1.NamespaceTerminating || space.DeletionTimestamp != nil {
		return
	}
	var now *corev1.ConfigMap
	if object, there, err = r.there.GetByKey(namespace + "/" + mesh.RootConfigMap); err == nil && there {
		now, _ = object.(*corev1.ConfigMap)
	}
	roots := string(r.c.Roots())
	if now != nil && now.Data[mesh.RootKey] == roots && now.Labels[mesh.PartLabel] == mesh.SystemName {
		return
	}
	err = r.put(ctx, namespace, now, roots)
	if apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return // it goes
	}
	r.note(namespace, err)
}

func (r *roots) put(ctx context.Context, namespace string, now *corev1.ConfigMap, roots string) error {
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	configs := r.c.Client.CoreV1().ConfigMaps(namespace)
	if now == nil {
		fresh := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: mesh.RootConfigMap, Labels: labels()}, Data: map[string]string{mesh.RootKey: roots}}
		_, err := configs.Create(ctx, fresh, metav1.CreateOptions{})
		return err
	}
	next := now.DeepCopy() // with its version: what was written meanwhile is seen first
	if next.Data == nil {
		next.Data = map[string]string{}
	}
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	next.Data[mesh.RootKey] = roots
	maps.Copy(next.Labels, labels())
	if next.Immutable != nil && *next.Immutable {
		return renewConfigMap(ctx, configs, next)
	}
	_, err := configs.Update(ctx, next, metav1.UpdateOptions{})
	return err
}

// renewConfigMap puts a ConfigMap in the place of one that nobody can change.
func renewConfigMap(ctx context.Context, configs typedcorev1.ConfigMapInterface, next *corev1.ConfigMap) error {
	err := configs.Delete(ctx, next.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &next.UID, ResourceVersion: &next.ResourceVersion}})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	fresh := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: next.Name, Labels: next.Labels, Annotations: next.Annotations}, Data: next.Data, BinaryData: next.BinaryData,
	}
	_, err = configs.Create(ctx, fresh, metav1.CreateOptions{})
	return err
}

// note remembers that a namespace was written, or could not be. What was written by somebody else in the same moment is no
// failure: it is looked at when it is seen.
func (r *roots) note(namespace string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return
	}
	before, now := r.wrote[namespace], time.Now()
	next := writing{at: now, pause: firstPause}
	if now.Sub(before.at) < calm {
		next.pause, next.told = min(2*before.pause, longPause), before.told
	}
	if err != nil {
		r.dirty[namespace] = now.Add(next.pause)
		r.stir()
	}
	if !next.told && (err != nil || next.pause >= 8*firstPause) {
		next.told = true
		r.c.Log.Warn("the roots in the ConfigMap of a namespace do not last: somebody changes them, or they cannot be written", "object", namespace+"/"+mesh.RootConfigMap, "err", err)
	}
	r.wrote[namespace] = next
}
