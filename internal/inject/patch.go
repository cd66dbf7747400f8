package inject

import (
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/edit"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Patch returns the JSON patch (RFC 6902) by which a pod, given as JSON, gets its sidecar; nil if it gets none. It decides as
// [Inject] does. The namespace is that of a pod that does not name its own. If there are errors among the problems, the pod cannot
// be injected.
func Patch(pod []byte, namespace string, o Options) (patch []byte, w Workload, problems []mesh.Problem) {
	return PatchBy(byHand(), pod, namespace, o)
}

// PatchBy is [Patch] by the rules of a mesh. What their document says of the sidecar comes before the options.
func PatchBy(r Rules, pod []byte, namespace string, o Options) (patch []byte, w Workload, problems []mesh.Problem) {
	broken := func(code, message string) ([]byte, Workload, []mesh.Problem) {
		return nil, Workload{}, []mesh.Problem{{Code: code, Severity: mesh.Error, Message: message}}
	}
	if len(pod) > maxDocument {
		return broken(config.CodeTooLarge, "the pod is too large")
	}
	d, err := edit.Parse(edit.Text{Text: string(pod), Line: 1, JSON: true})
	if err != nil {
		return broken(config.CodeSyntax, err.Error())
	}
	if d == nil {
		return broken(config.CodeSyntax, "there is no pod")
	}
	one := &workload{object: d.Root, kind: kinds["Pod"], ref: mesh.Ref{Kind: "Pod"}, version: "v1", rules: r}
	one.ref.Name, one.ref.Namespace = nameOf(d.Root)
	if one.ref.Namespace == "" {
		one.ref.Namespace = namespace
	}
	var c edit.Change
	why := one.inject(newRecipe(o.With(r.Config.Params)), &c)
	w = Workload{Ref: one.ref, Position: one.at(), Why: why, Decision: one.decision}
	if why != "" || mesh.HasErrors(one.problems) {
		return nil, w, one.problems
	}
	if patch, err = d.Patch(&c); err != nil {
		return broken(config.CodeInvalidValue, err.Error())
	}
	w.Changed = true
	return patch, w, one.problems
}
