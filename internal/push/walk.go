package push

import (
	"maps"
	"slices"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// habits are what a proxy does by itself, by what it is and how it has connected.
type habits struct {
	// walks tells that it asks by name for listeners and clusters too, in an order that breaks nothing, from a listener to
	// its routes, their clusters and their endpoints. It is sent what it asks for at once: the order is its own affair.
	walks bool
	finds bool       // looks up the endpoints of clusters that say so
	needs []xds.Type // what it asks for before anybody can tell whether it has the newest state
	// dials tells that it asks for clusters too, beside those that it is sent: for the addresses that its workload dials.
	dials bool
}

// habitsOf returns the habits of a proxy whose stream is for one type, or for all ("").
func habitsOf(w *mesh.Workload, only xds.Type) habits {
	t := w.Type
	switch {
	case t == mesh.Proxyless:
		return habits{walks: true}
	case only != "": // what this stream's proxy is told on others, nobody knows here
		return habits{walks: true, finds: true, needs: []xds.Type{only}}
	case t == mesh.Sidecar && w.Capture:
		return habits{finds: true, dials: true, needs: []xds.Type{xds.ClusterType, xds.ListenerType, xds.ScopeType}}
	case t == mesh.Sidecar:
		return habits{finds: true, needs: []xds.Type{xds.ClusterType, xds.ListenerType, xds.RouteType, xds.VirtualHostType}}
	default:
		return habits{finds: true, needs: []xds.Type{xds.ClusterType, xds.ListenerType, xds.RouteType}}
	}
}

// mostHeld bounds the resources of one kind that a proxy may ask for by name, or bring: several subsets for each of the
// hosts that it may call.
func mostHeld(kind view.Kind) int {
	if kind == view.KindCluster || kind == view.KindEndpoints {
		return 4 * maxHosts
	}
	return maxHosts
}

// walk takes the subscriptions to listeners or clusters of a proxy that walks. Held is what it has of an earlier stream.
func (p *Proxy) walk(kind view.Kind, e xds.Event, held map[string]string) {
	for _, name := range e.Subscribed {
		if name == xds.Everything {
			p.list(kind, held)
			continue
		}
		id := view.ID{Kind: kind, Name: name}
		p.asked(id, held[name])
		if s, ok := p.slots[id]; ok {
			s.named = true
		}
	}
	for _, name := range e.Unsubscribed {
		if name == xds.Everything {
			p.unlist(kind)
		} else if s, ok := p.slots[view.ID{Kind: kind, Name: name}]; ok {
			s.named = false
			p.leave(s.id)
		}
	}
}

// list gives the proxy everything of a kind that there is for it, from now on. Held is what it has of an earlier stream.
func (p *Proxy) list(kind view.Kind, held map[string]string) {
	if p.lists[kind] != nil {
		return
	}
	p.lists[kind] = map[view.ID]struct{}{}
	p.greet[kind] = len(held) == 0
	m, all := p.engine.subscribe(p, view.Everything(kind))
	p.relist(all, m, held)
	for _, name := range slices.Sorted(maps.Keys(held)) {
		if _, ok := p.slots[view.ID{Kind: kind, Name: name}]; !ok {
			p.gone[kind] = append(p.gone[kind], name)
		}
	}
}

// relist takes a list as it is now: the proxy's own resources, and those that m lists.
func (p *Proxy) relist(list view.ID, m *made, held map[string]string) {
	before, now := p.lists[list.Kind], map[view.ID]struct{}{}
	for id := range p.own {
		if id.Kind == list.Kind {
			now[id] = struct{}{}
		}
	}
	if m != nil {
		for _, id := range m.lists {
			now[id] = struct{}{}
		}
	}
	p.lists[list.Kind] = now
	for id := range now {
		p.hold(id, held[id.Name])
	}
	for id := range before {
		p.leave(id)
	}
}

// unlist ends list.
func (p *Proxy) unlist(kind view.Kind) {
	before, ok := p.lists[kind]
	if !ok {
		return
	}
	delete(p.lists, kind)
	p.engine.unsubscribe(p, view.Everything(kind), false)
	for id := range before {
		p.leave(id)
	}
}

// leave ends the subscription to a resource that neither its name nor a list keeps.
func (p *Proxy) leave(id view.ID) {
	s, ok := p.slots[id]
	if _, listed := p.lists[id.Kind][id]; !ok || listed || s.named {
		return
	}
	if _, everything := p.lists[id.Kind]; everything && s.have != "" {
		p.gone[id.Kind] = append(p.gone[id.Kind], id.Name) // else it knows what it asked for
	}
	p.dropped(id)
}

// withinReach returns a resource as the proxy can use it: a cluster whose endpoints it cannot look up has none.
func (p *Proxy) withinReach(id view.ID, m *made) *made {
	if m == nil || !m.finds || p.finds {
		return m
	}
	subset, err := mesh.ParseSubset(id.Name)
	if err == nil {
		m, err = makeResource(plan.Unreachable(subset))
	}
	if err != nil {
		p.engine.config.Log.Error("make resource", "resource", id.String(), "err", err)
		return nil
	}
	return m
}
