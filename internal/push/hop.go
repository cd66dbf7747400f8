package push

import (
	"fmt"

	"github.com/lateen-mesh/lateen/internal/explain"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// secure says of each outcome that goes on within the mesh how its way is secured. Where all endpoints are left out, since they
// cannot prove who they are, the proxy answers by itself.
func (e *Engine) secure(s *mesh.Snapshot, w *mesh.Workload, d *Decided) {
	plain := e.isPlain(w)
	for i := range d.Outcomes {
		o := &d.Outcomes[i]
		if o.Destination == nil {
			continue
		}
		h := hopTo(s, *o.Destination)
		if h == nil || len(h.called) == 0 && h.unproven+h.early == 0 {
			continue // nothing is known of endpoints
		}
		if len(h.called) == 0 {
			*o = explain.Nobody(d.Request, *o)
			o.Why = h.nobody(o.Destination)
			continue
		}
		o.Transport, o.Why = h.transport(plain)
	}
}

// isPlain tells whether the proxy of a workload has no identity.
func (e *Engine) isPlain(w *mesh.Workload) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for p := range e.byID[w.ID()] {
		return p.caller.Plain
	}
	return view.CallerOf(w).Plain
}

// hop is the way to the endpoints of a subset.
type hop struct {
	stance   *mesh.Stance
	port     mesh.PortStance
	excluded bool
	own      bool // the service says the policy, else the mesh
	called   []view.Endpoint
	unproven int // endpoints that are left out, since they have no identity
	early    int // those that are, since their identity is not known to all callers yet
}

// hopTo returns the way to a subset, nil where it is no service of the mesh.
func hopTo(s *mesh.Snapshot, to mesh.Subset) *hop {
	svc := s.Service(to.Host)
	if svc == nil {
		return nil
	}
	port, ok := svc.Port(to.Port)
	if !ok {
		return nil
	}
	h := &hop{stance: s.Stance(to.Host), excluded: s.Settings().Excludes(to.Host), own: port.AuthPolicy != ""}
	h.port = h.stance.Port(to.Port)
	v, _ := view.Cut(s, view.Caller{}, view.ID{Kind: view.KindEndpoints, Name: to.String()})
	if known, ok := v.(view.Endpoints); ok {
		h.called = known.Endpoints
	}
	set := s.Endpoints(to.Host)
	if set == nil {
		return h
	}
	for _, e := range set.Endpoints {
		id := s.Realm().IdentityOf(svc.Namespace, e.Account)
		switch {
		case e.Ports[port.Name] == 0 || !to.Labels.Select(e.Labels):
		case id == "" && h.port.Accept == mesh.TLS:
			h.unproven++
		case !h.stance.Admits(id):
			h.early++
		}
	}
	return h
}

// policy names what asks for what.
func (h *hop) policy(to *mesh.Subset) string {
	if h.own {
		return fmt.Sprintf("%s of %s:%d", h.port.Policy, to.Host, to.Port)
	}
	return string(h.port.Policy) + " of the mesh"
}

// nobody says why no endpoint is called.
func (h *hop) nobody(to *mesh.Subset) string {
	if h.unproven > 0 {
		return "no endpoint can prove who it is (authPolicy " + h.policy(to) + ")"
	}
	return "no endpoint has an identity that all callers know yet"
}

// transport says what is spoken, and why where that is not mutual TLS alone.
func (h *hop) transport(plain bool) (mesh.Transport, string) {
	unproven, past := 0, 0
	for _, e := range h.called {
		if !e.Proves {
			unproven++
		}
		if e.Past {
			past++
		}
	}
	left := ""
	if h.unproven > 0 {
		left = fmt.Sprintf("%d of %d endpoints left out, which cannot prove who they are", h.unproven, h.unproven+len(h.called))
	}
	switch {
	case plain && h.port.Accept == mesh.TLS:
		return mesh.Plain, "the caller has no identity, and MUTUAL_TLS turns it away"
	case plain:
		return mesh.Plain, "the caller has no identity"
	case h.port.Speak == mesh.TLS && len(h.stance.Identities) > 0 && unproven == 0:
		return mesh.TLS, left
	case h.port.Policy == mesh.AuthNone && h.port.Speak != mesh.TLS:
		return mesh.Plain, "authPolicy NONE"
	case h.excluded && h.port.Speak != mesh.TLS:
		return mesh.Plain, "mtlsExcludedServices"
	case unproven == len(h.called) && past > 0:
		return mesh.Plain, fmt.Sprintf("at %d of %d endpoints the port is left out of capture", past, len(h.called))
	case unproven == len(h.called):
		return mesh.Plain, "no endpoint has an identity"
	case h.port.Speak == mesh.TLS && past > 0:
		return mesh.Both, fmt.Sprintf("%d of %d endpoints have no identity, or leave the port out of capture", unproven, len(h.called))
	case h.port.Speak == mesh.TLS:
		return mesh.Both, fmt.Sprintf("%d of %d endpoints have no identity", unproven, len(h.called))
	default:
		return mesh.Plain, "until all proxies have taken a change of its policy"
	}
}
