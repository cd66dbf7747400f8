package mesh

import (
	"cmp"
	"slices"
	"strconv"
)

// Outside are the egress rules that let requests through to one port, each with another destination. A snapshot finds them out from all
// egress rules.
type Outside struct {
	Rules []*EgressRule `json:"rules"` // sorted by destination
}

// OutsidePorts are those for which there is an [Outside].
type OutsidePorts struct {
	Ports []int `json:"ports"` // sorted
}

// Outside returns the egress rules for requests to a port, or nil.
func (s *Snapshot) Outside(port int) *Outside {
	return part[Outside](s, outsideKey(port))
}

// OutsidePorts returns the ports for which egress rules let requests through, sorted.
func (s *Snapshot) OutsidePorts() []int {
	if p := part[OutsidePorts](s, Key{Kind: KindOutside}); p != nil {
		return p.Ports
	}
	return nil
}

func outsideKey(port int) Key { return Key{KindOutside, strconv.Itoa(port)} }

// TakesRequests tells whether the proxy reads what goes to a port of a host outside the mesh as requests.
func (p Port) TakesRequests() bool { return p.Protocol.IsHTTP() || p.Protocol == HTTPS }

// indexOutside makes the parts anew that follow from egress rules which the draft changes.
func (d *Draft) indexOutside() {
	// Rules are known by their destinations: a part may hold an equal rule that is another object.
	before, after := map[Host]bool{}, []*EgressRule{}
	next := map[int][]*EgressRule{} // of the ports that may change
	for k, now := range d.changed {
		if k.Kind != KindEgress {
			continue
		}
		for _, rule := range egressRules(d.base.shards[k.shard()][k]) {
			before[rule.Destination] = true
			d.outsideOf(rule, next)
		}
		for _, rule := range egressRules(now) {
			after = append(after, rule)
			d.outsideOf(rule, next)
		}
	}
	if len(next) == 0 {
		return
	}
	ports := d.base.OutsidePorts()
	for number, rules := range next {
		rules = slices.DeleteFunc(rules, func(r *EgressRule) bool { return before[r.Destination] })
		for _, rule := range after {
			if p, ok := rule.Port(number); ok && p.TakesRequests() {
				rules = append(rules, rule)
			}
		}
		ports = d.setOutside(number, rules, ports)
	}
	if len(ports) == 0 {
		set[OutsidePorts](d, Key{Kind: KindOutside}, nil)
		return
	}
	slices.Sort(ports)
	set(d, Key{Kind: KindOutside}, &OutsidePorts{Ports: ports})
}

// outsideOf adds the rules that there are so far for the ports that a rule names for requests.
func (d *Draft) outsideOf(rule *EgressRule, next map[int][]*EgressRule) {
	for _, p := range rule.Ports {
		if _, known := next[p.Number]; !known && p.TakesRequests() {
			next[p.Number] = slices.Clone(d.base.outsideRules(p.Number))
		}
	}
}

// setOutside puts the rules for a port, or removes them, and returns the ports with it or without.
func (d *Draft) setOutside(number int, rules []*EgressRule, ports []int) []int {
	ports = slices.DeleteFunc(slices.Clone(ports), func(p int) bool { return p == number })
	if len(rules) == 0 {
		set[Outside](d, outsideKey(number), nil)
		return ports
	}
	slices.SortFunc(rules, func(a, b *EgressRule) int { return cmp.Compare(a.Destination, b.Destination) })
	set(d, outsideKey(number), &Outside{Rules: rules})
	return append(ports, number)
}

func (s *Snapshot) outsideRules(port int) []*EgressRule {
	if o := s.Outside(port); o != nil {
		return o.Rules
	}
	return nil
}

// egressRules returns the rules in a part of [KindEgress].
func egressRules(value any) []*EgressRule {
	switch v := value.(type) {
	case *EgressRule:
		return []*EgressRule{v}
	case *EgressPatterns:
		return v.Rules
	}
	return nil
}
