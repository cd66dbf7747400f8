package local

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Upstream is one port of a service that a workload reaches at a local address.
type Upstream struct {
	Host      mesh.Host
	Port      int                    // of the service
	Variables map[string]addressPart // what its instances know the address by
}

// addressPart is what of a local address a variable holds.
type addressPart int

const (
	wholeAddress addressPart = iota
	hostPart
	portPart
)

// of returns the part of the address.
func (p addressPart) of(ip netip.Addr, port int) string {
	switch p {
	case hostPart:
		return ip.String()
	case portPart:
		return strconv.Itoa(port)
	default:
		return netip.AddrPortFrom(ip, uint16(port)).String()
	}
}

// upstreamPrefix begins the names of variables that hold local addresses.
const upstreamPrefix = "UPSTREAM_"

// variableName returns words as they stand in the name of a variable: HTTP_ADMIN.
func variableName(words ...string) string {
	return strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(strings.Join(words, "_")))
}

// localAddress is what a variable that holds a local address, or a part of it, means.
type localAddress struct {
	host mesh.Host
	port int
	part addressPart
}

// localAddresses are all local addresses that workloads of one namespace can have, by the names of their variables. A
// name that could mean several has several.
type localAddresses map[string][]localAddress

func newLocalAddresses(services []*mesh.Service, namespace string) localAddresses {
	all := localAddresses{}
	add := func(name string, a localAddress) {
		if !slices.Contains(all[name], a) {
			all[name] = append(all[name], a)
		}
	}
	for _, s := range services {
		for _, p := range s.Ports {
			for _, spelling := range []string{strconv.Itoa(p.Number), p.Name} {
				name := upstreamPrefix + variableName(s.Name, spelling)
				if s.Namespace != namespace {
					name += "_" + variableName(s.Namespace)
				}
				add(name, localAddress{s.Host, p.Number, wholeAddress})
				add(name+"_HOST", localAddress{s.Host, p.Number, hostPart})
				add(name+"_PORT", localAddress{s.Host, p.Number, portPart})
			}
		}
	}
	return all
}

// upstreams returns the service ports as a workload has them. A name that could mean several is none of their variables.
func (l localAddresses) upstreams(ports map[localAddress]bool) []Upstream {
	if len(ports) == 0 {
		return nil
	}
	names := map[localAddress]map[string]addressPart{}
	for name, meanings := range l {
		whole := localAddress{meanings[0].host, meanings[0].port, wholeAddress}
		if len(meanings) > 1 || !ports[whole] {
			continue
		}
		if names[whole] == nil {
			names[whole] = map[string]addressPart{}
		}
		names[whole][name] = meanings[0].part
	}
	list := make([]Upstream, 0, len(ports))
	for p := range ports {
		list = append(list, Upstream{Host: p.host, Port: p.port, Variables: names[p]})
	}
	slices.SortFunc(list, func(a, b Upstream) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
	})
	return list
}

// mostNames is how many names a hint lists.
const mostNames = 8

// hint says which name may have been meant.
func (l localAddresses) hint(name string) string {
	names := slices.Sorted(maps.Keys(l))
	if near := config.Nearest(name, names); near != "" {
		return "did you mean ${" + near + "}?"
	}
	whole := slices.DeleteFunc(names, func(n string) bool { return l[n][0].part != wholeAddress })
	if ofService := slices.DeleteFunc(slices.Clone(whole), func(n string) bool { return !l.sameService(n, name) }); len(ofService) > 0 {
		whole = ofService
	}
	if len(whole) == 0 {
		return "there is no service with a port"
	}
	more := ""
	if len(whole) > mostNames {
		whole, more = whole[:mostNames], ", …"
	}
	return "there are " + strings.Join(whole, ", ") + more
}

// sameService tells whether name begins as all names for the service of known do.
func (l localAddresses) sameService(known, name string) bool {
	service, _, _ := strings.Cut(string(l[known][0].host), ".")
	return strings.HasPrefix(name, upstreamPrefix+variableName(service)+"_")
}

// check returns what is wrong with a name as a variable, or "".
func (l localAddresses) check(name string) (message, hint string) {
	switch meanings := l[name]; len(meanings) {
	case 0:
		return "there is no variable ${" + name + "}: no port of a service has this name", l.hint(name)
	case 1:
		return "", ""
	default:
		a, b := meanings[0], meanings[1]
		return "the variable ${" + name + "} could mean port " + strconv.Itoa(a.port) + " of " + string(a.host) +
			" and port " + strconv.Itoa(b.port) + " of " + string(b.host), "use the other spelling of the port: its number, or its name"
	}
}
