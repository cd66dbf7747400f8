package store

import (
	"cmp"
	"maps"
	"slices"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// parts returns the keys of the parts of a snapshot that a meaning has a say in. A key may stand there several times.
func parts(m *config.Meaning) []mesh.Key {
	var keys []mesh.Key
	for _, r := range m.Rules {
		keys = append(keys, mesh.Key{Kind: mesh.KindRules, Name: string(r.Destination)})
	}
	for _, p := range m.Policies {
		keys = append(keys, policyKey(p))
	}
	for _, r := range m.Egress {
		keys = append(keys, egressKey(r))
	}
	if len(m.Doors)+len(m.DoorTLS) > 0 {
		keys = append(keys, mesh.Key{Kind: mesh.KindDoor})
	}
	for _, c := range m.Certificates {
		keys = append(keys, mesh.Key{Kind: mesh.KindSecret, Name: c.Path()})
	}
	return keys
}

func policyKey(p *mesh.DestinationPolicy) mesh.Key {
	return mesh.Key{Kind: mesh.KindPolicies, Name: string(p.Destination)}
}

// egressKey returns the key of the part in which the rule stands: that of its host, or that of all patterns.
func egressKey(r *mesh.EgressRule) mesh.Key {
	if r.IsPattern() {
		return mesh.Key{Kind: mesh.KindEgress}
	}
	return mesh.Key{Kind: mesh.KindEgress, Name: string(r.Destination)}
}

// remake puts into the draft what the objects and the registries now say about a part.
func (f *fold) remake(d *mesh.Draft, k mesh.Key) {
	switch host := mesh.Host(k.Name); k.Kind {
	case mesh.KindService:
		d.SetService(host, f.serviceOf(host))
	case mesh.KindEndpoints:
		d.SetEndpoints(host, f.endpointsOf(host))
	case mesh.KindWorkload:
		d.SetWorkload(mesh.ProxyID(k.Name), f.workloadOf(mesh.ProxyID(k.Name)))
	case mesh.KindSettings:
		d.SetSettings(f.settingsOf())
	case mesh.KindRules:
		d.SetRules(host, rulesOf(host, f.speakers(k)))
	case mesh.KindPolicies:
		d.SetPolicies(host, policiesOf(host, f.speakers(k)))
	case mesh.KindEgress:
		f.remakeEgress(d, k)
	case mesh.KindDoor:
		d.SetDoor(doorOf(f.speakers(k)))
	case mesh.KindSecret:
		d.SetCertificate(k.Name, cmp.Or(certificateOf(k.Name, f.speakers(k)), f.registeredCertificate(k.Name)))
	}
}

func (f *fold) remakeEgress(d *mesh.Draft, k mesh.Key) {
	rules := egressOf(k, f.speakers(k))
	switch {
	case k.Name == "" && len(rules) > 0:
		d.SetEgressPatterns(mesh.NewEgressPatterns(rules))
	case k.Name == "":
		d.SetEgressPatterns(nil)
	case len(rules) > 0:
		d.SetEgress(mesh.Host(k.Name), rules[0])
	default:
		d.SetEgress(mesh.Host(k.Name), nil)
	}
}

// speakers returns the meanings that have a say in a part, by object.
func (f *fold) speakers(k mesh.Key) []*config.Meaning {
	entries := f.speaking(k)
	meanings := make([]*config.Meaning, len(entries))
	for i, e := range entries {
		meanings[i] = &e.meaning
	}
	return meanings
}

// speaking returns the entries that have a say in a part, by object.
func (f *fold) speaking(k mesh.Key) []*entry {
	return slices.SortedFunc(maps.Keys(f.index[k]), func(a, b *entry) int { return a.object.Compare(b.object.Ref) })
}

func rulesOf(h mesh.Host, meanings []*config.Meaning) *mesh.RuleSet {
	var rules []*mesh.RouteRule
	for _, m := range meanings {
		for _, r := range m.Rules {
			if r.Destination == h {
				rules = append(rules, r)
			}
		}
	}
	if len(rules) == 0 {
		return nil
	}
	return mesh.NewRuleSet(h, rules)
}

// policiesOf returns the policies that count for a host: of those about the same, the first.
func policiesOf(h mesh.Host, meanings []*config.Meaning) *mesh.PolicySet {
	var policies []*mesh.DestinationPolicy
	taken := map[policySubject]bool{}
	for _, m := range meanings {
		for _, p := range m.Policies {
			if p.Destination == h && !taken[subjectOf(p)] {
				taken[subjectOf(p)] = true
				policies = append(policies, p)
			}
		}
	}
	if len(policies) == 0 {
		return nil
	}
	return mesh.NewPolicySet(h, policies)
}

// egressOf returns the rules that count for a part: of those with the same destination, the first.
func egressOf(k mesh.Key, meanings []*config.Meaning) []*mesh.EgressRule {
	var rules []*mesh.EgressRule
	taken := map[mesh.Host]bool{}
	for _, m := range meanings {
		for _, r := range m.Egress {
			if egressKey(r) == k && !taken[r.Destination] {
				taken[r.Destination] = true
				rules = append(rules, r)
			}
		}
	}
	return rules
}

func certificateOf(path string, meanings []*config.Meaning) *mesh.Certificate {
	for _, m := range meanings {
		for _, c := range m.Certificates {
			if c.Path() == path {
				return c
			}
		}
	}
	return nil
}

// doorOf returns what all Ingress objects say, in the order in which it is tried, or nil.
func doorOf(meanings []*config.Meaning) *mesh.Door {
	door := &mesh.Door{}
	for _, m := range meanings {
		door.Rules = append(door.Rules, m.Doors...)
		door.TLS = append(door.TLS, m.DoorTLS...)
	}
	if len(door.Rules)+len(door.TLS) == 0 {
		return nil
	}
	slices.SortStableFunc(door.Rules, compareDoorRules) // equal ones stay in the order of their object
	return door
}

// compareDoorRules orders as [mesh.Door] tells.
func compareDoorRules(a, b *mesh.DoorRule) int {
	return cmp.Or(
		compareBools(a.Default, b.Default),
		cmp.Compare(pathRank(a.Path.Kind), pathRank(b.Path.Kind)),
		cmp.Compare(len(b.Path.Value), len(a.Path.Value)),
		cmp.Compare(a.Path.Value, b.Path.Value),
		cmp.Compare(a.Path.Kind, b.Path.Kind),
		a.Object.Compare(b.Object),
	)
}

// pathRank is the order in which kinds of paths are tried. Prefixes of both kinds are tried by length.
func pathRank(kind mesh.MatchKind) int {
	switch kind {
	case mesh.MatchExact:
		return 0
	case mesh.MatchRegex:
		return 1
	default:
		return 2
	}
}

// compareBools orders false before true.
func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}
