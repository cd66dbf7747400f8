package kube

import (
	"maps"
	"slices"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// selectors finds the pods that a service selects, and the services that select a pod, of those with a proxy. It looks only at what
// has a label in common: a pod stands below all of its labels, a service below the one of its selector that the fewest others have
// chosen, and is looked for below the one that the fewest pods have.
type selectors struct {
	pods     index[labelled]
	services index[labelled]
	chosen   map[name]label // by service
	compared int            // selectors with pods, so far
}

// labelled is a label in a namespace.
type labelled struct {
	namespace string
	label     label
}

func newSelectors() selectors {
	return selectors{pods: index[labelled]{}, services: index[labelled]{}, chosen: map[name]label{}}
}

// podChanged notes what a pod has for labels.
func (s *selectors) podChanged(n name, before, after *pod) {
	was, is := labelsOf(before), labelsOf(after)
	if maps.Equal(was, is) {
		return
	}
	for key, value := range was {
		s.pods.remove(labelled{n.namespace, label{key, value}}, n)
	}
	for key, value := range is {
		s.pods.add(labelled{n.namespace, label{key, value}}, n)
	}
}

// labelsOf returns the labels by which a pod can be selected; none without a proxy.
func labelsOf(p *pod) mesh.Labels {
	if p == nil || !p.proxy {
		return nil
	}
	return p.labels
}

// serviceChanged notes what a service selects.
func (s *selectors) serviceChanged(n name, after *service) {
	if l, known := s.chosen[n]; known {
		s.services.remove(labelled{n.namespace, l}, n)
		delete(s.chosen, n)
	}
	if l, selects := rarest(s.services, n.namespace, after); selects {
		s.services.add(labelled{n.namespace, l}, n)
		s.chosen[n] = l
	}
}

// rarest returns the label of a selector that the fewest rows have.
func rarest(i index[labelled], namespace string, of *service) (label, bool) {
	if of == nil || len(of.selector) == 0 || of.external != "" {
		return label{}, false
	}
	return slices.MinFunc(of.selector, func(a, b label) int {
		return len(i[labelled{namespace, a}]) - len(i[labelled{namespace, b}])
	}), true
}

// podsOf returns the pods that a service selects, sorted.
func (s *selectors) podsOf(namespace string, svc *service, pods map[name]*pod) []name {
	l, selects := rarest(s.pods, namespace, svc)
	if !selects {
		return nil
	}
	var all []name
	for _, n := range s.pods[labelled{namespace, l}] {
		if s.compared++; svc.selects(pods[n]) {
			all = append(all, n)
		}
	}
	return all
}

// servicesOf returns the services that select a pod, in no order.
func (s *selectors) servicesOf(namespace string, p *pod, services map[name]*service) []name {
	var all []name
	for key, value := range labelsOf(p) {
		for _, n := range s.services[labelled{namespace, label{key, value}}] {
			if s.compared++; services[n].selects(p) {
				all = append(all, n)
			}
		}
	}
	return all
}

// selects tells whether a service has a pod behind it. One that is not there has none.
func (s *service) selects(p *pod) bool {
	return s != nil && len(s.selector) > 0 && s.external == "" &&
		!slices.ContainsFunc(s.selector, func(l label) bool {
			value, has := p.labels[l.key]
			return !has || value != l.value
		})
}
