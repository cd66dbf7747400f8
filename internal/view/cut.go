package view

import (
	"maps"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// View is one of the types of this package: [Cluster], [Endpoints], [VirtualHost], [LocalRoutes], [LocalBytes],
// [Target], [CallRoutes], [Listing], [OnDemandRoutes], [Door], [Secret], [InboundCluster], [InnerCluster], one of captured workloads
// ([Scope], [DialledCluster], [DialledEndpoints], [OriginalCluster]) or one of the listeners.
type View interface{ view() }

// OnDemandRoutes is the frame in which a sidecar's virtual hosts stand. It depends on nothing.
type OnDemandRoutes struct {
	Name string `json:"name"`
}

// InboundCluster leads to the application behind one served port.
type InboundCluster struct {
	Name    string       `json:"name"`
	Serving mesh.Serving `json:"serving"`
	// Captured tells that what goes to the application must be told from what is captured on the way to it.
	Captured bool `json:"captured,omitempty"`
	// Families are, with Captured, those of the workload's addresses; these are there for requests only.
	Families  []Family `json:"families,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
}

// InboundListener takes requests for one served port.
type InboundListener struct {
	Name    string       `json:"name"`
	Version string       `json:"version,omitempty"`
	Address string       `json:"address"`
	Further []string     `json:"further,omitempty"` // other addresses that it takes them at
	Serving mesh.Serving `json:"serving"`
	NoLog   bool         `json:"noLog,omitempty"`
	// Accept is what callers may speak. Those who prove who they are do it by a certificate of the trust domain, which holds
	// for so long; a proxy without an identity knows none.
	Accept      mesh.Transport `json:"accept"`
	TrustDomain string         `json:"trustDomain,omitempty"`
	CertTTL     mesh.Duration  `json:"certTTL,omitempty"`
	// Captured tells that connections come from the [CapturedInbound]. Probes are let through whatever is accepted.
	Captured bool         `json:"captured,omitempty"`
	Probes   []mesh.Probe `json:"probes,omitempty"`
}

// OutboundListener takes the workload's own requests, as an HTTP proxy.
type OutboundListener struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Port    int    `json:"port"`
	NoLog   bool   `json:"noLog,omitempty"`
}

// InnerListener takes the requests that come through CONNECT. It is reached inside the proxy only.
type InnerListener struct {
	Name    string `json:"name"`
	Address string `json:"address"` // of the workload
	NoLog   bool   `json:"noLog,omitempty"`
}

// InnerCluster leads to the inner listener.
type InnerCluster struct {
	Name string `json:"name"`
}

// LocalListener is a local address of a workload that leads to one port of a service.
type LocalListener struct {
	Name     string        `json:"name"`
	Address  string        `json:"address"`
	Listen   int           `json:"listen"`
	Host     mesh.Host     `json:"host"`
	Port     int           `json:"port"`
	Protocol mesh.Protocol `json:"protocol"`
	NoLog    bool          `json:"noLog,omitempty"`
}

func (OnDemandRoutes) view()   {}
func (InboundCluster) view()   {}
func (InboundListener) view()  {}
func (OutboundListener) view() {}
func (InnerListener) view()    {}
func (InnerCluster) view()     {}
func (LocalListener) view()    {}

// Cut returns the view of a resource for a caller, projected to it, and the keys of everything that was looked for,
// sorted. The view is nil when there is no such resource.
func Cut(s *mesh.Snapshot, c Caller, id ID) (View, []mesh.Key) {
	r := &reader{snapshot: s, keys: map[mesh.Key]struct{}{}}
	v := r.cut(c, id)
	return v, slices.SortedFunc(maps.Keys(r.keys), mesh.Key.Compare)
}

// reader reads a snapshot and remembers what it was asked for.
type reader struct {
	snapshot *mesh.Snapshot
	keys     map[mesh.Key]struct{}
}

func (r *reader) note(kind mesh.Kind, name string) {
	r.keys[mesh.Key{Kind: kind, Name: name}] = struct{}{}
}

func (r *reader) service(h mesh.Host) *mesh.Service {
	r.note(mesh.KindService, string(h))
	return r.snapshot.Service(h)
}

func (r *reader) endpoints(h mesh.Host) []mesh.Endpoint {
	r.note(mesh.KindEndpoints, string(h))
	if set := r.snapshot.Endpoints(h); set != nil {
		return set.Endpoints
	}
	return nil
}

func (r *reader) stance(h mesh.Host) *mesh.Stance {
	r.note(mesh.KindStance, string(h))
	return r.snapshot.Stance(h)
}

func (r *reader) workload(id mesh.ProxyID) *mesh.Workload {
	r.note(mesh.KindWorkload, string(id))
	return r.snapshot.Workload(id)
}

func (r *reader) cut(c Caller, id ID) View {
	switch {
	case c.common(id):
		return r.commonCaptured(c.Captured, id)
	case c.own(id):
		return r.ownResource(c, id)
	case id.isList():
		return r.listing(c, id.Kind)
	case id.Kind == KindListener && c.Type == mesh.Proxyless:
		return r.target(c, id.Name)
	case id.Kind == KindRoutes && strings.HasPrefix(id.Name, callPrefix) && c.Type == mesh.Proxyless:
		return r.callRoutes(c, id.Name)
	case id.Kind == KindVirtualHost:
		return r.virtualHost(c, id.Name)
	case id.Kind == KindRoutes && id.Name == OutboundRoutes && c.Type == mesh.Sidecar:
		return OnDemandRoutes{Name: id.Name}
	case id.Kind == KindScope:
		return r.scope(id.Name)
	case id.Kind == KindRoutes && strings.HasPrefix(id.Name, capturedPrefix) && c.Type == mesh.Sidecar:
		return r.capturedRoutes(c, id.Name)
	case id.Kind == KindRoutes && strings.HasPrefix(id.Name, outsidePrefix) && c.Type == mesh.Sidecar:
		return r.outsideRoutes(c, id.Name)
	case id.Kind == KindRoutes && strings.HasPrefix(id.Name, localPrefix) && c.Type == mesh.Sidecar:
		return r.localRoutes(c, id.Name)
	case id.Kind == KindFilter && strings.HasPrefix(id.Name, localPrefix) && c.Type == mesh.Sidecar:
		return r.localBytes(c, id.Name)
	case id.Kind == KindRoutes && id.Name == DoorRoutes && c.Type == mesh.Ingress:
		return r.door(c)
	case id.Kind == KindSecret && c.Type == mesh.Ingress && !c.Plain: // whoever proves nothing gets no key
		return r.secret(id.Name)
	case id.IsDialled() && c.Type != mesh.Sidecar:
		return nil
	case id.IsDialled() && id.Kind == KindCluster:
		return r.dialledCluster(c, id.Name)
	case id.IsDialled():
		return r.dialledEndpoints(c, id.Name)
	case id.Kind == KindCluster:
		return r.cluster(c, id.Name)
	case id.Kind == KindEndpoints:
		return r.subsetEndpoints(id.Name)
	default:
		return nil
	}
}

func (r *reader) ownResource(c Caller, id ID) View {
	w := r.workload(c.Proxy)
	switch {
	case w == nil:
		return nil
	case w.Type == mesh.Sidecar && w.Capture:
		return r.ownCaptured(c, w, id)
	}
	switch {
	case id == ID{KindListener, outbound} && w.Type == mesh.Sidecar:
		return OutboundListener{Name: id.Name, Address: w.Address, Port: w.Outbound, NoLog: r.settings().NoAccessLog}
	case id == ID{KindListener, Inner} && w.Type == mesh.Sidecar:
		return InnerListener{Name: id.Name, Address: w.Address, NoLog: r.settings().NoAccessLog}
	case id == ID{KindCluster, Inner} && w.Type == mesh.Sidecar:
		return InnerCluster{Name: id.Name}
	case id.Kind == KindListener && strings.HasPrefix(id.Name, localPrefix):
		return r.localListener(w, id.Name)
	case w.Type == mesh.Ingress && (id == ID{KindListener, DoorRoutes} || id == ID{KindListener, doorTLS}):
		return r.doorListener(w, id.Name)
	}
	for _, s := range w.Serves {
		if id.Name != inboundName(s.Port) {
			continue
		}
		if id.Kind == KindCluster {
			return InboundCluster{Name: id.Name, Serving: s}
		}
		return r.inboundListener(c, w, s)
	}
	return nil
}

// inboundListener cuts the listener for one served port.
func (r *reader) inboundListener(c Caller, w *mesh.Workload, s mesh.Serving) View {
	v := InboundListener{
		Name: inboundName(s.Port), Version: w.Labels["version"], Address: w.Address, Serving: s,
		NoLog: r.settings().NoAccessLog, Accept: mesh.Plain,
	}
	if c.Plain {
		return v
	}
	v.Accept = r.stance(s.Host).Port(s.Port).Accept
	v.TrustDomain, v.CertTTL = r.snapshot.Realm().TrustDomain, r.snapshot.Realm().CertTTL
	return v
}

// localListener cuts the listener for a local address.
func (r *reader) localListener(w *mesh.Workload, name string) View {
	for _, u := range w.Upstreams {
		if localName(u) != name {
			continue
		}
		v := LocalListener{
			Name: name, Address: w.Address, Listen: u.Listen, Host: u.Host, Port: u.Port,
			Protocol: mesh.TCP, NoLog: r.settings().NoAccessLog,
		}
		if svc := r.service(u.Host); svc != nil {
			if port, ok := svc.Port(u.Port); ok {
				v.Protocol = port.Protocol
			}
		}
		return v
	}
	return nil
}
