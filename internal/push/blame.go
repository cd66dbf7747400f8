package push

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// CodeRefusedByProxy is the code of a problem: a proxy did not take what an object means.
const CodeRefusedByProxy = "refused-by-proxy"

// owners returns the objects whose change the proxy refused: those that differ between what it has confirmed and what it is
// to have. Of several slots the first one counts that some object has a say in; services have none. Where nothing has, it is the workload.
func (p *Proxy) owners(slots ...*slot) []view.Owner {
	var found []view.Owner
	wanted := false
	for _, s := range slots {
		if s.want == nil {
			continue
		}
		wanted = true
		if before := s.few().owners; before != nil && s.isRefused() {
			return before
		}
		var before view.View
		if good := s.good(); good != nil {
			before = good.view
		}
		found = view.Changed(s.want.view, before)
		if slices.ContainsFunc(found, func(o view.Owner) bool { return o.Origin != mesh.Position{} }) {
			break
		}
	}
	if wanted && len(found) == 0 {
		name, namespace := p.id.Split()
		found = append(found, view.Owner{Object: mesh.Ref{Kind: "Workload", Namespace: namespace, Name: name}})
	}
	return found
}

// blame is one thing that proxies say of one object.
type blame struct {
	object mesh.Ref
	origin mesh.Position
	kind   view.Kind
	reason string
}

// Problems tells what connected proxies refuse, as problems of the objects that it came from: in the proxies' own words,
// and how many say so.
func (e *Engine) Problems() []mesh.Problem {
	e.mu.Lock()
	defer e.mu.Unlock()
	blames := map[blame]map[mesh.ProxyID]view.ID{}
	for p := range e.proxies {
		for _, r := range p.notTaken {
			for _, o := range r.owners {
				o = e.whereNow(p, r.id, o)
				b := blame{o.Object, o.Origin, r.id.Kind, r.reason}
				if blames[b] == nil {
					blames[b] = map[mesh.ProxyID]view.ID{}
				}
				blames[b][p.id] = r.id
			}
		}
	}
	problems := make([]mesh.Problem, 0, len(blames))
	for b, by := range blames {
		problems = append(problems, b.problem(by))
	}
	mesh.SortProblems(problems)
	return problems
}

// whereNow returns an owner at the place where it stands now: when an object only moves in its file nobody is sent
// anything. The lock is held.
func (e *Engine) whereNow(p *Proxy, id view.ID, o view.Owner) view.Owner {
	g := e.groups[view.GroupOf(p.caller, id)]
	if g == nil {
		return o
	}
	if en := g.entries[g.classes.Of(p.caller)]; en != nil && en.made != nil {
		for _, now := range view.Owners(en.made.view) {
			if now.Object == o.Object {
				return now
			}
		}
	}
	return o
}

// problem puts into words what the proxies refuse.
func (b blame) problem(by map[mesh.ProxyID]view.ID) mesh.Problem {
	first := mesh.ProxyID("")
	for id := range by {
		if first == "" || id < first {
			first = id
		}
	}
	who, hint := string(first)+" refuses", "it goes on with what it had before"
	if len(by) > 1 {
		who = fmt.Sprintf("%d proxies, %s among them, refuse", len(by), first)
		hint = "they go on with what they had before"
	}
	return mesh.Problem{
		Object: b.object, Position: b.origin, Code: CodeRefusedByProxy, Severity: mesh.Error,
		Message: fmt.Sprintf("%s the %s: %s", who, by[first], quote(b.reason)),
		Hint:    hint + "; mend or delete the object",
	}
}

// maxQuote bounds how much of a proxy's words is repeated, in bytes.
const maxQuote = 500

// quote makes one line of a proxy's words.
func quote(reason string) string {
	line := strings.Join(strings.FieldsFunc(reason, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if len(line) > maxQuote {
		line = strings.ToValidUTF8(line[:maxQuote], "") + "…"
	}
	return cmp.Or(line, "it does not say why")
}
