package view

import (
	"reflect"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Owner is an object that has a say in a view: whose fault it is when a proxy refuses what came of it.
type Owner struct {
	Object mesh.Ref      `json:"object"`
	Origin mesh.Position `json:"origin"` // zero: it does not stand in a file
	says   any           // without its place
}

// Owners lists the objects that made a view what it is: rules, policies and the like; where none has a say, the service. What follows
// from a workload alone has none: many may share it.
func Owners(v View) []Owner {
	var o owners
	switch v := v.(type) {
	case VirtualHost:
		o.rules(v.Rules)
		o.policies(v.Policies)
		o.egress(v.Egress)
		o.orService(v.Host)
	case LocalRoutes:
		o.rules(v.Rules)
		o.policies(v.Policies)
		o.orService(v.Host)
	case CallRoutes:
		o.rules(v.Rules)
		o.policies(v.Policies)
		o.orService(v.Host)
	case Target:
		o.orService(v.Host)
	case LocalBytes:
		o.rules(v.Rules)
		o.policies(v.Policies)
		o.orService(v.Host)
	case Door:
		o.door(v)
	case Cluster:
		o.destinationPolicies(v.Policies)
		if v.Outside != nil {
			o.egress(v.Outside.Rule)
		}
		o.orService(v.Subset.Host)
	case Endpoints:
		o.orService(v.Subset.Host)
	case Secret:
		namespace, name, _ := strings.Cut(v.Name, "/")
		o.add(mesh.Ref{Kind: "Secret", Namespace: namespace, Name: name}, mesh.Position{}, v.Chain+v.Key.String())
	case DoorListener:
		for _, c := range v.TLS {
			namespace, name, _ := strings.Cut(c.Secret, "/")
			o.add(mesh.Ref{Kind: "Secret", Namespace: namespace, Name: name}, mesh.Position{}, c)
		}
	default:
		o.captured(v)
	}
	return o
}

// captured adds the owners of what only captured workloads have.
func (o *owners) captured(v View) {
	switch v := v.(type) {
	case DialledCluster:
		o.rules(v.Rules)
		o.policies(v.Policies)
		for _, way := range v.Ways {
			o.destinationPolicies(way.Policies)
		}
		o.orService(v.Host)
	case DialledEndpoints:
		o.rules(v.Rules)
		o.orService(v.Host)
	case Scope:
		o.orService(v.Host)
	case OutsideRoutes:
		for _, h := range v.Hosts {
			o.rules(h.Rules)
			o.policies(h.Policies)
			o.egress(h.Egress)
		}
	}
}

// Changed lists the owners of a view that were none of the view before, or said something else in it. When there are
// none, or no view before (nil), it lists all.
func Changed(v, before View) []Owner {
	all := Owners(v)
	if before == nil {
		return all
	}
	old := Owners(before)
	changed := slices.DeleteFunc(slices.Clone(all), func(o Owner) bool {
		return slices.ContainsFunc(old, func(b Owner) bool { return b.Object == o.Object && reflect.DeepEqual(b.says, o.says) })
	})
	if len(changed) == 0 {
		return all
	}
	return changed
}

// Altered lists the objects that say something else in a view than in the one before (nil: there was none), or said nothing in it.
func Altered(v, before View) []mesh.Ref {
	old := map[mesh.Ref][]any{}
	if before != nil {
		for _, o := range Owners(before) {
			old[o.Object] = append(old[o.Object], o.says)
		}
	}
	var altered []mesh.Ref
	for _, o := range Owners(v) {
		if !slices.ContainsFunc(old[o.Object], func(says any) bool { return reflect.DeepEqual(says, o.says) }) {
			altered = append(altered, o.Object)
		}
	}
	return altered
}

type owners []Owner

func (o *owners) add(object mesh.Ref, origin mesh.Position, says any) {
	*o = append(*o, Owner{object, origin, says})
}

func (o *owners) rules(rules []*mesh.RouteRule) {
	for _, r := range rules {
		says := *r
		says.Origin = mesh.Position{}
		o.add(r.Object, r.Origin, says)
	}
}

func (o *owners) policies(policies []Policy) {
	for _, p := range policies {
		says := p
		says.Origin = mesh.Position{}
		o.add(p.Object, p.Origin, says)
	}
}

func (o *owners) destinationPolicies(policies []*mesh.DestinationPolicy) {
	for _, p := range policies {
		says := *p
		says.Origin = mesh.Position{}
		o.add(p.Object, p.Origin, says)
	}
}

func (o *owners) egress(r *mesh.EgressRule) {
	if r != nil {
		says := *r
		says.Origin = mesh.Position{}
		o.add(r.Object, r.Origin, says)
	}
}

func (o *owners) door(v Door) {
	for _, h := range v.Hosts {
		for _, p := range h.Paths {
			says := *p.Rule
			says.Origin = mesh.Position{}
			o.add(p.Rule.Object, p.Rule.Origin, says)
			o.rules(p.Rules)
			o.policies(p.Policies)
		}
	}
}

// orService adds the service of a host if there is no owner yet.
func (o *owners) orService(h mesh.Host) {
	if len(*o) > 0 || h == "" {
		return
	}
	ref := mesh.Ref{Kind: "Service", Name: string(h)}
	if parts := strings.SplitN(string(h), ".", 4); len(parts) == 4 && parts[2] == "svc" {
		ref.Name, ref.Namespace = parts[0], parts[1]
	}
	o.add(ref, mesh.Position{}, h)
}
