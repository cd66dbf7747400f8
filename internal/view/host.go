package view

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// VirtualHost is what the answer for one spelling of a host depends on. Protocol is "" when the spelling leads nowhere:
// then Service or Egress is what has no such port, and if both are nil nobody knows the host.
type VirtualHost struct {
	Name      string            `json:"name"`   // of the resource
	Domain    string            `json:"domain"` // as the client spells it
	AskedHost mesh.Host         `json:"askedHost,omitempty"`
	AskedPort int               `json:"askedPort,omitempty"` // 0: the spelling is no host and port
	Foreign   bool              `json:"foreign,omitempty"`   // it can be a host outside the mesh
	Host      mesh.Host         `json:"host,omitempty"`
	Port      int               `json:"port,omitempty"`
	Protocol  mesh.Protocol     `json:"protocol,omitempty"`
	Service   *mesh.Service     `json:"service,omitempty"`  // of the mesh
	Egress    *mesh.EgressRule  `json:"egress,omitempty"`   // that allows a host outside the mesh
	Rules     []*mesh.RouteRule `json:"rules,omitempty"`    // those that this caller meets, in order
	Policies  []Policy          `json:"policies,omitempty"` // those that are for this caller, sorted by name
}

// Policy is a source-specific DestinationPolicy that the caller meets: endpoints to which one applies form a cluster of
// their own.
type Policy struct {
	Object mesh.Ref      `json:"object"`
	Origin mesh.Position `json:"origin"`
	Host   mesh.Host     `json:"host"`
	Labels mesh.Labels   `json:"labels,omitempty"`
}

// LocalRoutes is what the routes behind a local address of a workload depend on, where the port speaks HTTP, and those of a captured
// workload to a port of a service.
type LocalRoutes struct {
	Name     string            `json:"name"`
	Host     mesh.Host         `json:"host"`
	Port     int               `json:"port"`
	Bytes    bool              `json:"bytes,omitempty"` // of a captured workload: the port speaks something else
	Rules    []*mesh.RouteRule `json:"rules,omitempty"`
	Policies []Policy          `json:"policies,omitempty"`
}

// LocalBytes is what the way behind a local address depends on, where the port does not speak HTTP.
type LocalBytes struct {
	Name     string            `json:"name"`
	Host     mesh.Host         `json:"host"`
	Port     int               `json:"port"`
	Address  string            `json:"address,omitempty"` // of the caller, where rules ask for it
	Rules    []*mesh.RouteRule `json:"rules,omitempty"`
	Policies []Policy          `json:"policies,omitempty"`
	NoLog    bool              `json:"noLog,omitempty"`
}

func (VirtualHost) view() {}
func (LocalRoutes) view() {}
func (LocalBytes) view()  {}

func (r *reader) virtualHost(c Caller, name string) View {
	domain, ok := strings.CutPrefix(name, virtualHostRoot)
	if !ok {
		return nil
	}
	v := VirtualHost{Name: name, Domain: domain}
	if domain == initName {
		v.Domain = initName + ".invalid"
		return v
	}
	if r.resolve(&v, c.Namespace, name); v.Protocol != "" {
		v.Rules = r.rules(c, v.ruleHosts()...)
		v.Policies = r.policies(c, v.Host, v.Rules)
	}
	return v
}

// resolve finds which port of which host a virtual host is for, as a caller in the namespace spells it.
func (r *reader) resolve(v *VirtualHost, namespace, name string) {
	host, port, ok := splitAuthority(strings.TrimPrefix(name, virtualHostRoot))
	if !ok {
		return
	}
	host = strings.TrimSuffix(host, ".") // a name that is complete (RFC 1034, 3.1)
	v.AskedHost, v.AskedPort, v.Foreign = mesh.Host(host), port, r.isForeign(mesh.Host(host))
	for _, candidate := range mesh.Candidates(host, namespace, r.snapshot.Domain()) {
		if svc := r.service(candidate); svc != nil {
			v.Service, v.Host = svc, candidate
			break
		}
	}
	var found mesh.Port
	if v.Service != nil {
		found, ok = v.Service.Port(port)
	} else if v.Egress = r.egress(mesh.Host(host)); v.Egress != nil {
		v.Host = mesh.Host(host)
		found, ok = v.Egress.Port(port)
	}
	if v.Host != "" && ok {
		v.Port, v.Protocol = port, found.Protocol
	}
}

// ruleHosts returns the destinations whose rules hold for the virtual host.
func (v *VirtualHost) ruleHosts() []mesh.Host {
	if v.Egress != nil && v.Egress.Destination != v.Host {
		return []mesh.Host{v.Host, v.Egress.Destination}
	}
	return []mesh.Host{v.Host}
}

// splitAuthority splits a request's authority into a lower-case host and a port, 80 when it names none. An IPv6 address
// stands in brackets (RFC 3986, 3.2.2) and is returned without them.
func splitAuthority(authority string) (host string, port int, ok bool) {
	authority = strings.ToLower(authority)
	host, rest, bracketed := authority, "", strings.HasPrefix(authority, "[")
	if bracketed {
		if host, rest, ok = strings.Cut(authority[1:], "]"); !ok {
			return "", 0, false
		}
	} else if at := strings.IndexByte(authority, ':'); at >= 0 {
		host, rest = authority[:at], authority[at:]
	}
	if rest == "" {
		return host, 80, host != ""
	}
	text, found := strings.CutPrefix(rest, ":")
	port, err := strconv.Atoi(text)
	return host, port, found && err == nil && host != "" && port > 0 && port < 65536
}

// isForeign tells whether a host can be outside the mesh. A name without a dot, and one below the mesh's own domain,
// cannot: a service that does not exist is not looked for elsewhere.
func (r *reader) isForeign(h mesh.Host) bool {
	return strings.ContainsAny(string(h), ".:") && !strings.HasSuffix(string(h), ".svc") &&
		!strings.HasSuffix(string(h), ".svc."+r.snapshot.Domain())
}

// egress returns the rule that allows calls to a host outside the mesh, or nil.
func (r *reader) egress(h mesh.Host) *mesh.EgressRule {
	if !r.isForeign(h) {
		return nil
	}
	r.note(mesh.KindEgress, string(h))
	if rule := r.snapshot.Egress(h); rule != nil {
		return rule
	}
	r.note(mesh.KindEgress, "")
	return r.snapshot.EgressPatterns().Find(h)
}

// egressFor returns the rule whose destination is written so, whatever it takes, or nil.
func (r *reader) egressFor(destination mesh.Host) *mesh.EgressRule {
	r.note(mesh.KindEgress, string(destination))
	if rule := r.snapshot.Egress(destination); rule != nil {
		return rule
	}
	r.note(mesh.KindEgress, "")
	return r.snapshot.EgressPatterns().For(destination)
}

// rules returns the rules of hosts that the caller meets, up to the first one that takes every request.
func (r *reader) rules(c Caller, hosts ...mesh.Host) []*mesh.RouteRule {
	c = r.asSource(c)
	var rules []*mesh.RouteRule
	for _, rule := range r.allRules(hosts...) {
		if !c.meets(rule.Source) {
			continue
		}
		rules = append(rules, rule)
		if rule.CatchesBytes() { // and requests
			break
		}
	}
	return rules
}

// allRules returns the rules of hosts, whoever calls, in the order in which they are tried.
func (r *reader) allRules(hosts ...mesh.Host) []*mesh.RouteRule {
	var all []*mesh.RouteRule
	for _, h := range hosts {
		r.note(mesh.KindRules, string(h))
		if set := r.snapshot.Rules(h); set != nil {
			all = append(all, set.Rules...)
		}
	}
	if len(hosts) > 1 {
		all = mesh.NewRuleSet(hosts[0], all).Rules
	}
	return all
}

// meets tells whether a rule for the source is for this caller.
func (c Caller) meets(source *mesh.SourceMatch) bool {
	return source == nil || ((source.Host == "" || c.serves(source.Host)) && source.Labels.Select(c.Labels))
}

// policies returns the source-specific policies that the caller meets, of a host and of all hosts that rules name.
func (r *reader) policies(c Caller, h mesh.Host, rules []*mesh.RouteRule) []Policy {
	hosts := map[mesh.Host]bool{h: true}
	for _, rule := range rules {
		rule.AddHosts(hosts)
	}
	c = r.asSource(c)
	var policies []Policy
	for host := range hosts {
		for _, p := range r.policiesFor(host) {
			if p.Source != nil && c.meets(p.Source) {
				policies = append(policies, Policy{Object: p.Object, Origin: p.Origin, Host: host, Labels: p.Labels})
			}
		}
	}
	slices.SortFunc(policies, func(a, b Policy) int {
		return cmp.Or(a.Object.Compare(b.Object), cmp.Compare(a.Host, b.Host))
	})
	return policies
}

// policiesFor returns the policies of a host, those for the very name first, then those for the destination by which an
// egress rule allows it.
func (r *reader) policiesFor(h mesh.Host) []*mesh.DestinationPolicy {
	policies := r.policySet(h)
	if r.service(h) == nil {
		if rule := r.egress(h); rule != nil && rule.Destination != h {
			policies = slices.Concat(policies, r.policySet(rule.Destination))
		}
	}
	return policies
}

func (r *reader) policySet(h mesh.Host) []*mesh.DestinationPolicy {
	r.note(mesh.KindPolicies, string(h))
	if set := r.snapshot.Policies(h); set != nil {
		return set.Policies
	}
	return nil
}

// localRoutes cuts the routes behind a local address.
func (r *reader) localRoutes(c Caller, name string) View {
	host, port, ok := parsePlace(name, localPrefix)
	if !ok {
		return nil
	}
	v := LocalRoutes{Name: name, Host: host, Port: port, Rules: r.rules(c, host)}
	v.Policies = r.policies(c, host, v.Rules)
	return v
}

// localBytes cuts the way behind a local address of a port whose bytes are not requests.
func (r *reader) localBytes(c Caller, name string) View {
	host, port, ok := parsePlace(name, localPrefix)
	if !ok {
		return nil
	}
	v := LocalBytes{Name: name, Host: host, Port: port, Rules: r.rules(c, host), NoLog: r.settings().NoAccessLog}
	v.Policies = r.policies(c, host, v.Rules)
	if slices.ContainsFunc(v.Rules, func(rule *mesh.RouteRule) bool { return rule.TCP != nil }) {
		v.Address = c.Address
	}
	return v
}
