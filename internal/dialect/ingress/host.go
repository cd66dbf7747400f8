package ingress

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const wildcard = "*."

func isWildcard(host string) bool { return strings.HasPrefix(host, wildcard) }

// host checks a host of a rule and returns it as it is compared; "" stands for every host.
func (t *translator) host(field, host string) string {
	lower := strings.ToLower(host)
	name := strings.TrimPrefix(lower, wildcard)
	if host == "" || (host == "*" && t.old) {
		return ""
	}
	p := mesh.Problem{Field: field, Code: config.CodeInvalidName}
	switch _, err := netip.ParseAddr(strings.Trim(host, "[]")); {
	case err == nil:
		p.Message, p.Hint = fmt.Sprintf("%q is an address, not a host", host), "leave the host out to take requests to every host"
	case host == "*":
		p.Message, p.Hint = `"*" alone is no host`, "leave the host out to take requests to every host"
	case strings.Contains(name, "*"):
		p.Message = fmt.Sprintf(`%.80q has a "*" where none is allowed`, host)
		p.Hint = `a "*" stands for the first label only, as in "*.example.com"`
	case strings.Contains(name, ":"):
		p.Message, p.Hint = fmt.Sprintf("%.80q is not a host", host), "leave the port out: requests are taken whatever port their host names"
	case !config.IsDomain(name):
		p.Message = fmt.Sprintf(`%.80q is not a host: letters, digits, "-" and "." are allowed, with a letter or digit at both ends`, host)
	default:
		return lower
	}
	t.Tell(p)
	return lower
}
