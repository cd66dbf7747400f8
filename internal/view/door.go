package view

import (
	"maps"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Door is what the routes of an ingress depend on.
type Door struct {
	Name  string     `json:"name"`
	Hosts []DoorHost `json:"hosts"` // sorted by domain; the last one is "*"
}

// DoorHost is what stands behind a name, or behind a pattern for the names that have no entry of their own. Of two entries
// for one pattern the first is for the names with one label in place of its "*", the second for all longer ones.
type DoorHost struct {
	Domain   string     `json:"domain"` // "shop.example.com", "*.example.com", or "*"
	OneLabel bool       `json:"oneLabel,omitempty"`
	Paths    []DoorPath `json:"paths"` // in the order in which they are tried
}

// DoorPath is one rule of an Ingress object with what stands behind it. Port is 0 when the backend does not exist.
type DoorPath struct {
	Rule     *mesh.DoorRule    `json:"rule"`
	Port     int               `json:"port,omitempty"`
	Rules    []*mesh.RouteRule `json:"rules,omitempty"` // route rules of the backend that the ingress meets, in order
	Policies []Policy          `json:"policies,omitempty"`
}

// DoorListener takes requests from outside.
type DoorListener struct {
	Name    string            `json:"name"`
	Address string            `json:"address"`
	Port    int               `json:"port"`
	TLS     []DoorCertificate `json:"tls,omitempty"` // none: plain text
	NoLog   bool              `json:"noLog,omitempty"`
	// Proxied tells that each connection begins with the address of its client, in the PROXY protocol.
	Proxied bool `json:"proxied,omitempty"`
}

// DoorCertificate says which secret holds the certificate for clients that ask for one of the hosts.
type DoorCertificate struct {
	Secret string   `json:"secret"`
	Hosts  []string `json:"hosts,omitempty"` // sorted; none: every host that no other names
}

// Secret is a certificate with its key.
type Secret struct {
	Name  string      `json:"name"`
	Chain string      `json:"chain"`
	Key   mesh.Secret `json:"key"`
}

func (Door) view()         {}
func (DoorListener) view() {}
func (Secret) view()       {}

// everyHost is the domain of requests whose host nothing else names.
const everyHost = "*"

// asSource returns the caller as it counts where rules say for whom they are. An ingress belongs to the services by which it is
// named, and has the label by which Istio's users named it.
func (r *reader) asSource(c Caller) Caller {
	if c.Type != mesh.Ingress {
		return c
	}
	labels := mesh.Labels{"istio": "ingress"}
	maps.Copy(labels, c.Labels)
	c.Labels = labels
	c.Serves = slices.Clip(c.Serves)
	for _, h := range mesh.IngressHosts(r.snapshot.Domain()) {
		c.Serves = append(c.Serves, Served{Host: h})
	}
	return c
}

func (r *reader) door(c Caller) View {
	v := Door{Name: DoorRoutes}
	r.note(mesh.KindDoor, "")
	var rules []*mesh.DoorRule
	if door := r.snapshot.Door(); door != nil {
		rules = door.Rules
	}
	known := map[*mesh.DoorRule]DoorPath{}
	for _, h := range doorHosts(rules) {
		host := DoorHost{Domain: h.domain, OneLabel: h.oneLabel, Paths: []DoorPath{}}
		for _, rule := range h.rules {
			path, ok := known[rule]
			if !ok {
				path = r.doorPath(c, rule)
				known[rule] = path
			}
			host.Paths = append(host.Paths, path)
		}
		v.Hosts = append(v.Hosts, host)
	}
	return v
}

func (r *reader) doorPath(c Caller, rule *mesh.DoorRule) DoorPath {
	path := DoorPath{Rule: rule}
	if svc := r.service(rule.Backend.Host); svc != nil {
		path.Port = backendPort(svc, rule.Backend)
	}
	if path.Port != 0 {
		path.Rules = r.rules(c, rule.Backend.Host)
		path.Policies = r.policies(c, rule.Backend.Host, path.Rules)
	}
	return path
}

// backendPort returns the number of the HTTP port that a backend names, or 0.
func backendPort(svc *mesh.Service, b mesh.Backend) int {
	port, ok := svc.Port(b.Port)
	if b.PortName != "" {
		port, ok = svc.PortNamed(b.PortName)
	}
	if !ok || !port.Protocol.IsHTTP() {
		return 0
	}
	return port.Number
}

// hostRules are the rules for one domain, in the order in which they are tried.
type hostRules struct {
	domain   string
	oneLabel bool
	rules    []*mesh.DoorRule
}

// doorHosts tells which rules concern which host: those that name it, else those of the longest pattern that takes it,
// else those without a host, and never a mixture of these. After them come default backends.
func doorHosts(rules []*mesh.DoorRule) []hostRules {
	byHost := map[string][]*mesh.DoorRule{"": nil}
	var defaults []*mesh.DoorRule
	for _, rule := range rules {
		if rule.Default {
			defaults = append(defaults, rule)
		} else {
			byHost[rule.Host] = append(byHost[rule.Host], rule)
		}
	}
	var hosts []hostRules
	add := func(domain string, oneLabel bool, own []*mesh.DoorRule) {
		hosts = append(hosts, hostRules{domain, oneLabel, reachable(append(slices.Clip(own), defaults...))})
	}
	for _, host := range slices.Sorted(maps.Keys(byHost))[1:] {
		own := byHost[host]
		deep := slices.IndexFunc(own, func(r *mesh.DoorRule) bool { return !r.AnyDepth }) < 0
		if pattern := strings.HasPrefix(host, "*."); pattern && !deep {
			add(host, true, own)
			own = deepRules(byHost, host)
		}
		add(host, false, own)
	}
	add(everyHost, false, byHost[""])
	return hosts
}

// deepRules returns the rules for names that have several labels in place of a pattern's "*".
func deepRules(byHost map[string][]*mesh.DoorRule, pattern string) []*mesh.DoorRule {
	for {
		var deep []*mesh.DoorRule
		for _, rule := range byHost[pattern] {
			if rule.AnyDepth {
				deep = append(deep, rule)
			}
		}
		_, rest, found := strings.Cut(strings.TrimPrefix(pattern, "*."), ".")
		switch {
		case len(deep) > 0:
			return deep
		case !found:
			return byHost[""]
		}
		pattern = "*." + rest
	}
}

// reachable leaves out rules for a path that another one has, and those after one that takes every request.
func reachable(rules []*mesh.DoorRule) []*mesh.DoorRule {
	var kept []*mesh.DoorRule
	taken := map[mesh.StringMatch]bool{}
	for _, rule := range rules {
		if taken[rule.Path] && !rule.Default {
			continue
		}
		taken[rule.Path] = true
		kept = append(kept, rule)
		if rule.Path == (mesh.StringMatch{Kind: mesh.MatchElements, Value: "/"}) && !rule.TLSOnly {
			break
		}
	}
	return kept
}

// doorListener cuts the listener of an ingress for plain text or for TLS. There is none for TLS without a certificate.
func (r *reader) doorListener(w *mesh.Workload, name string) View {
	v := DoorListener{Name: name, Address: w.Door, Port: w.Outbound}
	if name == doorTLS {
		if w.DoorTLS == 0 {
			return nil
		}
		v.Port, v.TLS = w.DoorTLS, r.doorCertificates()
		if len(v.TLS) == 0 {
			return nil
		}
	}
	v.NoLog, v.Proxied = r.settings().NoAccessLog, r.settings().Ingress.ProxyProtocol
	return v
}

// doorCertificates tells which certificate is shown for which host: that of the first object that names it. A host
// whose certificate does not exist is left out.
func (r *reader) doorCertificates() []DoorCertificate {
	r.note(mesh.KindDoor, "")
	door := r.snapshot.Door()
	if door == nil {
		return nil
	}
	taken := map[string]bool{}
	hosts := map[string][]string{} // by secret
	var rest string                // secret for every host that no other names
	for _, t := range door.TLS {
		r.note(mesh.KindSecret, t.Secret)
		exists := r.snapshot.Certificate(t.Secret) != nil
		if len(t.Hosts) == 0 && !taken[""] {
			if taken[""] = true; exists {
				rest = t.Secret
			}
		}
		for _, host := range t.Hosts {
			if exists && !taken[host] {
				hosts[t.Secret] = append(hosts[t.Secret], host)
			}
			taken[host] = true
		}
	}
	var list []DoorCertificate
	for _, secret := range slices.Sorted(maps.Keys(hosts)) {
		slices.Sort(hosts[secret])
		list = append(list, DoorCertificate{Secret: secret, Hosts: hosts[secret]})
	}
	if rest != "" {
		list = append(list, DoorCertificate{Secret: rest})
	}
	return list
}

// secret cuts a certificate, for an ingress that shows it to somebody.
func (r *reader) secret(path string) View {
	r.note(mesh.KindSecret, path)
	if !slices.ContainsFunc(r.doorCertificates(), func(c DoorCertificate) bool { return c.Secret == path }) {
		return nil
	}
	c := r.snapshot.Certificate(path)
	if c.Key.Reveal() == "" { // not known since a restart: who has it keeps it
		return nil
	}
	return Secret{Name: path, Chain: c.Chain, Key: c.Key}
}
