package store

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// matches compares what route rules take. It errs on the side of silence where it cannot tell: "covers" is true only when
// it is proven, "overlap" is false only when the opposite is.
type matches struct {
	compiled map[string]mesh.Pattern // by expression
	left     int                     // steps of expressions that may be taken yet
}

// mostSteps bounds the work of a review: about a second. Beyond it nothing that needs an expression is told.
const mostSteps = 100_000_000

// covers tells whether every request that b takes is one that a takes.
func (m *matches) covers(a, b *mesh.RouteRule) bool {
	return coversSource(a.Source, b.Source) && coversTCP(a.TCP, b.TCP) && m.coversURI(a.URI, b.URI) &&
		!slices.ContainsFunc(a.Headers, func(h mesh.HeaderMatch) bool {
			return !slices.ContainsFunc(b.Headers, func(o mesh.HeaderMatch) bool {
				return h.Name == o.Name && m.coversText(h.StringMatch, o.StringMatch)
			})
		})
}

// overlap tells whether there may be a request that both take.
func (m *matches) overlap(a, b *mesh.RouteRule) bool {
	return overlapSource(a.Source, b.Source) && overlapTCP(a.TCP, b.TCP) && m.overlapURI(a.URI, b.URI) &&
		!slices.ContainsFunc(a.Headers, func(h mesh.HeaderMatch) bool {
			return slices.ContainsFunc(b.Headers, func(o mesh.HeaderMatch) bool {
				return h.Name == o.Name && !m.overlapText(h.StringMatch, o.StringMatch)
			})
		})
}

func coversSource(a, b *mesh.SourceMatch) bool {
	if a == nil {
		return true
	}
	return b != nil && (a.Host == "" || a.Host == b.Host) && a.Labels.Select(b.Labels)
}

// overlapSource takes a caller to serve one host: those that serve several are rare.
func overlapSource(a, b *mesh.SourceMatch) bool {
	if a == nil || b == nil {
		return true
	}
	if a.Host != "" && b.Host != "" && a.Host != b.Host {
		return false
	}
	for key, value := range a.Labels {
		if other, ok := b.Labels[key]; ok && other != value {
			return false
		}
	}
	return true
}

func coversTCP(a, b *mesh.TCPMatch) bool {
	if a == nil {
		return true
	}
	return b != nil && coversNetworks(a.Sources, b.Sources) && coversNetworks(a.Destinations, b.Destinations)
}

func overlapTCP(a, b *mesh.TCPMatch) bool {
	return a == nil || b == nil || (overlapNetworks(a.Sources, b.Sources) && overlapNetworks(a.Destinations, b.Destinations))
}

// coversNetworks tells whether each network of b lies in one of a; none at all stands for every address.
func coversNetworks(a, b []string) bool {
	if len(a) == 0 {
		return true
	}
	inner := prefixes(b)
	outer := prefixes(a)
	return len(inner) > 0 && !slices.ContainsFunc(inner, func(i netip.Prefix) bool {
		return !slices.ContainsFunc(outer, func(o netip.Prefix) bool { return o.Bits() <= i.Bits() && o.Contains(i.Addr()) })
	})
}

func overlapNetworks(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return true
	}
	others := prefixes(b)
	return slices.ContainsFunc(prefixes(a), func(p netip.Prefix) bool { return slices.ContainsFunc(others, p.Overlaps) })
}

func prefixes(networks []string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range networks {
		if p, err := netip.ParsePrefix(text); err == nil {
			all = append(all, p.Masked())
		}
	}
	return all
}

func (m *matches) coversURI(a, b *mesh.StringMatch) bool {
	return isEveryPath(a) || (b != nil && m.coversText(*a, *b))
}

func (m *matches) overlapURI(a, b *mesh.StringMatch) bool {
	return isEveryPath(a) || isEveryPath(b) || m.overlapText(*a, *b)
}

// isEveryPath tells whether the match takes every path: each begins with "/".
func isEveryPath(m *mesh.StringMatch) bool {
	return m == nil || (m.Value == "/" && (m.Kind == mesh.MatchPrefix || m.Kind == mesh.MatchElements))
}

// coversText tells whether a takes every text that b takes.
func (m *matches) coversText(a, b mesh.StringMatch) bool {
	switch {
	case a == b:
		return true
	case b.Kind == mesh.MatchExact:
		return m.takes(a, b.Value)
	case b.Kind == mesh.MatchRegex:
		return false
	case a.Kind == mesh.MatchPrefix:
		return strings.HasPrefix(b.Value, a.Value)
	default:
		return a.Kind == mesh.MatchElements && strings.HasPrefix(b.Value, a.Value+"/")
	}
}

// overlapText tells whether there may be a text that both take.
func (m *matches) overlapText(a, b mesh.StringMatch) bool {
	switch {
	case a.Kind == mesh.MatchExact:
		return m.takes(b, a.Value)
	case b.Kind == mesh.MatchExact:
		return m.takes(a, b.Value)
	case a.Kind == mesh.MatchRegex || b.Kind == mesh.MatchRegex:
		return true
	default:
		return m.coversText(a, b) || m.coversText(b, a)
	}
}

// takes tells whether the match takes the text. Expressions are compiled once: many rules are compared with many.
func (m *matches) takes(match mesh.StringMatch, text string) bool {
	if match.Kind != mesh.MatchRegex {
		return match.Takes(text)
	}
	pattern, known := m.compiled[match.Value]
	if !known {
		pattern, _ = mesh.CompilePattern(match.Value) // one that is none takes nothing; a dialect lets none through
		m.compiled[match.Value] = pattern
	}
	if m.left -= pattern.Cost(len(text)); m.left < 0 {
		return false
	}
	return pattern.Takes(text)
}
