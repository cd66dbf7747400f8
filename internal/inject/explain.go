package inject

import (
	"fmt"
	"strings"

	"github.com/lateen-mesh/lateen/internal/edit"
	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Explanation says why a pod that runs has a sidecar, or has none.
type Explanation struct {
	Has      string          // its sidecar, as its annotation tells it; "": it has none
	Decision policy.Decision // of the pod as it would be without it
}

// Explain explains a pod, given as JSON. If there are errors among the problems, they are why it has none.
func Explain(r Rules, pod []byte, namespace string) (Explanation, []mesh.Problem) {
	var e Explanation
	d, err := edit.Parse(edit.Text{Text: string(pod), Line: 1, JSON: true})
	if err == nil && d != nil {
		before := &workload{object: d.Root, kind: kinds["Pod"], ref: mesh.Ref{Kind: "Pod"}}
		if p := before.pod(); p != nil && p.named(mesh.ProxyContainer) != nil {
			e.Has = p.annotations[mesh.StatusAnnotation]
			if e.Has == "" {
				e.Has = "of an unknown version"
			}
		}
	}
	if taken := Uninject("", pod); !mesh.HasErrors(taken.Problems) {
		pod = taken.Text
	}
	_, w, problems := PatchBy(r, pod, namespace, Options{Image: "lateen-proxy", Version: "0"})
	e.Decision = w.Decision
	return e, problems
}

// String returns the explanation for people: what there is and why, what to do if that is not what is said now, and what was said in vain.
func (e Explanation) String() string {
	d := e.Decision
	first := d.Object.String() + " has no sidecar"
	if e.Has != "" {
		first = fmt.Sprintf("%s has a sidecar, %s", d.Object, e.Has)
	}
	why := d.Why
	if at := d.At.String(); at != "" {
		why += " (" + at + ")"
	}
	var lines []string
	switch {
	case e.Has == "" && d.Sidecar:
		lines = []string{first + ", and would get one now: " + why, "  hint: it was made before that was said, or while nobody asked: `kubectl rollout restart` what made it"}
	case e.Has != "" && !d.Sidecar:
		lines = []string{first + ", and would get none now: " + why, "  hint: it was injected by hand, or before that was said; in the first case the file has it"}
	default:
		lines = []string{first + ": " + why}
	}
	for _, o := range d.Overruled {
		lines = append(lines, "  does not count: "+o)
	}
	return strings.Join(lines, "\n")
}
