package kube

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/lateen-mesh/lateen/internal/kubeapi"
)

// clients speak with the API server.
type clients struct {
	typed    *kubeapi.Client
	metadata metadata.Interface
	dynamic  dynamic.Interface
}

func newClients(c *rest.Config) (clients, error) {
	c = rest.CopyConfig(c)
	c.QPS = -1                           // feeds hold themselves back, and there may be many namespaces
	c.WarningHandler = rest.NoWarnings{} // what is wrong with our objects is told by us
	var all clients
	var err error
	if all.typed, err = kubeapi.New(c); err != nil {
		return all, fmt.Errorf("client of the API server: %w", err)
	}
	if all.metadata, err = metadata.NewForConfig(c); err != nil {
		return all, fmt.Errorf("client of the API server: %w", err)
	}
	if all.dynamic, err = dynamic.NewForConfig(c); err != nil {
		return all, fmt.Errorf("client of the API server: %w", err)
	}
	return all, nil
}

// listed is what a typed client has of a kind.
type listed[L runtime.Object] interface {
	List(ctx context.Context, o metav1.ListOptions) (L, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

func listerOf[L runtime.Object](c listed[L]) lister {
	return lister{
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := c.List(ctx, o)
			if err != nil {
				return nil, err
			}
			return list, nil
		},
		watch: c.Watch,
	}
}

// kind is one kind of objects that are read.
type kind struct {
	word       string // as the API server calls it: "services"
	object     string // the kind of the objects that it has, "RouteRule"; "" for what says what runs
	namespaced bool
	required   bool // without it nobody knows what runs
	// without says what is missing where the kind is not.
	without string
	lister  func(namespace string) lister
	// put takes an object, remove the name of one that is gone, only the names of all that there are in a namespace, "" for all.
	put    func(runtime.Object)
	remove func(name)
	only   func(namespace string, seen map[name]bool)
}

// classesWord is what the API server calls the classes of Ingress objects.
const classesWord = "ingressclasses"

// coreKinds are those that say what runs.
func (s *Source) coreKinds() []*kind {
	c, m := s.clients, s.model
	all := []*kind{
		rows(s, m.services, kind{word: "services", namespaced: true, required: true, lister: func(namespace string) lister {
			return listerOf(c.typed.Services(namespace))
		}}, slimService),
		rows(s, m.slices, kind{word: "endpointslices", namespaced: true, required: true, lister: func(namespace string) lister {
			return listerOf(c.typed.EndpointSlices(namespace))
		}}, slimSlice),
		rows(s, m.pods, kind{word: "pods", namespaced: true, required: true, lister: func(namespace string) lister {
			return listerOf(c.typed.Pods(namespace))
		}}, slimPod),
		rows(s, m.nodes, kind{word: "nodes", without: "the regions of endpoints are not known", lister: func(string) lister {
			return listerOf(c.metadata.Resource(schema.GroupVersionResource{Version: "v1", Resource: "nodes"}))
		}}, slimNode),
	}
	all = append(all, rows(s, m.classes, kind{word: classesWord, without: "of Ingress objects that name a class only those of lateen are served", lister: func(string) lister {
		return listerOf(c.typed.IngressClasses())
	}}, slimClass))
	if m.part {
		return all
	}
	return append(all,
		rows(s, m.ranges, kind{word: "servicecidrs", without: "the addresses of services are told from others by those that there are", lister: func(string) lister {
			return listerOf(c.typed.ServiceCIDRs())
		}}, slimNetworks),
	)
}

// rows fills in how a kind's objects come into a table.
func rows[O metav1.Object, T any](s *Source, t *table[T], k kind, slim func(O) *T) *kind {
	change := func(f func()) {
		s.mu.Lock()
		f()
		s.mu.Unlock()
		s.otherSecretsIf(&k)
		wake(s.registryAwake)
	}
	k.put = func(o runtime.Object) {
		if object, ok := o.(O); ok {
			row := slim(object)
			change(func() { t.put(nameOf(object), row) })
		}
	}
	k.remove = func(n name) { change(func() { t.put(n, nil) }) }
	k.only = func(namespace string, seen map[name]bool) { change(func() { t.keepOnly(namespace, seen) }) }
	return &k
}

// feeds returns what keeps a kind current: for each namespace that is asked for, or for all.
func (s *Source) feeds(k *kind) []*feed {
	namespaces := []string{metav1.NamespaceAll}
	if k.namespaced && len(s.config.Namespaces) > 0 {
		namespaces = s.config.Namespaces
	}
	var all []*feed
	for _, namespace := range namespaces {
		st := &state{kind: k, namespace: namespace}
		s.states = append(s.states, st)
		all = append(all, &feed{
			lister: k.lister(namespace), put: k.put,
			remove:  func(o metav1.Object) { k.remove(nameOf(o)) },
			only:    func(seen map[name]bool) { k.only(namespace, seen); s.listed(st) },
			answers: func(err error) { s.answered(st, err) },
		})
	}
	return all
}
