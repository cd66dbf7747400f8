package inject

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/edit"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// uninject adds to the change of the object that its pods lose their sidecar, or returns why they do not.
func (w *workload) uninject(c *edit.Change) string {
	w.problems = nil // this is no time to complain
	p := w.pod()
	if p == nil || mesh.HasErrors(w.problems) {
		return ""
	}
	if p.named(mesh.ProxyContainer) == nil {
		return "it has no sidecar"
	}
	at := c
	for _, key := range w.kind.template {
		at = at.Key(key)
	}
	before := strings.Split(p.annotations[emptyBefore], ",")
	spec := at.Key("spec")
	for key, ours := range map[string][]string{
		"initContainers": {mesh.CaptureContainer, mesh.ProxyContainer},
		"containers":     {mesh.CaptureContainer, mesh.ProxyContainer},
		"volumes":        {credentialsVolume, stateVolume},
	} {
		drop(p.spec, spec, key, ours, slices.Contains(before, key))
	}
	added := strings.Split(p.annotations[preStopAdded], ",")
	for i, a := range p.apps {
		if slices.Contains(added, a.name) && !absent(find(a.node, "lifecycle", "preStop", "sleep")) {
			cut(a.node, spec.Key("containers").Item(i), "lifecycle", []string{"preStop"}, slices.Contains(before, "lifecycle."+a.name))
		}
	}
	strip(p.node, at, before, "")
	if len(w.kind.template) > 0 {
		strip(w.object, c, before, "object.")
	}
	return ""
}

// strip takes the sidecar's annotations out of an object or a pod template.
func strip(n *yaml.Node, c *edit.Change, before []string, prefix string) {
	meta := edit.Field(n, "metadata")
	ours := []string{mesh.StatusAnnotation, preStopAdded, emptyBefore}
	annotations := edit.Field(meta, "annotations")
	if annotations == nil || annotations.Kind != yaml.MappingNode {
		return
	}
	if len(meta.Content) == 2 && only(annotations, ours) && !slices.Contains(before, prefix+"annotations") {
		if slices.Contains(before, prefix+"metadata") {
			c.Key("metadata").Remove("annotations")
		} else {
			c.Remove("metadata")
		}
		return
	}
	cut(meta, c.Key("metadata"), "annotations", ours, slices.Contains(before, prefix+"annotations"))
}

// cut takes keys out of the mapping at a key of a node, and the mapping with them if nothing else is in it, unless it is kept.
func cut(n *yaml.Node, c *edit.Change, key string, ours []string, keep bool) {
	m := edit.Field(n, key)
	if only(m, ours) && !keep {
		c.Remove(key)
		return
	}
	for _, k := range ours {
		if edit.Field(m, k) != nil {
			c.Key(key).Remove(k)
		}
	}
}

// only tells whether a mapping has no other keys than these.
func only(m *yaml.Node, keys []string) bool {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if !slices.Contains(keys, m.Content[i].Value) {
			return false
		}
	}
	return true
}

// drop takes items with names out of the list at a key of a node, and the list with them if nothing else is in it, unless it
// is kept.
func drop(n *yaml.Node, c *edit.Change, key string, ours []string, keep bool) {
	list := edit.Field(n, key)
	if list == nil || list.Kind != yaml.SequenceNode {
		return
	}
	var gone []int
	for i, item := range list.Content {
		if slices.Contains(ours, Text(edit.Field(item, "name"))) {
			gone = append(gone, i)
		}
	}
	switch {
	case len(gone) == 0:
	case len(gone) == len(list.Content) && !keep:
		c.Remove(key)
	default:
		for _, i := range gone {
			c.Key(key).Drop(i)
		}
	}
}
