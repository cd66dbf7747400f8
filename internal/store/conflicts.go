package store

import (
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// conflicts tells which of the entries that have a say in a part are not applied there, since one before them, by kind,
// namespace and name, says something about the same thing.
func conflicts(k mesh.Key, entries []*entry) []mesh.Problem {
	var problems []mesh.Problem
	rules, policies := map[mesh.Host]mesh.Ref{}, map[policySubject]mesh.Ref{}
	for _, e := range entries {
		for _, rule := range e.meaning.Egress {
			if egressKey(rule) != k {
				continue
			}
			if first, taken := rules[rule.Destination]; taken {
				problems = append(problems, beaten(e.object, config.CodeDuplicateDestination, "is not applied: %s has the same destination", first))
			} else {
				rules[rule.Destination] = e.object.Ref
			}
		}
		for _, p := range e.meaning.Policies {
			if policyKey(p) != k {
				continue
			}
			if first, taken := policies[subjectOf(p)]; taken {
				problems = append(problems, beaten(e.object, config.CodeDuplicatePolicy,
					"is not applied: %s is for the same destination, labels and source", first))
			} else {
				policies[subjectOf(p)] = e.object.Ref
			}
		}
	}
	return problems
}

// policySubject is what a policy is about: of two about the same the first counts.
type policySubject struct {
	host, caller      mesh.Host
	labels, ofCallers string
	everyCaller       bool
}

func subjectOf(p *mesh.DestinationPolicy) policySubject {
	subject := policySubject{host: p.Destination, labels: p.Labels.String(), everyCaller: p.Source == nil}
	if p.Source != nil {
		subject.caller, subject.ofCallers = p.Source.Host, p.Source.Labels.String()
	}
	return subject
}

func beaten(o *config.Object, code, format string, first mesh.Ref) mesh.Problem {
	field := "spec.destination"
	if o.Has(field + ".service") {
		field += ".service"
	}
	p := o.Problem(code, field, format, first)
	p.Hint = "of such objects the first by namespace and name counts: make one of them, or remove one"
	return p
}
