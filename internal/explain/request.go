package explain

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// request is a Request as the routes of a proxy see it.
type request struct {
	method, scheme, authority string
	path, query               string // normalized; the query with its "?"
	headers                   map[string][]string
	source, dialled           netip.Addr
}

const (
	methodConnect = "CONNECT"
	methodOptions = "OPTIONS"
)

// hopByHop lists headers that are for the next hop only: a proxy takes them away before it looks at its routes.
var hopByHop = []string{"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}

// joined lists the headers of which Envoy keeps one value: several are joined by commas when the request is read. Of
// every other header each value stands by itself, cookies too.
var joined = []string{
	"accept", "accept-encoding", "access-control-request-headers", "access-control-request-method", "authentication",
	"authorization", "cache-control", "content-encoding", "content-type", "expect", "grpc-timeout", "if-match",
	"if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "origin", "pragma", "proxy-status", "referer",
	"user-agent", "via", "x-client-trace-id", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto",
	"x-request-id",
}

// canonical returns the request as routes see it, or false if the proxy refuses its path.
func canonical(r Request) (request, bool) {
	q := request{
		method: r.Method, scheme: strings.ToLower(r.Scheme), authority: r.Authority,
		headers: map[string][]string{}, source: r.Source.Unmap(), dialled: r.Dialled.Unmap(),
	}
	if q.scheme == "" {
		q.scheme = "http"
	}
	for _, spelled := range slices.Sorted(maps.Keys(r.Headers)) {
		name := strings.ToLower(spelled)
		if slices.Contains(hopByHop, name) || strings.HasPrefix(name, ":") || name == "host" {
			continue
		}
		for _, v := range r.Headers[spelled] {
			if v = strings.Trim(v, " \t"); name != "te" || v == "trailers" {
				q.headers[name] = append(q.headers[name], v)
			}
		}
		if slices.Contains(joined, name) && len(q.headers[name]) > 1 {
			q.headers[name] = []string{strings.Join(q.headers[name], ",")}
		}
	}
	if q.headers["x-forwarded-proto"] == nil {
		q.headers["x-forwarded-proto"] = []string{q.scheme}
	}
	if q.isConnect() {
		return q, true
	}
	path, query, found := strings.Cut(r.Path, "?")
	if found {
		q.query = "?" + query
	}
	var ok bool
	q.path, ok = normalize(r.Method, path)
	return q, ok && !strings.Contains(r.Path, "#")
}

func (q request) isConnect() bool { return q.method == methodConnect }

// isGRPC tells whether the client expects an answer in the form of gRPC.
func (q request) isGRPC() bool {
	rest, ok := strings.CutPrefix(q.first("content-type"), "application/grpc")
	return ok && !q.isConnect() && (rest == "" || rest[0] == '+')
}

// first returns the first value of a header, or "".
func (q request) first(name string) string {
	if values := q.values(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// values returns the values of a header with which conditions are compared; none: it is missing. The request's own
// parts are headers whose names begin with a colon.
func (q request) values(name string) []string {
	switch {
	case name == ":method":
		return []string{q.method}
	case name == ":authority" || name == "host":
		return []string{q.authority}
	case name == ":scheme" && !q.isConnect():
		return []string{q.scheme}
	case name == ":path" && !q.isConnect():
		return []string{q.path + q.query}
	default:
		return q.headers[name]
	}
}

// normalize returns a path without query in the form in which proxies compare it, or false if they refuse it.
func normalize(method, path string) (string, bool) {
	if path == "*" && method == methodOptions {
		return path, true
	}
	if !strings.HasPrefix(path, "/") {
		return path, false
	}
	text, ok := unescape(path)
	if !ok {
		return path, false
	}
	var kept []string // the elements, each of which follows a slash
	elements := strings.Split(text[1:], "/")
	for _, e := range elements {
		switch e {
		case ".":
		case "..":
			kept = kept[:max(len(kept)-1, 0)]
		default:
			kept = append(kept, e)
		}
	}
	if last := elements[len(elements)-1]; last == "." || last == ".." {
		kept = append(kept, "") // what they leave ends with a slash
	}
	return "/" + strings.Join(kept, "/"), true
}

// unescape writes a path's characters in their one form: unreserved ones plain, those that a path must not hold
// escaped, backslashes as slashes. An escape that is none stays. It returns false if no request can hold the path.
func unescape(path string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '%' && i+2 < len(path) && isHex(path[i+1]) && isHex(path[i+2]):
			value := unhex(path[i+1])<<4 | unhex(path[i+2])
			if value == 0 {
				return path, false
			}
			if isUnreserved(value) {
				b.WriteByte(value)
			} else {
				b.WriteString(path[i : i+3])
			}
			i += 2
		case c <= ' ' || c >= 0x7f || c == '#':
			return path, false
		case c == '\\':
			b.WriteByte('/')
		case strings.IndexByte("\"<>^`{|}", c) >= 0:
			const digits = "0123456789ABCDEF"
			b.WriteString("%" + string(digits[c>>4]) + string(digits[c&15]))
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	default:
		return c - 'A' + 10
	}
}
