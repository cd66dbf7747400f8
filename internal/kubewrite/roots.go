package kubewrite

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"

	"github.com/lateen-mesh/lateen/internal/kubeapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// roots keeps the ConfigMap with the roots in every namespace.
type roots struct {
	c       Config
	leading func() bool
	spaces  cache.Store // Namespaces
	there   cache.Store // ConfigMaps with the roots
	control []cache.Controller
	pace    *pace[string] // of namespaces
}

func newRoots(c Config, leading func() bool) *roots {
	r := &roots{c: c, leading: leading, pace: newPace(strings.Compare)}
	core := c.Client.Core()
	changed := func(object any) {
		if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = gone.Obj
		}
		switch o := object.(type) {
		case *corev1.Namespace:
			r.pace.look(o.Name)
		case *corev1.ConfigMap:
			r.pace.look(o.Namespace)
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

// all has every namespace looked at.
func (r *roots) all() {
	for _, name := range r.spaces.ListKeys() {
		r.pace.look(name)
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
		case <-r.pace.wake:
		case <-timer.C:
		}
		timer.Reset(r.write(ctx))
	}
}

// write writes what is due, and returns when to come again.
func (r *roots) write(ctx context.Context) time.Duration {
	for _, namespace := range r.pace.due(r.leading()) {
		if ctx.Err() != nil {
			break
		}
		r.keep(ctx, namespace)
	}
	return r.pace.wait()
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
	if r.pace.note(namespace, false, err) {
		r.c.Log.Warn("the roots in the ConfigMap of a namespace do not last: somebody changes them, or they cannot be written", "object", namespace+"/"+mesh.RootConfigMap, "err", err)
	}
}

func (r *roots) put(ctx context.Context, namespace string, now *corev1.ConfigMap, roots string) error {
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	configs := r.c.Client.ConfigMaps(namespace)
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
func renewConfigMap(ctx context.Context, configs kubeapi.Kind[*corev1.ConfigMap, *corev1.ConfigMapList], next *corev1.ConfigMap) error {
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
