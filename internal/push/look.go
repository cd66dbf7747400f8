package push

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
	"github.com/lateen-mesh/lateen/internal/view"
)

// Connected is a connected proxy as people see it.
type Connected struct {
	ID       mesh.ProxyID
	Type     mesh.ProxyType
	Settled  int64 // revision up to which it has confirmed everything; -1: none yet
	Marked   int64 // revision of the last change that concerned it
	Holds    map[view.Kind]int
	Refusals []Refusal
}

// Connected lists the connected proxies, sorted by ID.
func (e *Engine) Connected() []Connected {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []Connected
	for p := range e.proxies {
		c := Connected{
			ID: p.id, Type: p.typ, Settled: p.settled, Marked: p.marked, Holds: p.counts,
		}
		for _, r := range p.notTaken {
			c.Refusals = append(c.Refusals, Refusal{p.id, r.id, r.reason})
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Connected) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

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
	kind, name, _ := strings.Cut(resource, " ")
	id := view.ID{Kind: view.Kind(kind), Name: name}
	v, _ := view.Cut(snapshot, view.CallerOf(w).Project(id), id)
	if v == nil {
		return "", fmt.Errorf("proxy %s has no %s", proxy, id)
	}
	return Show(v, Stage(stage))
}

// workload returns the workload of a proxy, and the snapshot that has it.
func (e *Engine) workload(proxy mesh.ProxyID) (*mesh.Snapshot, *mesh.Workload, error) {
	e.mu.Lock()
	snapshot := e.snapshot
	e.mu.Unlock()
	if snapshot == nil {
		return nil, nil, errors.New("nothing is known yet")
	}
	w := snapshot.Workload(proxy)
	if w == nil {
		return nil, nil, fmt.Errorf("no proxy %s%s", proxy, others(snapshot))
	}
	return snapshot, w, nil
}

// others names the proxies that there are, for who has named one in vain.
func others(s *mesh.Snapshot) string {
	const most = 20
	keys := s.Keys(mesh.KindWorkload)
	var names []string
	for _, k := range keys[:min(len(keys), most)] {
		names = append(names, k.Name)
	}
	if more := len(keys) - most; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	if len(names) == 0 {
		return ""
	}
	return "; there are " + strings.Join(names, ", ")
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
