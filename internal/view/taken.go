package view

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// CapturedInbound takes every connection that is made to a captured workload, hands it to the [InboundListener] of its port, and
// passes on what is for a port of which nobody has said anything.
type CapturedInbound struct {
	Name        string         `json:"name"`
	Version     string         `json:"version,omitempty"`
	Families    []Family       `json:"families"`        // of the workload's addresses
	Ports       []int          `json:"ports,omitempty"` // that have a listener of their own, sorted
	NoLog       bool           `json:"noLog,omitempty"`
	Accept      mesh.Transport `json:"accept"`
	TrustDomain string         `json:"trustDomain,omitempty"`
	CertTTL     mesh.Duration  `json:"certTTL,omitempty"`
}

// OriginalCluster leads to where a captured connection was going to.
type OriginalCluster struct {
	Name     string   `json:"name"`               // [Passthrough], [Inbound], [Probes] or [SecureProbes]
	Families []Family `json:"families,omitempty"` // of the workload's addresses, but for [Passthrough]
}

// Family is a family of IP addresses.
type Family string

// The families.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// Families are some of these, sorted, with commas.
type Families string

// list returns them one by one.
func (f Families) list() []Family {
	var all []Family
	for one := range strings.SplitSeq(string(f), ",") {
		all = append(all, Family(one))
	}
	return all
}

// familiesOf returns of which families the addresses of a workload are.
func familiesOf(w *mesh.Workload) Families {
	var words []string
	for _, f := range families(w) {
		words = append(words, string(f))
	}
	return Families(strings.Join(words, ","))
}

// families returns the same one by one, sorted; IPv4 where it has none.
func families(w *mesh.Workload) []Family {
	has := map[Family]bool{}
	for _, text := range w.Addresses() {
		if a, err := netip.ParseAddr(text); err == nil && a.Unmap().Is4() {
			has[IPv4] = true
		} else if err == nil {
			has[IPv6] = true
		}
	}
	if len(has) == 0 {
		has[IPv4] = true
	}
	return slices.Sorted(maps.Keys(has))
}

func (CapturedInbound) view() {}
func (OriginalCluster) view() {}

// takenPorts returns, sorted, the ports of a captured workload of which somebody has said something: services or probes.
func takenPorts(w *mesh.Workload) []int {
	ports := map[int]struct{}{}
	for _, s := range w.Serves {
		ports[s.Listen] = struct{}{}
	}
	for _, p := range w.Probes {
		ports[p.Port] = struct{}{}
	}
	delete(ports, 0)
	return slices.Sorted(maps.Keys(ports))
}

// takenAt returns what a captured workload serves on one of its ports: as the first service says, or as bytes if they differ.
func takenAt(w *mesh.Workload, listen int) mesh.Serving {
	taken := mesh.Serving{Port: listen, Protocol: mesh.TCP}
	serves := slices.Clone(w.Serves)
	slices.SortFunc(serves, func(a, b mesh.Serving) int { return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port)) })
	first := true
	for _, s := range serves {
		switch {
		case s.Listen != listen:
		case first:
			taken, first = s, false
		case s.Protocol.IsHTTP() != taken.Protocol.IsHTTP() || s.Protocol.IsHTTP2() != taken.Protocol.IsHTTP2():
			taken.Protocol = mesh.TCP
		}
	}
	taken.Listen = listen
	return taken
}

// acceptAt returns what callers of a captured workload's port may speak. Several services on one port agree on what keeps the promises
// of the strictest, unless another one's callers may speak plain text, for good or on the way to something else.
func (r *reader) acceptAt(w *mesh.Workload, listen int) mesh.Transport {
	accepts, plainly, all := map[mesh.Transport]bool{}, false, 0
	for _, s := range w.Serves {
		if s.Listen == listen {
			p := r.stance(s.Host).Port(s.Port)
			accepts[p.Accept], all = true, all+1
			plainly = plainly || mayBeCalledPlainly(p)
		}
	}
	switch {
	case all == 0 && r.settings().Policy(mesh.Port{}) == mesh.AuthMutualTLS:
		return mesh.TLS
	case all == 0 || (plainly && len(accepts) > 1):
		return mesh.Both
	case accepts[mesh.TLS]:
		return mesh.TLS
	case accepts[mesh.Plain]:
		return mesh.Plain
	default:
		return mesh.Both
	}
}

// mayBeCalledPlainly tells whether callers with an identity speak plain text to a port, or may not have heard yet that they do not.
// Callers without one do so in PERMISSIVE, where another service on the port may be stricter.
func mayBeCalledPlainly(p mesh.PortStance) bool {
	return p.Accept == mesh.Plain || p.Speak == mesh.Plain || p.Policy == mesh.AuthNone || p.Policy == "" ||
		(p.Policy == mesh.AuthMutualTLS && p.Accept == mesh.Both)
}

// commonCaptured cuts a resource that captured workloads with addresses of the same families have in common.
func (r *reader) commonCaptured(f Families, id ID) View {
	switch {
	case id == ID{KindListener, outbound}:
		return r.capturedOutbound(f.list())
	case id == ID{KindListener, Inspect}:
		return r.inspected()
	case id.Name == Inspect:
		return InspectCluster{Name: id.Name}
	case id.Name == Passthrough:
		return OriginalCluster{Name: id.Name}
	default:
		return OriginalCluster{Name: id.Name, Families: f.list()}
	}
}

// ownCaptured cuts a resource that belongs to the proxy of a captured workload alone.
func (r *reader) ownCaptured(c Caller, w *mesh.Workload, id ID) View {
	if id == (ID{KindListener, Inbound}) {
		v := CapturedInbound{
			Name: Inbound, Version: w.Labels["version"], Families: families(w), Ports: takenPorts(w), NoLog: r.settings().NoAccessLog,
			Accept: mesh.Plain,
		}
		if !c.Plain {
			v.Accept = r.acceptAt(w, 0)
			v.TrustDomain, v.CertTTL = r.snapshot.Realm().TrustDomain, r.snapshot.Realm().CertTTL
		}
		return v
	}
	for _, listen := range takenPorts(w) {
		if id.Name != inboundName(listen) {
			continue
		}
		s := takenAt(w, listen)
		if id.Kind == KindCluster {
			v := InboundCluster{Name: id.Name, Serving: s, Captured: true, Families: families(w)}
			if s.Protocol.IsHTTP() {
				v.Addresses = w.Addresses()
			}
			return v
		}
		return r.capturedPort(c, w, s)
	}
	return nil
}

func (r *reader) capturedOutbound(of []Family) View {
	v := CapturedOutbound{
		Name: outbound, Families: of, Services: r.serviceNetworks(), OnlyKnown: r.settings().OnlyKnown,
		NoLog: r.settings().NoAccessLog,
	}
	r.note(mesh.KindSpoken, "")
	if spoken := r.snapshot.Spoken(); spoken != nil {
		v.Spoken = Spoken{spoken.Requests, spoken.Bytes, spoken.Apart, spoken.Unclear}
	}
	v.Inspects = r.inspects()
	r.note(mesh.KindRanges, "")
	if ranges := r.snapshot.Ranges(); ranges != nil {
		v.Mesh = ranges.Networks
	}
	if v.OnlyKnown {
		v.Named = r.networksOutside()
	} else {
		v.Outside = r.outsidePorts()
	}
	return v
}

// inspects tells whether captured workloads have an [Inspected].
func (r *reader) inspects() bool {
	if r.settings().OnlyKnown || len(r.outsidePorts()) > 0 {
		return true
	}
	r.note(mesh.KindSpoken, "")
	spoken := r.snapshot.Spoken()
	return spoken != nil && len(spoken.Unclear) > 0
}

func (r *reader) inspected() View {
	if !r.inspects() {
		return nil
	}
	v := Inspected{
		Name: Inspect, Services: r.serviceNetworks(), OnlyKnown: r.settings().OnlyKnown, NoLog: r.settings().NoAccessLog,
	}
	if !v.OnlyKnown {
		v.Outside = r.outsidePorts()
	}
	return v
}

// serviceNetworks returns the networks in which services have their addresses, and nobody else has: one for each address where nothing is
// said of them.
func (r *reader) serviceNetworks() []string {
	ranges := r.settings().ServiceRanges
	if len(ranges) > 0 && !r.settings().OnlyKnown {
		return ranges
	}
	r.note(mesh.KindServiceAddresses, "")
	if known := r.snapshot.ServiceAddresses(); known != nil {
		return alsoOf(ranges, known.Networks)
	}
	return ranges
}

// alsoOf returns networks, and of others those that lie in none of them.
func alsoOf(networks, others []string) []string {
	all := slices.Clone(networks)
	for _, text := range others {
		if other, err := netip.ParsePrefix(text); err == nil && !slices.ContainsFunc(networks, func(text string) bool {
			network, err := netip.ParsePrefix(text)
			return err == nil && network.Contains(other.Addr())
		}) {
			all = append(all, text)
		}
	}
	return all
}

// networksOutside returns the networks that EgressRules name.
func (r *reader) networksOutside() []Named {
	r.note(mesh.KindEgress, "")
	var all []Named
	if patterns := r.snapshot.EgressPatterns(); patterns != nil {
		for _, rule := range patterns.Rules {
			if !rule.IsNetwork() {
				continue
			}
			named := Named{Network: string(rule.Destination)}
			for _, p := range rule.Ports {
				named.Ports = append(named.Ports, p.Number)
			}
			all = append(all, named)
		}
	}
	return all
}

// capturedPort cuts the listener for one port of a captured workload.
func (r *reader) capturedPort(c Caller, w *mesh.Workload, s mesh.Serving) View {
	v := InboundListener{
		Name: inboundName(s.Listen), Version: w.Labels["version"], Address: w.Address, Further: w.Further, Serving: s,
		NoLog: r.settings().NoAccessLog, Accept: mesh.Plain, Captured: true,
	}
	if c.Plain {
		return v
	}
	// Where requests are plain, proven ones are taken too: another service may come for the port, or nobody say anything of it any
	// more, and callers may hear of that before. A port for bytes would have to wait for each caller to say what it speaks.
	if v.Accept = r.acceptAt(w, s.Listen); v.Accept == mesh.Plain && s.Protocol.IsHTTP() {
		v.Accept = mesh.Both
	}
	v.TrustDomain, v.CertTTL = r.snapshot.Realm().TrustDomain, r.snapshot.Realm().CertTTL
	for _, p := range w.Probes {
		if p.Port == s.Listen {
			v.Probes = append(v.Probes, p)
		}
	}
	return v
}
