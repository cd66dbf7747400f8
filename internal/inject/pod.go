package inject

import (
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/edit"
	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// pod is what of a pod, or of a pod template, decides about its sidecar.
type pod struct {
	path        []any // that leads to it in the object
	node        *yaml.Node
	annotations map[string]string
	own         map[string]string // annotations of the object around it
	spec        *yaml.Node
	init, apps  []container
	volumes     []string
}

// container is what of a container counts.
type container struct {
	name  string
	path  []any
	node  *yaml.Node
	user  string // "": the pod's
	ports []string
}

// pod reads the object's pod template. It returns nil when that has no pod spec, which is told.
func (w *workload) pod() *pod {
	p := &pod{node: w.object}
	for _, key := range w.kind.template {
		p.path = append(p.path, key)
		next := edit.Field(p.node, key)
		if !w.want(next, yaml.MappingNode, p.path...) {
			w.missing("a pod template", p.path...)
			return nil
		}
		p.node = next
	}
	meta := edit.Field(p.node, "metadata")
	w.want(meta, yaml.MappingNode, p.at("metadata")...)
	p.annotations, p.own = w.annotations(meta, p.at("metadata")), w.ownAnnotations()
	p.spec = edit.Field(p.node, "spec")
	if !w.want(p.spec, yaml.MappingNode, p.at("spec")...) {
		w.missing("a pod spec", p.at("spec")...)
		return nil
	}
	p.init = w.containers(p, "initContainers")
	p.apps = w.containers(p, "containers")
	if len(p.apps) == 0 {
		w.missing("a container", p.at("spec", "containers")...)
	}
	if volumes := edit.Field(p.spec, "volumes"); w.want(volumes, yaml.SequenceNode, p.at("spec", "volumes")...) {
		for _, v := range volumes.Content {
			p.volumes = append(p.volumes, Text(edit.Field(v, "name")))
		}
	}
	return p
}

// at returns the path of a field of the pod in its object.
func (p *pod) at(path ...any) []any { return slices.Concat(p.path, path) }

// missing reports what has to be there, unless something stands in its place that was told already.
func (w *workload) missing(what string, path ...any) {
	if !mesh.HasErrors(w.problems) {
		w.wrong(mesh.Problem{Code: config.CodeMissingField, Message: what + " is missing"}, path...)
	}
}

// annotations reads those of some metadata.
func (w *workload) annotations(meta *yaml.Node, path []any) map[string]string {
	all := map[string]string{}
	n := edit.Field(meta, "annotations")
	if !w.want(n, yaml.MappingNode, append(slices.Clone(path), "annotations")...) {
		return all
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		all[n.Content[i].Value] = Text(n.Content[i+1])
	}
	return all
}

// containers reads a list of containers.
func (w *workload) containers(p *pod, key string) []container {
	list := edit.Field(p.spec, key)
	if !w.want(list, yaml.SequenceNode, p.at("spec", key)...) {
		return nil
	}
	var all []container
	names := map[string]bool{}
	for i, n := range list.Content {
		c := container{node: n, path: p.at("spec", key, i), name: Text(edit.Field(n, "name"))}
		switch {
		case n.Kind != yaml.MappingNode:
			w.wrong(mesh.Problem{Code: config.CodeWrongType, Message: "want a mapping"}, c.path...)
			continue
		case c.name == "":
			w.missing("the container's name", append(slices.Clone(c.path), "name")...)
		case names[c.name]:
			w.wrong(mesh.Problem{Code: config.CodeInvalidName, Message: "another container has this name"}, append(slices.Clone(c.path), "name")...)
		}
		names[c.name] = true
		c.user = Text(find(n, "securityContext", "runAsUser"))
		if ports := edit.Field(n, "ports"); ports != nil && ports.Kind == yaml.SequenceNode {
			for _, port := range ports.Content {
				c.ports = append(c.ports, Text(edit.Field(port, "containerPort")))
			}
		}
		all = append(all, c)
	}
	return all
}

// named returns the container of a name, or nil.
func (p *pod) named(name string) *container {
	for _, list := range [][]container{p.init, p.apps} {
		for i := range list {
			if list[i].name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// decide says whether the pod gets a sidecar.
func (w *workload) decide(p *pod) policy.Decision {
	one := policy.Pod{
		Object: w.ref, Annotations: p.annotations, Labels: labels(edit.Field(p.node, "metadata")), Owner: maps.Clone(w.rules.Owner),
		NamespaceLabels: w.rules.NamespaceLabels,
		HostNetwork:     policy.IsTrue(Text(edit.Field(p.spec, "hostNetwork"))),
		Windows:         Text(find(p.spec, "os", "name")) == "windows",
	}
	if one.Owner == nil {
		one.Owner = map[string]string{}
	}
	maps.Copy(one.Owner, p.own)
	for _, c := range slices.Concat(p.init, p.apps) {
		one.Containers = append(one.Containers, c.name)
	}
	return policy.Decide(w.rules.Config, one)
}

// labels reads those of some metadata. What is no text is left for Kubernetes to refuse.
func labels(meta *yaml.Node) map[string]string {
	all := map[string]string{}
	n := edit.Field(meta, "labels")
	if n == nil || n.Kind != yaml.MappingNode {
		return all
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		all[n.Content[i].Value] = Text(n.Content[i+1])
	}
	return all
}

// ownAnnotations returns those of the object itself and of what stands between it and its pod template.
func (w *workload) ownAnnotations() map[string]string {
	all := map[string]string{}
	n, path := w.object, []any{}
	for i := 0; i <= len(w.kind.template)-1; i++ {
		if i == 0 || w.kind.template[i-1] == "jobTemplate" {
			maps.Copy(all, w.annotations(edit.Field(n, "metadata"), append(slices.Clone(path), "metadata")))
		}
		n, path = edit.Field(n, w.kind.template[i]), append(path, w.kind.template[i])
	}
	return all
}
