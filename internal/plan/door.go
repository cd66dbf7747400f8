package plan

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// door returns the routes of an ingress: for each path of an Ingress object those of the rules of its backend,
// narrowed to the path. What no path takes is answered with 404.
func door(v view.Door) Door {
	p := Door{Name: v.Name}
	for _, path := range v.Paths {
		p.Routes = append(p.Routes, pathRoutes(path)...)
	}
	p.Routes = append(p.Routes, Route{Name: "<no-path>", Path: anyPath, Answer: &Answer{
		Status: 404, Body: "lateen: no Ingress object has a path for this request.\n",
	}})
	return p
}

func pathRoutes(path view.DoorPath) []Route {
	match := doorPath(path.Rule)
	if path.Port == 0 {
		return []Route{{Name: path.Rule.Object.Path(), Origin: path.Rule.Origin, Path: match, Answer: noBackend(path.Rule)}}
	}
	routes := ruleRoutes(path.Rule.Backend.Host, path.Port, path.Rules)
	for i := range routes {
		r := &routes[i]
		if r.Path != anyPath {
			// The route's own path becomes one more condition; the Ingress object's stays the one that leads.
			r.Headers = append([]HeaderMatch{pathHeader(r.Path)}, r.Headers...)
		}
		r.Path = match
		if r.Name == DefaultRoute {
			r.Name, r.Origin = path.Rule.Object.Path(), path.Rule.Origin
		}
	}
	return routes
}

func doorPath(rule *mesh.DoorRule) PathMatch {
	switch {
	case rule.Exact:
		return PathMatch{Kind: PathExact, Value: rule.Path}
	case rule.Path == "/":
		return anyPath
	default:
		return PathMatch{Kind: PathElementPrefix, Value: strings.TrimRight(rule.Path, "/")}
	}
}

// pathHeader spells a match of the path as one of the pseudo-header, which carries the query too.
func pathHeader(m PathMatch) HeaderMatch {
	h := HeaderMatch{Name: ":path", StringMatch: mesh.StringMatch{Kind: mesh.MatchPrefix, Value: m.Value}}
	switch m.Kind {
	case PathExact:
		h.StringMatch = mesh.StringMatch{Kind: mesh.MatchRegex, Value: regexp.QuoteMeta(m.Value) + `(?:\?.*)?`}
	case PathRegex:
		h.StringMatch = mesh.StringMatch{Kind: mesh.MatchRegex, Value: `(?:` + m.Value + `)(?:\?.*)?`}
	}
	return h
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
