package view

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Group names what tells callers apart for a resource whatever the snapshot says. Callers of one group may still get
// different views: [Classes] tells.
type Group struct {
	ID        ID
	Proxy     mesh.ProxyID   // of a proxy's own resources
	Type      mesh.ProxyType // of everything that reads anything of the caller
	Namespace string         // in which short names are looked up
	Plain     bool           // of a proxy's own resources, of clusters and of secrets: it has no identity
	Captured  Families       // of what captured workloads have in common
}

// GroupOf returns the group of a caller for a resource.
func GroupOf(c Caller, id ID) Group {
	switch {
	case c.common(id):
		return Group{ID: id, Captured: c.Captured}
	case c.own(id):
		return Group{ID: id, Proxy: c.Proxy, Plain: c.Plain}
	case id.IsDialled():
		return Group{ID: id, Type: c.Type, Namespace: c.Namespace, Plain: c.Plain && id.Kind == KindCluster}
	case id.Kind == KindCluster && !id.isList():
		return Group{ID: id, Plain: c.Plain}
	case id.isList() || id.Kind == KindListener:
		return Group{ID: id, Type: c.Type, Namespace: c.Namespace}
	case id.Kind == KindVirtualHost || id.Kind == KindRoutes || id.Kind == KindFilter:
		return Group{ID: id, Type: c.Type, Namespace: c.Namespace}
	case id.Kind == KindSecret:
		return Group{ID: id, Type: c.Type, Plain: c.Plain}
	default:
		return Group{ID: id}
	}
}

// Classes tells the callers of a group apart as far as a view reads them: by which rules and policies are for them. In
// most groups there is one class, so that a view is cut once for all callers.
type Classes struct {
	sources []mesh.SourceMatch // that rules and policies ask for, each once
	address bool               // the caller's own address counts
	whole   bool               // everything about the caller counts
}

// ClassesOf returns the classes of the callers in a group, and the keys of everything that was looked for, sorted.
func ClassesOf(s *mesh.Snapshot, g Group) (Classes, []mesh.Key) {
	r := &reader{snapshot: s, keys: map[mesh.Key]struct{}{}}
	var classes Classes
	switch {
	case g.ID.isList() || g.Type == mesh.Ingress && g.ID.Kind != KindSecret:
		return Classes{whole: true}, nil
	case g.Type == "" || g.ID.Kind == KindSecret || g.ID.Kind == KindListener:
		return classes, nil
	case g.ID.IsDialled():
		if at, ok := parseDialled(g.ID.Name); ok {
			if host, _ := r.serviceAt(at); host != "" {
				classes.read(r, host)
			}
		}
	case g.ID == InitHost():
	case g.ID.Kind == KindVirtualHost:
		v := VirtualHost{}
		if r.resolve(&v, g.Namespace, g.ID.Name); v.Protocol == "" {
			break
		}
		classes.read(r, v.ruleHosts()...)
	case strings.HasPrefix(g.ID.Name, outsidePrefix):
		port, _ := parseOutside(g.ID.Name)
		for _, rule := range r.outside(port) {
			classes.read(r, rule.Destination)
		}
	default:
		for _, prefix := range []string{localPrefix, callPrefix, capturedPrefix} {
			if host, _, ok := parsePlace(g.ID.Name, prefix); ok {
				classes.read(r, host)
			}
		}
	}
	classes.address = classes.address && (g.ID.Kind == KindFilter || g.ID.IsDialled() || g.Type == mesh.Proxyless) // no other view reads it
	return classes, slices.SortedFunc(maps.Keys(r.keys), mesh.Key.Compare)
}

// read collects what the rules of hosts, and the policies of all hosts that these name, ask of a caller.
func (k *Classes) read(r *reader, hosts ...mesh.Host) {
	named := map[mesh.Host]bool{hosts[0]: true}
	for _, rule := range r.allRules(hosts...) {
		k.source(rule.Source)
		k.address = k.address || rule.TCP != nil
		rule.AddHosts(named)
	}
	for _, h := range slices.Sorted(maps.Keys(named)) {
		for _, p := range r.policiesFor(h) {
			k.source(p.Source)
		}
	}
	slices.SortFunc(k.sources, func(a, b mesh.SourceMatch) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Labels.String(), b.Labels.String()))
	})
}

func (k *Classes) source(s *mesh.SourceMatch) {
	if s != nil && !slices.ContainsFunc(k.sources, s.Equal) {
		k.sources = append(k.sources, *s)
	}
}

// Equal tells whether two classes tell callers apart in the same way.
func (k Classes) Equal(o Classes) bool {
	return k.address == o.address && k.whole == o.whole &&
		slices.EqualFunc(k.sources, o.sources, func(a, b mesh.SourceMatch) bool { return a.Equal(b) })
}

// Of names the class of a caller: callers of one group and class get equal views.
func (k Classes) Of(c Caller) string {
	if k.whole {
		c.Proxy, c.Address, c.Further, c.Plain, c.Captured = "", "", nil, false, "" // which no such view reads
		return c.Key()
	}
	class := make([]byte, 0, len(k.sources)+len(c.Address))
	for i := range k.sources {
		bit := byte('0')
		if c.meets(&k.sources[i]) {
			bit = '1'
		}
		class = append(class, bit)
	}
	if k.address {
		class = append(class, strings.Join(append([]string{c.Address}, c.Further...), " ")...)
	}
	return string(class)
}
