package inject

import (
	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/edit"
	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// workload is an object that is looked at, with what is wrong with it.
type workload struct {
	object   *yaml.Node
	kind     kind
	version  string
	ref      mesh.Ref
	file     string
	rules    Rules
	decision policy.Decision
	problems []mesh.Problem
}

// Rules say which pods get a sidecar, with what is known around a pod.
type Rules struct {
	Config          policy.Config
	NamespaceLabels map[string]string
	Owner           map[string]string // annotations of what made the pod
}

// byHand are the rules for what people hand in: it gets a sidecar unless it says otherwise.
func byHand() Rules { return Rules{Config: policy.Default()} }

// at returns where the object begins.
func (w *workload) at() mesh.Position {
	return mesh.Position{File: w.file, Line: w.object.Line, Column: w.object.Column}
}

// warn reports a problem that keeps nothing from being injected, at a path of keys and numbers.
func (w *workload) warn(p mesh.Problem, path ...any) {
	p.Severity = mesh.Warning
	w.tell(p, path)
}

// wrong reports a problem that does.
func (w *workload) wrong(p mesh.Problem, path ...any) {
	p.Severity = mesh.Error
	w.tell(p, path)
}

// mostProblems bounds how many problems of one object are told.
const mostProblems = 1000

// tell reports a problem: at the value of a field if it is a scalar, at its key otherwise, and at the nearest field above if
// it is not there.
func (w *workload) tell(p mesh.Problem, path []any) {
	if len(w.problems) >= mostProblems && (p.Severity != mesh.Error || mesh.HasErrors(w.problems[:1])) {
		return // that there is one is all that counts
	}
	p.Object = w.ref
	place, n := w.object, w.object
	there := true
	for _, step := range path {
		var key, value *yaml.Node
		switch step := step.(type) {
		case string:
			p.Field = config.Key(p.Field, step)
			key, value = entry(n, step)
		case int:
			p.Field = config.Item(p.Field, step)
			if n.Kind == yaml.SequenceNode && step < len(n.Content) {
				key, value = n.Content[step], n.Content[step]
			}
		}
		if there = there && value != nil; !there {
			continue
		}
		place, n = key, value
		if value.Kind == yaml.ScalarNode && !edit.IsNull(value) {
			place = value
		}
	}
	p.Position = mesh.Position{File: w.file, Line: place.Line, Column: place.Column}
	w.problems = append(w.problems, p)
}

func entry(n *yaml.Node, key string) (k, v *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// find returns the node at a path of keys, or nil.
func find(n *yaml.Node, keys ...string) *yaml.Node {
	for _, key := range keys {
		if n = edit.Field(n, key); n == nil {
			return nil
		}
	}
	return n
}

// absent tells whether a field is not there or says nothing.
func absent(n *yaml.Node) bool {
	return n == nil || edit.IsNull(n)
}

// hollow tells whether a field is there and holds nothing.
func hollow(n *yaml.Node) bool {
	return n != nil && (edit.IsNull(n) || n.Kind != yaml.ScalarNode && len(n.Content) == 0)
}

// want reports a field that is there and is no collection of the right kind, and tells whether there is one to look at.
func (w *workload) want(n *yaml.Node, kind yaml.Kind, path ...any) bool {
	if absent(n) {
		return false
	}
	if n.Kind != kind {
		what := "a mapping"
		if kind == yaml.SequenceNode {
			what = "a list"
		}
		w.wrong(mesh.Problem{Code: config.CodeWrongType, Message: "want " + what}, path...)
		return false
	}
	return true
}
