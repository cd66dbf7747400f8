package kubewrite

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// IngressManager is the field manager of what is written into the status of Ingress objects.
const IngressManager = "lateen-ingress"

// classAnnotation names the class of an Ingress, and goes before spec.ingressClassName.
const classAnnotation = "kubernetes.io/ingress.class"

// ingressStatuses keeps the addresses of the ingress in the status of the Ingress objects that are for it.
type ingressStatuses struct {
	c         Config
	leading   func() bool
	ingresses cache.Store
	services  cache.Store // of lateen-system
	control   []cache.Controller
	wake      chan struct{}

	taken map[string]taken // by object
	fail  bool             // told once
}

// taken is what was written over what somebody else had written.
type taken struct {
	text string
	lost string // version of the object in which somebody else has it again; "": nobody
}

func newIngressStatuses(c Config, leading func() bool) *ingressStatuses {
	s := &ingressStatuses{c: c, leading: leading, wake: make(chan struct{}, 1), taken: map[string]taken{}}
	stir := func(any) { s.stir() }
	handler := cache.ResourceEventHandlerFuncs{AddFunc: stir, UpdateFunc: func(_, _ any) { s.stir() }, DeleteFunc: stir}
	var control cache.Controller
	s.ingresses, control = cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(c.Client.Networking(), "ingresses", "", fields.Everything()),
		ObjectType:    &networkingv1.Ingress{}, Handler: handler, Transform: slimIngress,
	})
	s.control = append(s.control, control)
	s.services, control = cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(c.Client.Core(), "services", mesh.SystemNamespace, fields.Everything()),
		ObjectType:    &corev1.Service{}, Handler: handler, Transform: slim,
	})
	s.control = append(s.control, control)
	return s
}

// slimIngress drops what nobody reads: of an Ingress count its class, its status, and who has written that.
func slimIngress(object any) (any, error) {
	if o, ok := object.(*networkingv1.Ingress); ok {
		o.Spec = networkingv1.IngressSpec{IngressClassName: o.Spec.IngressClassName}
		o.ManagedFields = slices.DeleteFunc(o.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Manager != IngressManager })
		for i := range o.ManagedFields {
			o.ManagedFields[i].FieldsV1 = nil
		}
	}
	return object, nil
}

func (s *ingressStatuses) stir() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *ingressStatuses) run(ctx context.Context) error {
	var watching sync.WaitGroup
	defer watching.Wait()
	synced := []cache.InformerSynced{}
	for _, c := range s.control {
		watching.Go(func() { c.RunWithContext(ctx) })
		synced = append(synced, c.HasSynced)
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil
	}
	var beating sync.WaitGroup
	defer beating.Wait()
	beating.Go(func() { beats(ctx, s.c.Beat, func(context.Context) { s.stir() }) }) // settings may have changed
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
		s.write(ctx)
	}
}

// write makes the status of all objects what it is to be, as far as this replica leads.
func (s *ingressStatuses) write(ctx context.Context) {
	settings, known := s.c.Ingress()
	if !known {
		return
	}
	addresses := s.addresses(settings)
	var failure error
	for _, object := range s.ingresses.List() {
		o, ok := object.(*networkingv1.Ingress)
		if !ok || o.DeletionTimestamp != nil {
			continue
		}
		want := addresses
		if !settings.Takes(classOf(o)) {
			want = nil
		}
		if ctx.Err() != nil || !s.leading() {
			return
		}
		failure = cmp.Or(s.keep(ctx, o, want), failure)
	}
	maps.DeleteFunc(s.taken, func(name string, _ taken) bool {
		_, there, err := s.ingresses.GetByKey(name)
		return err == nil && !there
	})
	if failed := failure != nil && ctx.Err() == nil; failed != s.fail {
		s.fail = failed
		if failed {
			s.c.Log.Warn("the addresses of the ingress cannot be written into Ingress objects", "err", failure)
		} else {
			s.c.Log.Info("the addresses of the ingress can be written again")
		}
	}
}

// classOf returns how an Ingress says whose it is.
func classOf(o *networkingv1.Ingress) mesh.IngressClass {
	if class := o.Annotations[classAnnotation]; class != "" {
		return mesh.IngressClass{Name: class, Annotated: true}
	}
	if o.Spec.IngressClassName == nil {
		return mesh.IngressClass{}
	}
	return mesh.IngressClass{Name: *o.Spec.IngressClassName}
}

// addresses returns those of the load balancer in front of the ingress; none: there is none, or it has none yet.
func (s *ingressStatuses) addresses(settings mesh.IngressSettings) []networkingv1.IngressLoadBalancerIngress {
	object, there, err := s.services.GetByKey(mesh.SystemNamespace + "/" + cmp.Or(settings.Service, mesh.IngressName))
	service, ok := object.(*corev1.Service)
	if err != nil || !there || !ok {
		return nil
	}
	var all []networkingv1.IngressLoadBalancerIngress
	for _, a := range service.Status.LoadBalancer.Ingress {
		all = append(all, networkingv1.IngressLoadBalancerIngress{IP: a.IP, Hostname: a.Hostname})
	}
	return all
}

// keep makes the status of an object what it is to be. Where there is nothing to say, what this manager has written is taken away, and
// nothing else. What somebody else has written is written over once; who writes it again after that has it.
func (s *ingressStatuses) keep(ctx context.Context, o *networkingv1.Ingress, want []networkingv1.IngressLoadBalancerIngress) error {
	same := slices.EqualFunc(o.Status.LoadBalancer.Ingress, want, func(a, b networkingv1.IngressLoadBalancerIngress) bool {
		return a.IP == b.IP && a.Hostname == b.Hostname
	})
	if len(want) == 0 && len(o.ManagedFields) == 0 || len(want) > 0 && same {
		return nil
	}
	name, text := o.Namespace+"/"+o.Name, textOf(want)
	if s.taken[name] == (taken{text, o.ResourceVersion}) {
		return nil
	}
	err := s.apply(ctx, o, want, false)
	if !apierrors.IsConflict(err) {
		return ignoreGone(err)
	}
	if s.taken[name].text == text {
		s.taken[name] = taken{text, o.ResourceVersion}
		return nil
	}
	s.taken[name] = taken{text: text}
	s.c.Log.Info("the status of an Ingress was somebody else's: it is written over once", "object", name, "addresses", text)
	return ignoreGone(s.apply(ctx, o, want, true))
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func textOf(all []networkingv1.IngressLoadBalancerIngress) string {
	var words []string
	for _, a := range all {
		words = append(words, cmp.Or(a.IP, a.Hostname))
	}
	return strings.Join(words, " ")
}

func (s *ingressStatuses) apply(ctx context.Context, o *networkingv1.Ingress, want []networkingv1.IngressLoadBalancerIngress, force bool) error {
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	next := map[string]any{
		"apiVersion": networkingv1.SchemeGroupVersion.String(), "kind": "Ingress",
		"metadata": map[string]any{"name": o.Name, "namespace": o.Namespace, "uid": o.UID},
	}
	if len(want) > 0 {
		next["status"] = networkingv1.IngressStatus{LoadBalancer: networkingv1.IngressLoadBalancerStatus{Ingress: want}}
	}
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	_, err = s.c.Client.Ingresses(o.Namespace).Patch(ctx, o.Name, types.ApplyPatchType, text, metav1.PatchOptions{FieldManager: IngressManager, Force: &force}, "status")
	return err
}
