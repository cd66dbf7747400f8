package plan

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// maxNamedPorts bounds the ports that an answer names: Envoy takes answers of 4096 bytes at most.
const maxNamedPorts = 20

// refusal explains why a spelling leads nowhere, and what would change that.
func refusal(v view.VirtualHost) (name string, answer *Answer) {
	switch {
	case v.Service != nil:
		return noServiceRoute, refuse("lateen: %q names no port of service %s. It has: %s.\n", v.Domain, v.Host, ports(v.Service.Ports))
	case v.Egress != nil:
		return noEgressRoute, refuse("lateen: %s allows calls to %s, but not to port %d. Its ports: %s.\n",
			v.Egress.Object, v.Egress.Destination, v.AskedPort, ports(v.Egress.Ports))
	case !v.Foreign:
		return noServiceRoute, refuse("lateen: no service %q is known in this mesh. Check the name, or the namespace: NAME.NAMESPACE.\n", v.Domain)
	default:
		return noEgressRoute, refuse("lateen: %q is no service of this mesh, and no EgressRule allows calls to it. This one would:\n\n%s",
			v.Domain, allowing(v.AskedHost, v.AskedPort))
	}
}

func refuse(format string, args ...any) *Answer {
	return &Answer{Status: 502, Body: fmt.Sprintf(format, args...)}
}

func isAddress(h mesh.Host) bool {
	_, err := netip.ParseAddr(string(h))
	return err == nil
}

// allowing returns the EgressRule that would allow calls to a host.
func allowing(h mesh.Host, port int) string {
	protocol, destination := "http", string(h)
	switch {
	case isAddress(h):
		address, _ := netip.ParseAddr(string(h))
		protocol, destination = "tcp", netip.PrefixFrom(address, address.BitLen()).String()
	case port == 443:
		protocol = "https"
		fallthrough
	default:
		destination = namely(destination)
	}
	name := strings.NewReplacer(".", "-", ":", "-", "_", "-").Replace(string(h))
	if len(name) > 60 {
		name = name[:60]
	}
	if name = strings.Trim(name, "-"); name == "" {
		name = "outside"
	}
	return fmt.Sprintf(`apiVersion: config.istio.io/v1alpha2
kind: EgressRule
metadata: {name: %s}
spec:
  destination: {service: %q}
  ports: [{port: %d, protocol: %s}]
`, name, destination, port, protocol)
}

// namely returns the destination that an EgressRule can have for a name: itself, or for one that is no DNS name the
// narrowest wildcard that takes it.
func namely(name string) string {
	if isDNSName(name) {
		return name
	}
	for rest := name; ; {
		_, after, found := strings.Cut(rest, ".")
		switch {
		case !found:
			return "*"
		case isDNSName(after):
			return "*." + after
		}
		rest = after
	}
}

// isDNSName tells whether a name is what EgressRules take: labels of lower-case letters, digits and "-", the last one not a
// number, which would be that of an address (RFC 1123, 2.1).
func isDNSName(name string) bool {
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" ||
			strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// notHTTP answers a request to a port whose bytes are not requests.
func notHTTP(v view.VirtualHost) *Answer {
	if v.Egress != nil {
		return refuse("lateen: port %d of %s is for %s by %s: send CONNECT to the proxy, not a request.\n",
			v.Port, v.Host, strings.ToLower(string(v.Protocol)), v.Egress.Object)
	}
	return refuse("lateen: port %d of service %s is no HTTP port. A port's name tells its protocol: \"http\", \"http2-…\", \"grpc-…\".\n",
		v.Port, v.Host)
}

// ports lists ports for people.
func ports(list []mesh.Port) string {
	if len(list) == 0 {
		return "none"
	}
	var texts []string
	for _, p := range list {
		texts = append(texts, fmt.Sprintf("%d (%s)", p.Number, strings.ToLower(string(p.Protocol))))
	}
	if more := len(texts) - maxNamedPorts; more > 0 {
		texts = append(texts[:maxNamedPorts], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}
