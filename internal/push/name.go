package push

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Resolve finds the one proxy that a name means: "NAME.NAMESPACE" or "NAME" of an instance, "pod/" before it or not,
// "deploy/WORKLOAD" or "svc/SERVICE", with or without a namespace. Where a name means several, the error lists them.
func (e *Engine) Resolve(name string) (mesh.ProxyID, error) {
	_, w, err := e.workload(mesh.ProxyID(name))
	if err != nil {
		return "", err
	}
	return w.ID(), nil
}

// workload returns the workload of the proxy that a name means, and the snapshot that has it.
func (e *Engine) workload(name mesh.ProxyID) (*mesh.Snapshot, *mesh.Workload, error) {
	e.mu.Lock()
	snapshot := e.snapshot
	e.mu.Unlock()
	if snapshot == nil {
		return nil, nil, errors.New("nothing is known yet")
	}
	if w := snapshot.Workload(name); w != nil {
		return snapshot, w, nil
	}
	kind, rest, ok := strings.Cut(string(name), "/")
	if !ok {
		kind, rest = podName, string(name)
	}
	means, known := spellings[kind]
	if !known {
		return nil, nil, fmt.Errorf("no proxy %s: write NAME, NAME.NAMESPACE, deploy/NAME, svc/NAME or pod/NAME", name)
	}
	var found []*mesh.Workload
	keys := snapshot.Keys(mesh.KindWorkload)
	for _, k := range keys {
		if w := snapshot.Workload(mesh.ProxyID(k.Name)); means(w, rest) {
			found = append(found, w)
		}
	}
	switch len(found) {
	case 0:
		return nil, nil, fmt.Errorf("no proxy %s%s", name, others(snapshot))
	case 1:
		return snapshot, found[0], nil
	default:
		return nil, nil, fmt.Errorf("%s means %d proxies: %s", name, len(found), named(found))
	}
}

const podName = "pod"

// spellings tell, by what stands before the slash, whether a name means a workload.
var spellings = map[string]func(w *mesh.Workload, name string) bool{
	podName: func(w *mesh.Workload, name string) bool { return isNamed(name, w.Name, w.Namespace) },
	"deploy": func(w *mesh.Workload, name string) bool {
		workload, ordinal, ok := cutLast(w.Name, "-")
		if !ok || strings.Trim(ordinal, "0123456789") != "" {
			workload = w.Name // the ingress
		}
		return isNamed(name, workload, w.Namespace)
	},
	"svc": func(w *mesh.Workload, name string) bool {
		return slices.ContainsFunc(w.Serves, func(s mesh.Serving) bool {
			service, rest, _ := strings.Cut(string(s.Host), ".")
			namespace, _, _ := strings.Cut(rest, ".")
			return isNamed(name, service, namespace)
		})
	},
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}

// isNamed tells whether NAME or NAME.NAMESPACE means what is so called.
func isNamed(text, name, namespace string) bool { return text == name || text == name+"."+namespace }

// others names the proxies that there are, for who has named one in vain.
func others(s *mesh.Snapshot) string {
	var all []*mesh.Workload
	for _, k := range s.Keys(mesh.KindWorkload) {
		all = append(all, s.Workload(mesh.ProxyID(k.Name)))
	}
	if len(all) == 0 {
		return ""
	}
	return "; there are " + named(all)
}

// named lists the names of workloads, at most so many.
func named(list []*mesh.Workload) string {
	const most = 20
	var names []string
	for _, w := range list[:min(len(list), most)] {
		names = append(names, string(w.ID()))
	}
	if more := len(list) - most; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}
