package push

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/plan"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// made is a resource with what must be ready before it: made once for each distinct view, shared by everyone.
type made struct {
	key      madeKey
	uses     int              // entries that hold it
	resource xds.Resource     // without its bytes where they were let go; the lock guards those of a listener
	size     int              // of its bytes, also of those that were let go
	needs    []view.ID        // clusters
	finds    bool             // a cluster that finds its endpoints without Lateen
	view     view.View        // that it was made from, to tell whose it is
	call     *plan.CallRoutes // routes of a client without a proxy
	lists    []view.ID        // no resource but a list of them

	fresh       bool          // it is not counted yet
	marshalling time.Duration // what that took, until it is counted
}

// madeKey names a view by its content.
type madeKey string

// make returns the resource for a view, with one more use; nil for no view. The lock is held.
func (e *Engine) make(kind view.Kind, v view.View) (*made, error) {
	if v == nil {
		return nil, nil
	}
	key := madeKey(view.Hash(v))
	if m, ok := e.made[key]; ok {
		m.uses++
		return m, nil
	}
	e.counters.Makes.Add(string(kind), 1)
	m, err := e.makeOf(v)
	if err != nil {
		return nil, err
	}
	m.key, m.uses, m.view, m.fresh = key, 1, v, true
	e.made[key] = m
	return m, nil
}

// makeOf makes the resource for a view.
func (e *Engine) makeOf(v view.View) (*made, error) {
	m, err := makeResource(plan.Of(v))
	if err == nil && e.config.Alter != nil {
		e.config.Alter(&m.resource)
		m.resource.Version, m.size = versionOf(m.resource.Body), len(m.resource.Body)
	}
	return m, err
}

// letsGo tells whether the engine lets go of a resource that the proxy has confirmed. One that a thousand others may have is not made again
// for each of them.
func (p *Proxy) letsGo(id view.ID) bool {
	return id.Kind == view.KindListener && view.GroupOf(p.caller, id).Proxy != ""
}

// sendable returns a resource with its bytes.
func (p *Proxy) sendable(id view.ID, m *made) (*xds.Resource, error) {
	if !p.letsGo(id) {
		return &m.resource, nil
	}
	return p.engine.whole(m)
}

// letGo lets go of the bytes of a listener that a proxy has confirmed, unless other proxies may be sent them. Listeners are most of
// what each proxy has for itself, and are hardly ever sent again.
func (e *Engine) letGo(m *made) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m != nil && m.uses <= 1 {
		m.resource.Body = nil
	}
}

// whole returns a resource with its bytes. Those that were let go are made again, of the same view and so the same.
func (e *Engine) whole(m *made) (*xds.Resource, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := m.resource
	if r.Body == nil && m.size > 0 {
		again, err := e.makeOf(m.view)
		if err != nil {
			return nil, err
		}
		if r.Body = again.resource.Body; m.uses > 1 {
			m.resource.Body = r.Body // others will want them
		}
	}
	return &r, nil
}

// release takes one use back. The lock is held.
func (e *Engine) release(m *made) {
	if m == nil {
		return
	}
	if m.uses--; m.uses == 0 {
		delete(e.made, m.key)
	}
}

func makeResource(p plan.Plan) (*made, error) {
	if list, ok := p.(plan.Listing); ok {
		return &made{lists: list.IDs, resource: xds.Resource{Version: view.Hash(list)}}, nil
	}
	message, err := envoy.Of(p)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	body, err := message.Bytes()
	if err != nil {
		return nil, fmt.Errorf("marshal %s: %w", message.Name, err)
	}
	m := &made{marshalling: time.Since(began), size: len(body), resource: xds.Resource{
		Type: xds.Type(message.TypeURL), Name: message.Name, Version: versionOf(body), Body: body,
	}}
	if c, ok := p.(plan.Cluster); ok {
		m.finds = c.Find != plan.FindAsk
	}
	if c, ok := p.(plan.CallRoutes); ok {
		m.call = &c
	}
	for _, subset := range p.Needs() {
		m.needs = append(m.needs, view.ClusterOf(subset))
	}
	return m, nil
}

// sameBytes tells whether two are the same resource, or both none.
func sameBytes(a, b *made) bool {
	return a == b || (a != nil && b != nil && a.resource.Version == b.resource.Version)
}

// versionOf returns the version of a resource: the same bytes have the same one, whoever made them.
func versionOf(body []byte) string {
	sum := sha256.Sum256(body)
	return fmt.Sprintf("%x", sum[:8])
}

// leadsNowhere tells whether a virtual host is that of a name which no service and no rule for the outside has.
func (m *made) leadsNowhere() bool {
	if m == nil {
		return false
	}
	v, ok := m.view.(view.VirtualHost)
	return ok && v.Host == "" && v.Name != view.InitHost().Name
}

// leading tells whether resources of the kind lead to clusters.
func leading(kind view.Kind) bool {
	return kind == view.KindVirtualHost || kind == view.KindRoutes || kind == view.KindFilter
}

// kindOf and typeOf say the same in the words of the two sides.
var (
	kindOf = map[xds.Type]view.Kind{
		xds.ListenerType: view.KindListener, xds.RouteType: view.KindRoutes, xds.VirtualHostType: view.KindVirtualHost,
		xds.ClusterType: view.KindCluster, xds.EndpointsType: view.KindEndpoints,
		xds.SecretType: view.KindSecret, xds.FilterType: view.KindFilter, xds.ScopeType: view.KindScope,
	}
	typeOf = map[view.Kind]xds.Type{
		view.KindListener: xds.ListenerType, view.KindRoutes: xds.RouteType, view.KindVirtualHost: xds.VirtualHostType,
		view.KindCluster: xds.ClusterType, view.KindEndpoints: xds.EndpointsType,
		view.KindSecret: xds.SecretType, view.KindFilter: xds.FilterType, view.KindScope: xds.ScopeType,
	}
)
