// Package view cuts a [mesh.Snapshot] down to what one resource for one proxy depends on.
//
// A view is the cache key of everything made from it: the stages after this one get the view and nothing else, so a
// resource that was made once may be used wherever an equal view comes up. Two things keep that true. [Cut] is given
// only the facts about the proxy that the kind of resource may read ([Caller.Project]). And it reports every part of
// the snapshot that it looked for, found or not, so that a later change of one of them leads back to the view.
//
// The package is pure: same snapshot, same caller, same bytes.
package view

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Caller holds the facts about a proxy that views may read. Proxies with equal facts but for Proxy form a scope and
// share everything that is not a proxy's own.
type Caller struct {
	Proxy     mesh.ProxyID   `json:"proxy,omitempty"`
	Type      mesh.ProxyType `json:"type,omitempty"`
	Namespace string         `json:"namespace,omitempty"`
	Account   string         `json:"account,omitempty"`
	Labels    mesh.Labels    `json:"labels,omitempty"`
	Serves    []Served       `json:"serves,omitempty"`  // sorted
	Address   string         `json:"address,omitempty"` // its own: known only where bytes are steered by it
	Further   []string       `json:"further,omitempty"` // its other addresses, known as that one
	Plain     bool           `json:"plain,omitempty"`   // it has no identity, so it can only speak and take plain text
	Captured  Families       `json:"captured,omitempty"`
}

// Served is one service port that the caller's workload answers for.
type Served struct {
	Host mesh.Host `json:"host"`
	Port int       `json:"port"`
}

// CallerOf returns the facts about the proxy beside the workload.
func CallerOf(w *mesh.Workload) Caller {
	c := Caller{Proxy: w.ID(), Type: w.Type, Namespace: w.Namespace, Account: w.Account, Labels: w.Labels, Address: w.Address, Further: w.Further}
	c.Plain = w.Type == mesh.Proxyless // its library speaks TLS only if the program asks it to
	if w.Type == mesh.Sidecar && w.Capture {
		c.Captured = familiesOf(w)
	}
	for _, s := range w.Serves {
		c.Serves = append(c.Serves, Served{Host: s.Host, Port: s.Port})
	}
	slices.SortFunc(c.Serves, func(a, b Served) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
	})
	return c
}

// Project returns the caller with only the facts that views of the resource may read. Endpoints read none, and clusters
// only whether it has an identity, so they are cut once or twice for the whole mesh; what all captured workloads have, of which families their
// addresses are; a proxy's own resources read its workload and are cut once each.
func (c Caller) Project(id ID) Caller {
	if c.common(id) {
		return Caller{Captured: c.Captured}
	}
	c.Captured = ""
	switch {
	case c.own(id):
		return Caller{Proxy: c.Proxy, Plain: c.Plain}
	case id.IsDialled(): // which rules may match by its address
		c.Proxy, c.Plain = "", c.Plain && id.Kind == KindCluster
		return c
	case id.Kind == KindCluster && !id.isList():
		return Caller{Plain: c.Plain}
	case id.isList():
		c.Proxy, c.Address, c.Further, c.Plain = "", "", nil, false
		return c
	case c.Type == mesh.Proxyless && id.Kind == KindListener:
		return Caller{Type: c.Type, Namespace: c.Namespace}
	case c.Type == mesh.Proxyless && id.Kind == KindRoutes: // which rules may match by its address
		c.Proxy, c.Plain = "", false
		return c
	case id.Kind == KindVirtualHost || id.Kind == KindRoutes:
		c.Proxy, c.Address, c.Further, c.Plain = "", "", nil, false
		return c
	case id.Kind == KindSecret:
		return Caller{Type: c.Type, Plain: c.Plain}
	case id.Kind == KindFilter:
		c.Proxy, c.Plain = "", false
		return c
	default:
		return Caller{}
	}
}

// Key returns a name for the facts: equal facts, equal names.
func (c Caller) Key() string { return Hash(c) }

// serves tells whether the caller's workload belongs to the host.
func (c Caller) serves(h mesh.Host) bool {
	return slices.ContainsFunc(c.Serves, func(s Served) bool { return s.Host == h })
}

// Hash returns a short name for the content of a view or of a caller's facts: 128 bits of the SHA-256 of its JSON.
func Hash(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("view %T cannot be written as JSON: %v", v, err)) // a mistake in this package's types
	}
	sum := sha256.Sum256(fmt.Appendf(text, "%T", v))
	return fmt.Sprintf("%x", sum[:16])
}
