package push

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// NotOne is the error that a name does not mean one proxy.
type NotOne struct {
	Name  string
	Means []mesh.ProxyID // the several that it means; none: it means no proxy
	Known []mesh.ProxyID // those that there are, where it means none
}

func (e *NotOne) Error() string {
	if len(e.Means) == 0 {
		return "no proxy " + e.Name
	}
	return fmt.Sprintf("%s means %d proxies", e.Name, len(e.Means))
}

// Resolve finds the one proxy that a name means: "NAME.NAMESPACE" or "NAME" of an instance, "pod/" before it or not,
// "deploy/WORKLOAD" or "svc/SERVICE", with or without a namespace. Where a name means none or several, the error is a
// [*NotOne].
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
	refused := &NotOne{Name: string(name)}
	for _, k := range snapshot.Keys(mesh.KindWorkload) {
		id := mesh.ProxyID(k.Name)
		if refused.Known = append(refused.Known, id); means(snapshot.Workload(id), rest) {
			refused.Means = append(refused.Means, id)
		}
	}
	switch len(refused.Means) {
	case 0:
		return nil, nil, refused
	case 1:
		return snapshot, snapshot.Workload(refused.Means[0]), nil
	default:
		refused.Known = nil
		return nil, nil, refused
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
