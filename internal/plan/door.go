package plan

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// Door holds the routes of an ingress.
type Door struct {
	Name  string     `json:"name"`
	Hosts []DoorHost `json:"hosts"`
}

// DoorHost holds the routes for one domain, tried in order. A request belongs to the domain that is its host, else to
// the longest "*.DOMAIN" that takes it, else to "*"; what port its authority names does not matter.
type DoorHost struct {
	Domain string  `json:"domain"`
	Routes []Route `json:"routes"`
}

// DoorListener takes requests from outside.
type DoorListener struct {
	Name    string     `json:"name"`
	Address string     `json:"address"`
	Port    int        `json:"port"`
	TLS     []TLSChain `json:"tls,omitempty"` // none: plain text
	Scheme  string     `json:"scheme"`        // of all its requests, whatever they claim
	Routes  string     `json:"routes"`
	NoLog   bool       `json:"noLog,omitempty"`
	// Proxied tells that each connection begins with the address of its client, in the PROXY protocol; one that does not is closed.
	Proxied bool `json:"proxied,omitempty"`
}

// TLSChain says which secret holds the certificate for clients that ask for one of the hosts.
type TLSChain struct {
	Secret string   `json:"secret"`
	Hosts  []string `json:"hosts,omitempty"` // none: every other host
}

// Secret is a certificate with its key.
type Secret view.Secret

// Needs returns the subsets that the routes lead to.
func (d Door) Needs() []mesh.Subset {
	var all []Route
	for _, h := range d.Hosts {
		all = append(all, h.Routes...)
	}
	return needs(all)
}

// Needs returns nothing: its routes are asked for by name.
func (DoorListener) Needs() []mesh.Subset { return nil }

// Needs returns nothing.
func (Secret) Needs() []mesh.Subset { return nil }

// Host returns the routes for requests to an authority.
func (d Door) Host(authority string) DoorHost {
	host, _, _ := strings.Cut(strings.ToLower(authority), ":")
	var best DoorHost
	for _, h := range d.Hosts {
		suffix, pattern := strings.CutPrefix(h.Domain, "*")
		switch {
		case h.Domain == host:
			return h
		case pattern && len(h.Domain) > len(best.Domain) && strings.HasSuffix(host, suffix) && (suffix == "" || host != suffix):
			best = h
		}
	}
	return best
}

// noPath is the name of the route for what no path takes.
const noPath = "<no-path>"

// door returns the routes of an ingress. What no path takes is answered with 404.
func door(v view.Door) Door {
	p := Door{Name: v.Name}
	for _, h := range v.Hosts {
		var routes []Route
		for _, path := range h.Paths {
			routes = append(routes, pathRoutes(path)...)
		}
		routes = append(routes, Route{Name: noPath, Path: anyPath, Answer: &Answer{
			Status: 404, Body: "lateen: no Ingress object has a path for this request.\n",
		}})
		if h.OneLabel {
			for i := range routes {
				routes[i].Headers = append(oneLabel(h.Domain), routes[i].Headers...)
			}
		}
		if last := len(p.Hosts) - 1; last >= 0 && p.Hosts[last].Domain == h.Domain {
			p.Hosts[last].Routes = append(p.Hosts[last].Routes, routes...)
		} else {
			p.Hosts = append(p.Hosts, DoorHost{Domain: h.Domain, Routes: routes})
		}
	}
	return p
}

// oneLabel holds for hosts with one label in place of the pattern's "*".
func oneLabel(pattern string) []HeaderMatch {
	return []HeaderMatch{{Name: ":authority", StringMatch: mesh.StringMatch{
		Kind: mesh.MatchRegex, Value: `(?i)[^.]+` + regexp.QuoteMeta(strings.TrimPrefix(pattern, "*")) + `(?::[0-9]+)?`,
	}}}
}

// pathRoutes returns what happens to requests for one path of an Ingress object: the routes of the rules of its backend,
// narrowed to the path.
func pathRoutes(path view.DoorPath) []Route {
	own := doorPath(path.Rule)
	routes := []Route{{Name: path.Rule.Object.Path(), Origin: path.Rule.Origin, Path: anyPath, Answer: noBackend(path.Rule)}}
	if path.Port != 0 {
		routes = router{
			host: path.Rule.Backend.Host, port: path.Port, policies: path.Policies,
			object: path.Rule.Object, origin: path.Rule.Origin,
		}.routes(path.Rules)
	}
	var kept []Route
	for _, r := range routes {
		if !narrow(&r, own) {
			continue
		}
		if path.Rule.TLSOnly {
			r.Headers = append([]HeaderMatch{{Name: ":scheme", StringMatch: mesh.StringMatch{Kind: mesh.MatchExact, Value: "https"}}}, r.Headers...)
		}
		r.Via = path.Rule.Object.String() + " " + path.Rule.Path.Value
		kept = append(kept, r)
	}
	return kept
}

// narrow makes the route take only what the path takes too, and tells whether that is anything.
func narrow(r *Route, path PathMatch) bool {
	lead, also, ok := both(path, r.Path)
	if !ok {
		return false
	}
	if r.Path = lead; also != nil {
		r.Headers = append([]HeaderMatch{pathHeader(*also)}, r.Headers...)
	}
	if w := r.Rewrite; w != nil {
		prefix := lead.Kind == PathPrefix || lead.Kind == PathElementPrefix
		r.Rewrite = rewrite(&mesh.Rewrite{URI: cmp.Or(w.Prefix, w.Path), Authority: w.Authority}, prefix && (w.Prefix != "" || lead != anyPath))
	}
	return true
}

func doorPath(rule *mesh.DoorRule) PathMatch {
	kind := pathKinds[rule.Path.Kind]
	switch {
	case kind == PathElementPrefix && rule.Path.Value == "/":
		return anyPath
	case kind == PathElementPrefix:
		return PathMatch{Kind: kind, Value: strings.TrimRight(rule.Path.Value, "/")}
	default:
		return PathMatch{Kind: kind, Value: rule.Path.Value}
	}
}

func noBackend(rule *mesh.DoorRule) *Answer {
	port := rule.Backend.PortName
	if port == "" {
		port = fmt.Sprint(rule.Backend.Port)
	}
	return &Answer{Status: 503, Body: fmt.Sprintf(
		"lateen: %s names the backend %s, port %s: there is no such HTTP port in this mesh.\n",
		rule.Object, rule.Backend.Host, port)}
}

func doorListener(v view.DoorListener) DoorListener {
	l := DoorListener{
		Name: v.Name, Address: v.Address, Port: v.Port, Scheme: "http", Routes: view.DoorRoutes, NoLog: v.NoLog,
		Proxied: v.Proxied,
	}
	for _, c := range v.TLS {
		l.Scheme, l.TLS = "https", append(l.TLS, TLSChain(c))
	}
	return l
}
