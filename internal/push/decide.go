package push

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/lateen-mesh/lateen/internal/explain"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
	"github.com/lateen-mesh/lateen/internal/view"
)

// Decided is what a proxy does with a request, and the resource that says so.
type Decided struct {
	Proxy    mesh.ProxyID
	Resource view.ID
	Request  explain.Request // as the proxy gets it
	explain.Decision
}

// Decide tells what a proxy does with a request by what it would be told now. The request is that of a client that knows
// the proxy: for https it sends a sidecar CONNECT, since the request itself is nothing that a sidecar can read. Where
// the request says no source, that of a sidecar's is its workload. What goes on within the mesh says how it is secured; where
// the policies leave no endpoint, it does not go on.
func (e *Engine) Decide(proxy mesh.ProxyID, r explain.Request) (Decided, error) {
	snapshot, w, err := e.workload(proxy)
	if err != nil {
		return Decided{}, err
	}
	d := Decided{Proxy: w.ID(), Resource: view.ID{Kind: view.KindRoutes, Name: view.DoorRoutes}, Request: r}
	switch w.Type {
	case mesh.Sidecar:
		if w.Capture {
			d.Resource, d.Request, err = captured(snapshot, w, r)
			break
		}
		d.Resource, d.Request, err = toSidecar(snapshot, w, r)
	case mesh.Proxyless:
		d.Resource = callOf(snapshot, w, r)
	default:
		d.Request = throughDoor(w, r)
	}
	if err != nil {
		return Decided{}, err
	}
	v, _ := view.Cut(snapshot, view.CallerOf(w).Project(d.Resource), d.Resource)
	switch p := plan.Of(v).(type) {
	case plan.VirtualHost:
		if d.Decision = explain.Nowhere(d.Request); d.Resource.Nameable() {
			d.Decision = explain.Decide(p.Routes, d.Request)
		}
	case plan.LocalRoutes:
		d.Decision = explain.Decide(p.Routes, d.Request)
	case plan.OutsideRoutes:
		host, _ := view.Called(d.Request.Authority)
		d.Decision = explain.Decide(p.Host(host).Routes, d.Request)
	case plan.CallRoutes:
		d.Decision = explain.Decide(p.Routes, d.Request)
	case plan.Door:
		d.Decision = explain.Door(p, d.Request)
	default:
		d.Decision = explain.Nowhere(d.Request)
	}
	e.secure(snapshot, w, &d)
	return d, nil
}

// throughDoor returns the request as a client sends it to an ingress.
func throughDoor(w *mesh.Workload, r explain.Request) explain.Request {
	address, err := netip.ParseAddr(w.Door)
	if err == nil && address.IsUnspecified() { // it takes requests on every address of its own
		address, err = netip.ParseAddr(w.Address)
	}
	if err == nil && !r.Dialled.IsValid() {
		r.Dialled = address
	}
	return r
}

// callOf returns the routes that a call of a workload without a proxy meets, or the listener of a name that leads nowhere.
func callOf(s *mesh.Snapshot, w *mesh.Workload, r explain.Request) view.ID {
	target := view.TargetOf(r.Authority)
	v, _ := view.Cut(s, view.CallerOf(w).Project(target), target)
	if t, ok := v.(view.Target); ok && t.Host != "" {
		return view.CallRoutesOf(t.Host, t.Port)
	}
	return target
}

// captured returns the request as a captured workload sends it, to the address of the service that its authority names, and the
// routes that it meets there.
func captured(s *mesh.Snapshot, w *mesh.Workload, r explain.Request) (view.ID, explain.Request, error) {
	if r.Scheme == "https" || r.Method == http.MethodConnect {
		return view.ID{}, r, fmt.Errorf("what a captured workload sends to %s over TLS are bytes to its proxy, not requests", r.Authority)
	}
	var scope view.Scope
	scopes := view.ScopesCalled(s, w.Namespace, r.Authority)
	if len(scopes) > 0 {
		v, _ := view.Cut(s, view.Caller{}, scopes[0])
		scope, _ = v.(view.Scope)
	}
	if scope.Name == "" {
		id, outside := view.OutsideCalled(s, w.Namespace, r.Authority)
		switch {
		case id.Name != "":
			host, _ := view.Called(r.Authority)
			address, _ := netip.ParseAddr(string(host))
			return id, dialling(w, r, address), nil
		case outside || len(scopes) == 0:
			return id, r, fmt.Errorf("no service has an address and port for %s: what goes there is not steered by requests, but "+
				"passed on to the place that it names", r.Authority)
		}
		return scopes[0], r, nil
	}
	at, _ := netip.ParseAddrPort(scope.Name)
	return view.ID{Kind: view.KindRoutes, Name: scope.Routes}, dialling(w, r, at.Addr()), nil
}

// dialling returns the request with the addresses that a captured workload's has on the way to one, which may not be known: those that
// the request does not say.
func dialling(w *mesh.Workload, r explain.Request, address netip.Addr) explain.Request {
	if !r.Dialled.IsValid() {
		r.Dialled = address
	}
	if !r.Source.IsValid() {
		r.Source, _ = netip.ParseAddr(mesh.AddressLike(r.Dialled, w.Addresses()...))
	}
	return r
}

// toSidecar returns the request as a workload sends it to its sidecar, and the routes that it meets there.
func toSidecar(s *mesh.Snapshot, w *mesh.Workload, r explain.Request) (view.ID, explain.Request, error) {
	address, _ := netip.ParseAddr(w.Address)
	if !r.Source.IsValid() {
		r.Source = address
	}
	for _, u := range w.Upstreams {
		if at := netip.AddrPortFrom(address, uint16(u.Listen)); r.Authority != at.String() { //nolint:gosec // a port
			continue
		}
		r.Dialled = address
		if svc := s.Service(u.Host); svc != nil {
			if port, ok := svc.Port(u.Port); ok && !port.Protocol.IsHTTP() {
				return view.ID{}, r, fmt.Errorf("what goes to %s are bytes for port %d of %s, not requests", r.Authority, u.Port, u.Host)
			}
		}
		return view.LocalRoutesOf(u), r, nil
	}
	if r.Scheme == "https" && r.Method != http.MethodConnect {
		r.Method, r.Scheme, r.Path = http.MethodConnect, "", ""
		if !strings.Contains(r.Authority[strings.LastIndexByte(r.Authority, ']')+1:], ":") {
			r.Authority += ":443"
		}
	}
	return view.VirtualHostOf(r.Authority), r, nil
}
