package push

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
	"github.com/lateen-mesh/lateen/internal/view"
)

// Stage is a stage of the pipeline whose text can be shown.
type Stage string

// The stages, in their order.
const (
	StageView  Stage = "view"
	StagePlan  Stage = "plan"
	StageEnvoy Stage = "envoy"
)

// Explain returns the text of one stage for a resource, named as in "virtual-host out/reviews:9080", as the proxy
// would get it now.
func (e *Engine) Explain(proxy mesh.ProxyID, resource, stage string) (string, error) {
	snapshot, w, err := e.workload(proxy)
	if err != nil {
		return "", err
	}
	proxy = w.ID()
	kind, name, _ := strings.Cut(resource, " ")
	id := view.ID{Kind: view.Kind(kind), Name: name}
	v, _ := view.Cut(snapshot, e.connectedAs(w).Project(id), id)
	if v == nil {
		return "", fmt.Errorf("proxy %s has no %s", proxy, id)
	}
	return Show(v, Stage(stage))
}

// Show returns the text of a stage for a view.
func Show(v view.View, stage Stage) (string, error) {
	switch stage {
	case StageView:
		return show(v)
	case StagePlan:
		return show(plan.Of(v))
	case StageEnvoy:
		message, err := envoy.Of(plan.Of(v))
		if err != nil {
			return "", err
		}
		return message.Text()
	default:
		return "", fmt.Errorf("unknown stage %q: view, plan or envoy", stage)
	}
}

// connectedAs returns the facts about the proxy of a workload as it has connected last, else as one with a certificate.
func (e *Engine) connectedAs(w *mesh.Workload) view.Caller {
	streams := e.streams(w.ID())
	e.mu.Lock()
	defer e.mu.Unlock()
	return callerOf(w, len(streams) > 0 && streams[0].caller.Plain)
}

func show(v any) (string, error) {
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // it is for people, and names such as <default> stand in it
	err := e.Encode(v)
	return text.String(), err
}

func compareIDs(a, b view.ID) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}
