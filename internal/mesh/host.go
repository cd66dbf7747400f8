// Package mesh is the vocabulary of Lateen: what runs, what may call what, what the user asked for, and the
// [Snapshot] of all of it at one moment.
//
// Sources and dialects produce these values, the store folds them into a Snapshot, and every later stage reads
// nothing else. Values are immutable once they stand in a Snapshot: whoever wants another value makes a new one,
// and an unchanged part keeps its pointer, so that "did this change?" is a pointer comparison.
//
// The package knows no files, no clock, no network, no Kubernetes and no Envoy.
package mesh

import (
	"slices"
	"strings"
)

// Host is a service by its full name, such as "reviews.default.svc.cluster.local", or an external name.
// It is lower case and carries no port.
type Host string

// ServiceHost returns the full name of service name in namespace under domain ("cluster.local").
func ServiceHost(name, namespace, domain string) Host {
	return Host(name + "." + namespace + ".svc." + domain)
}

// Candidates returns the hosts that name may mean for a caller in namespace, best first: a bare name is a
// service of the caller's namespace, "a.b" a service a in namespace b, and every name may also be complete as
// it stands. The name must be lower case, without port.
func Candidates(name, namespace, domain string) []Host {
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return nil
	}
	var hosts []Host
	switch parts := strings.Split(name, "."); {
	case len(parts) == 1:
		hosts = append(hosts, ServiceHost(name, namespace, domain))
	case len(parts) == 2:
		hosts = append(hosts, ServiceHost(parts[0], parts[1], domain))
	case len(parts) == 3 && parts[2] == "svc":
		hosts = append(hosts, Host(name+"."+domain))
	}
	if full := Host(name); !slices.Contains(hosts, full) {
		hosts = append(hosts, full)
	}
	return hosts
}
