package meshconfig

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Bounds of durations.
const (
	longestConnect = 30 * time.Second
	shortestDelay  = time.Second
	longestDelay   = 10 * time.Minute
	longestDrain   = time.Hour
)

const dnsPort = 53

// ConnectTimeout reads how long a connection is waited for: 1ms to 30s, in whole milliseconds.
func ConnectTimeout(c *config.Check, field string, d *config.Duration) mesh.Duration {
	span := c.Span(field, d)
	if span > longestConnect {
		c.Tell(mesh.Problem{Field: field, Code: config.CodeOutOfRange, Message: "a connection is waited for from 1ms to 30s"})
	}
	return mesh.Duration(span)
}

// Resolvers reads addresses of DNS servers, "IP" or "IP:PORT", and returns them as "IP:PORT".
func Resolvers(c *config.Check, field string, list []string) []string {
	var all []string
	for i, text := range list {
		address, ok := resolver(text)
		if !ok {
			invalid(c, config.Item(field, i), "a resolver is an IP address, with or without a port", `write it as "192.0.2.1" or "192.0.2.1:53"`)
		}
		all = append(all, address)
	}
	return all
}

func resolver(text string) (string, bool) {
	if ip, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(ip, dnsPort).String(), ip.Zone() == ""
	}
	address, err := netip.ParseAddrPort(text)
	return address.String(), err == nil && address.Port() != 0 && address.Addr().Zone() == ""
}

// AuthPolicy reads how callers prove who they are, or reports that the word is no policy.
func AuthPolicy(c *config.Check, field, text string) mesh.AuthPolicy {
	var words []string
	for _, p := range mesh.AuthPolicies() {
		if words = append(words, string(p)); text == string(p) {
			return p
		}
	}
	invalid(c, field, strconv.Quote(text)+" is no policy", config.Suggest(text, "policies", words))
	return ""
}

func invalid(c *config.Check, field, message, hint string) {
	c.Tell(mesh.Problem{Field: field, Code: config.CodeInvalidValue, Message: message, Hint: hint})
}

// reader checks one document.
type reader struct {
	config.Check
	domain string
}

// oneOf checks a word that has no meaning today, or its number in the protocol.
func (r *reader) oneOf(field string, w *word, numbers map[string]string) {
	words := slices.Sorted(maps.Values(numbers))
	if w != nil && !slices.Contains(words, w.of(numbers)) {
		invalid(&r.Check, field, fmt.Sprintf("%.80q is none of %s", *w, strings.Join(words, ", ")), config.Suggest(string(*w), "", words))
	}
}

// address checks "HOST:PORT" of what is asked over the network; "" where that may be.
func (r *reader) address(field string, text *string, mayBeEmpty bool) {
	if text == nil || (*text == "" && mayBeEmpty) {
		return
	}
	i := strings.LastIndexByte(*text, ':')
	host, port := *text, ""
	if i >= 0 {
		host, port = (*text)[:i], (*text)[i+1:]
	}
	number, err := strconv.Atoi(port)
	ip, ipErr := netip.ParseAddr(strings.Trim(host, "[]"))
	isHost := config.IsDomain(strings.ToLower(host)) || (ipErr == nil && (ip.Is4() || strings.HasPrefix(host, "[")))
	if i < 0 || err != nil || number < 1 || number > 65535 || !isHost {
		invalid(&r.Check, field, fmt.Sprintf("%.80q is no address", *text), "write it as HOST:PORT, with a name or an IP address and a port from 1 to 65535")
	}
}

// port checks a port, from the lowest that may be.
func (r *reader) port(field string, port *int32, lowest int32) {
	if port != nil && (*port < lowest || *port > 65535) {
		r.Tell(mesh.Problem{Field: field, Code: config.CodeOutOfRange, Message: fmt.Sprintf("a port is between %d and 65535", lowest)})
	}
}

// text checks a text that may not be empty.
func (r *reader) text(field string, text *string) {
	if text != nil && *text == "" {
		invalid(&r.Check, field, "it must not be empty", "leave it out")
	}
}

// delay checks how often something was asked for.
func (r *reader) delay(field string, d *config.Duration) {
	if d == nil {
		return
	}
	if span := r.Span(field, d); span < shortestDelay || span > longestDelay {
		r.Tell(mesh.Problem{Field: field, Code: config.CodeOutOfRange, Message: "a refresh delay is from 1s to 10m"})
	}
}

// drain checks a time that is given to an Envoy that ends: whole seconds, an hour at most.
func (r *reader) drain(field string, d *config.Duration, unset time.Duration) time.Duration {
	if d == nil {
		return unset
	}
	span := time.Duration(*d)
	if span < time.Second || span > longestDrain || span%time.Second != 0 {
		r.Tell(mesh.Problem{Field: field, Code: config.CodeOutOfRange, Message: "it is a whole number of seconds, from 1s to 1h"})
	}
	return span
}

// ranges reads networks in CIDR notation, and returns them sorted.
func (r *reader) ranges(field string, list []string) []string {
	var all []string
	for i, text := range list {
		network, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			invalid(&r.Check, config.Item(field, i), fmt.Sprintf("%.80q is no network", text), `write it as "10.96.0.0/12"`)
		case network != network.Masked():
			invalid(&r.Check, config.Item(field, i), text+" has bits behind its prefix", "write it as "+network.Masked().String())
		default:
			all = append(all, network.String())
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// hosts reads services by their full names, or as NAME.NAMESPACE, and returns them sorted.
func (r *reader) hosts(field string, list []string) []mesh.Host {
	var all []mesh.Host
	for i, text := range list {
		name := strings.ToLower(strings.TrimSuffix(text, "."))
		labels := strings.Split(name, ".")
		switch {
		case !config.IsDomain(name) || len(labels) < 2:
			r.Tell(mesh.Problem{
				Field: config.Item(field, i), Code: config.CodeInvalidName, Message: fmt.Sprintf("%.80q is no name of a service", text),
				Hint: "write it as NAME.NAMESPACE or the whole host, such as kubernetes.default.svc." + r.domain,
			})
		case len(labels) == 2:
			all = append(all, mesh.ServiceHost(labels[0], labels[1], r.domain))
		case len(labels) == 3 && labels[2] == "svc":
			all = append(all, mesh.ServiceHost(labels[0], labels[1], r.domain))
		default:
			all = append(all, mesh.Host(name))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
