// Package owners knows what a cluster says around a pod: the labels of its namespace, and the annotations of what made it.
//
// What comes in: watches of namespaces and of the kinds that make pods, of which only the metadata is asked for, and of that only
// what can decide about a sidecar is kept. What goes out, for one pod: [Around]. A pod can be about to be created before the watch
// has told of the ReplicaSet that makes it; what is not known yet is asked of the API server, so that nothing is guessed. The same
// is asked before the watches have begun, and by commands that look once and watch nothing.
//
// It promises that a pod's owner is the one of that identity (UID), not another one that has its name by now, that chains of
// owners are followed for a few steps only, and that what an owner of an unknown kind says is nobody's business.
package owners

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Bounds.
const (
	mostOwners = 4               // in a chain, such as a pod's ReplicaSet and its Deployment
	askBound   = 2 * time.Second // of one question to the API server
)

// Around is what is said around a pod.
type Around struct {
	NamespaceLabels map[string]string // those that can decide about a sidecar
	Owner           map[string]string // annotations that can; of two owners who say something, the one that is nearer to the pod counts
}

// Owners knows what is around the pods of a cluster. Its methods may be called from any goroutine.
type Owners struct {
	client metadata.Interface
	stores map[schema.GroupVersionResource]cache.SharedIndexInformer
	log    *slog.Logger
}

// namespaces are the resource of namespaces.
var namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}

// makers are the kinds that make pods, or what makes them.
var makers = map[schema.GroupKind]schema.GroupVersionResource{
	{Group: "apps", Kind: "Deployment"}:  {Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "apps", Kind: "ReplicaSet"}:  {Group: "apps", Version: "v1", Resource: "replicasets"},
	{Group: "apps", Kind: "StatefulSet"}: {Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "apps", Kind: "DaemonSet"}:   {Group: "apps", Version: "v1", Resource: "daemonsets"},
	{Group: "batch", Kind: "Job"}:        {Group: "batch", Version: "v1", Resource: "jobs"},
	{Group: "batch", Kind: "CronJob"}:    {Group: "batch", Version: "v1", Resource: "cronjobs"},
	{Kind: "ReplicationController"}:      {Version: "v1", Resource: "replicationcontrollers"},
}

// New returns what knows a cluster. It asks nobody yet.
func New(config *rest.Config, log *slog.Logger) (*Owners, error) {
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	o := &Owners{client: client, stores: map[schema.GroupVersionResource]cache.SharedIndexInformer{}, log: log}
	resources := []schema.GroupVersionResource{namespaces}
	for _, r := range makers {
		resources = append(resources, r)
	}
	for _, r := range resources {
		of := client.Resource(r)
		informer := cache.NewSharedIndexInformer(&cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
				return of.List(ctx, options)
			},
			WatchFuncWithContext: of.Watch,
		}, &metav1.PartialObjectMetadata{}, 0, cache.Indexers{})
		if err := errors.Join(informer.SetTransform(slim), informer.SetWatchErrorHandler(o.tell(r))); err != nil {
			return nil, err
		}
		o.stores[r] = informer
	}
	return o, nil
}

// tell returns what tells that a resource cannot be watched.
func (o *Owners) tell(r schema.GroupVersionResource) cache.WatchErrorHandler {
	return func(_ *cache.Reflector, err error) {
		if apierrors.IsForbidden(err) {
			o.log.Warn("what makes pods may not be watched: it is asked for each pod", "resource", r.Resource, "err", err)
			return
		}
		o.log.Debug("what makes pods cannot be watched now", "resource", r.Resource, "err", err)
	}
}

// Run watches until ctx ends.
func (o *Owners) Run(ctx context.Context) error {
	var group errgroup.Group
	for _, informer := range o.stores {
		group.Go(func() error { informer.RunWithContext(ctx); return nil })
	}
	return group.Wait()
}

// Around returns what is said around a pod of a namespace which has these owners. Fresh: what the watch has told of the namespace is
// not believed. The error says what could not be asked.
func (o *Owners) Around(ctx context.Context, namespace string, of []metav1.OwnerReference, fresh bool) (Around, error) {
	look := o.find
	if fresh {
		look = o.ask
	}
	ns, err := look(ctx, namespaces, "", namespace, nil)
	if err != nil {
		return Around{}, fmt.Errorf("read the namespace %s: %w", namespace, err)
	}
	around := Around{NamespaceLabels: map[string]string{}, Owner: map[string]string{}}
	if ns != nil {
		around.NamespaceLabels = only(ns.Labels, mesh.InjectLabel, mesh.InjectionLabel)
	}
	for range mostOwners {
		owner := controller(of)
		if owner == nil {
			break
		}
		resource, known := makers[schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind()]
		if !known {
			break
		}
		found, err := o.find(ctx, resource, namespace, owner.Name, owner)
		if err != nil {
			return Around{}, fmt.Errorf("read the %s %s/%s: %w", owner.Kind, namespace, owner.Name, err)
		}
		if found == nil {
			break
		}
		for key, value := range only(found.Annotations, mesh.InjectAnnotation, mesh.StatusAnnotation) {
			if _, said := around.Owner[key]; !said {
				around.Owner[key] = value
			}
		}
		of = found.OwnerReferences
	}
	return around, nil
}

// controller returns the owner that made an object, or nil.
func controller(of []metav1.OwnerReference) *metav1.OwnerReference {
	for i := range of {
		if c := of[i].Controller; c != nil && *c {
			return &of[i]
		}
	}
	return nil
}

// find returns an object, of which an owner is sought as the one that is referred to; nil if there is none. What the watch has not told
// of is asked.
func (o *Owners) find(ctx context.Context, r schema.GroupVersionResource, namespace, name string, ref *metav1.OwnerReference) (*metav1.PartialObjectMetadata, error) {
	if item, there, err := o.stores[r].GetStore().GetByKey(cache.NewObjectName(namespace, name).String()); err == nil && there {
		if found, ok := item.(*metav1.PartialObjectMetadata); ok && isReferred(found, ref) {
			return found, nil
		}
	}
	return o.ask(ctx, r, namespace, name, ref)
}

func isReferred(found *metav1.PartialObjectMetadata, ref *metav1.OwnerReference) bool {
	return ref == nil || found.UID == ref.UID
}

// ask is find by asking the API server.
func (o *Owners) ask(ctx context.Context, r schema.GroupVersionResource, namespace, name string, ref *metav1.OwnerReference) (*metav1.PartialObjectMetadata, error) {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	found, err := o.client.Resource(r).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // there is none, and that is an answer
	case err != nil:
		return nil, err
	case !isReferred(found, ref):
		return nil, nil //nolint:nilnil // likewise
	}
	return found, nil
}

// slim keeps of an object what can decide about a sidecar.
func slim(item any) (any, error) {
	o, ok := item.(*metav1.PartialObjectMetadata)
	if !ok {
		return item, nil
	}
	kept := metav1.ObjectMeta{
		Name: o.Name, Namespace: o.Namespace, UID: o.UID, ResourceVersion: o.ResourceVersion,
		Labels: only(o.Labels, mesh.InjectLabel, mesh.InjectionLabel), Annotations: only(o.Annotations, mesh.InjectAnnotation, mesh.StatusAnnotation),
	}
	if owner := controller(o.OwnerReferences); owner != nil {
		kept.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	return &metav1.PartialObjectMetadata{TypeMeta: o.TypeMeta, ObjectMeta: kept}, nil
}

// only returns those entries that are there; nil if there are none.
func only(all map[string]string, keys ...string) map[string]string {
	var kept map[string]string
	for _, key := range keys {
		if value, there := all[key]; there {
			if kept == nil {
				kept = map[string]string{}
			}
			kept[key] = value
		}
	}
	return kept
}
