package capture

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

type (
	userValue     uint32
	portValue     uint16
	rangesValue   []netip.Prefix
	excludedValue []netip.Prefix
	portsValue    []uint16
	takenValue    []uint16
	backendValue  Backend
	familiesValue []Family
)

func (v *userValue) String() string { return strconv.FormatUint(uint64(*v), 10) }

func (v *userValue) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 || n == 1<<32-1 {
		return fmt.Errorf("%q is no user ID of a proxy: it has one of its own that is not 0", text)
	}
	*v = userValue(n)
	return nil
}

func (v *portValue) String() string { return strconv.Itoa(int(*v)) }

func (v *portValue) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is no port", text)
	}
	*v = portValue(n)
	return nil
}

func (v *rangesValue) String() string {
	texts := make([]string, len(*v))
	for i, p := range *v {
		texts[i] = p.String()
	}
	return strings.Join(texts, ",")
}

// Set takes networks and single addresses. Without any, and with "*" among them, all are meant.
func (v *rangesValue) Set(text string) error {
	all, everything, err := parseRanges(text)
	if everything {
		all = nil
	}
	*v = all
	return err
}

func (v *excludedValue) String() string { return (*rangesValue)(v).String() }

// Set takes networks and single addresses, and "*" for all.
func (v *excludedValue) Set(text string) error {
	all, everything, err := parseRanges(text)
	if everything {
		all = slices.Clone(everywhere)
	}
	*v = all
	return err
}

// everywhere is every destination.
var everywhere = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}

// parseRanges reads networks, and tells whether they are every destination.
func parseRanges(text string) (all []netip.Prefix, everything bool, err error) {
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		if word == "" || word == "*" {
			everything = everything || word == "*"
			continue
		}
		p, err := parseRange(word)
		if err != nil {
			return nil, false, err
		}
		all = append(all, p)
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all), everything, nil
}

// parseRange reads a network or an address.
func parseRange(word string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(word); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(word)
	if err != nil {
		return p, fmt.Errorf("%q is no network, such as 10.96.0.0/16 or fd00::/108", word)
	}
	return p.Masked(), nil
}

func (v *familiesValue) String() string {
	texts := make([]string, len(*v))
	for i, f := range *v {
		texts[i] = string(f)
	}
	return strings.Join(texts, ",")
}

// Set takes addresses, of which only the families count. Without any, nothing is said.
func (v *familiesValue) Set(text string) error {
	var all []Family
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		a, err := netip.ParseAddr(word)
		if err != nil {
			return fmt.Errorf("%q is no IP address", word)
		}
		for _, f := range families {
			if f.has(a.Unmap()) && !slices.Contains(all, f) {
				all = append(all, f)
			}
		}
	}
	*v = all
	return nil
}

func (v *portsValue) String() string {
	texts := make([]string, len(*v))
	for i, p := range *v {
		texts[i] = strconv.Itoa(int(p))
	}
	return strings.Join(texts, ",")
}

func (v *portsValue) Set(text string) error {
	all, err := mesh.ParsePorts(text)
	if err != nil {
		return err
	}
	*v = all
	return nil
}

func (v *takenValue) String() string { return (*portsValue)(v).String() }

// Set takes ports; "*" stands for all, and without any none is meant.
func (v *takenValue) Set(text string) error {
	if strings.TrimSpace(text) == "*" {
		*v = nil
		return nil
	}
	return (*portsValue)(v).Set(text)
}

func (v *backendValue) String() string { return string(*v) }

func (v *backendValue) Set(text string) error {
	switch b := Backend(text); b {
	case Auto, NFTables, IPTables:
		*v = backendValue(b)
		return nil
	default:
		return fmt.Errorf("there is no backend %q, but auto, nftables and iptables", text)
	}
}
