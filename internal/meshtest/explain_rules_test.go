package meshtest_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
)

// way is how a request comes to the proxy that decides about it.
type way string

// The callers a and b call by their sidecars, a also through a tunnel and by a local address; others come in by
// the door.
const (
	byA     way = "a"
	byB     way = "b"
	tunnel  way = "a through a tunnel"
	byLocal way = "a by a local address"
	byDoor  way = "the door"
	byTLS   way = "the door by TLS"
)

// ask is a request to generate. Its path has no query; one that makes it unique is added.
type ask struct {
	way          way
	method, path string
	host         string
	header       http.Header
}

// ruled is a generated rule.
type ruled struct {
	yaml  string
	kinds []string   // of its conditions, and of what it does
	meet  func(*ask) // makes a request meet the conditions
}

// rules generates rules and requests that concern them.
type rules struct {
	*rand.Rand
	a, local string // address of caller a; its local address, with the port
	outside  int    // port of the hosts outside the mesh
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// condition is one thing that a rule may demand. An empty header means that the text stands beside the headers.
type condition struct {
	kind, header, text string
	meet               func(*ask)
}

// conditions returns one condition of each kind on requests to a host.
func (r *rules) conditions() []condition {
	path := func(kind, text string, paths ...string) condition {
		return condition{kind, "uri", text, func(a *ask) { a.path = pick(r.Rand, paths...) }}
	}
	header := func(kind, name, text string, values ...string) condition {
		return condition{kind, name, text, func(a *ask) {
			a.header.Del(name)
			if r.IntN(4) == 0 {
				a.header.Add(name, "another") // each value counts by itself
			}
			a.header.Add(name, pick(r.Rand, values...))
		}}
	}
	method := func(text string, methods ...string) condition {
		return condition{"method", "method", text, func(a *ask) { a.method = pick(r.Rand, methods...) }}
	}
	host := func(text string, hosts ...string) condition {
		return condition{"authority", "authority", text, func(a *ask) { a.host = pick(r.Rand, hosts...) }}
	}
	from := func(kind, text string, ways ...way) condition {
		return condition{kind, "", text, func(a *ask) { a.way = pick(r.Rand, ways...) }}
	}
	return []condition{
		path("uri exact", `{exact: /a/b}`, "/a/b", "/a/./b", "/a/x/../b", "/%61/%62"),
		path("uri exact", `{exact: /a}`, "/a"),
		path("uri prefix", `{prefix: /a/}`, "/a/", "/a/b/c", "/a//", "/a/%2f"),
		path("uri prefix", `{prefix: /b}`, "/b", "/bb", "/b/a"),
		path("uri regex", `{regex: "/(a|b)(/.*)?"}`, "/a", "/b/x/y"),
		path("uri regex", `{regex: "(?i)/A/[0-9]+$"}`, "/a/7", "/A/42"),
		header("header exact", "x-user", `{exact: jason}`, "jason"),
		header("header exact", "x-empty", `{exact: ""}`, ""),
		header("header prefix", "x-user", `{prefix: ja}`, "ja", "jack"),
		header("header regex", "x-user", `{regex: "j.*n|tom"}`, "jn", "jason", "tom"),
		header("header regex", "cookie", `{regex: "^(.*?;)?(user=jason)(;.*)?$"}`, "user=jason", "a=b;user=jason;c=d"),
		{"header of one value", "accept", `{exact: "text/a,text/b"}`, func(a *ask) { a.header["Accept"] = []string{"text/a", "text/b"} }},
		{"authority", "host", `{prefix: reviews}`, func(a *ask) { a.host = "reviews.default:9080" }},
		method(`{exact: POST}`, "POST"), method(`{prefix: P}`, "PUT", "PATCH"), method(`{regex: "GET|DELETE"}`, "GET", "DELETE"),
		host(`{exact: "reviews.default:9080"}`, "reviews.default:9080"), host(`{prefix: reviews.}`, "reviews.default.svc:9080"),
		host(`{regex: "(?i)reviews(\\.default)?:9080"}`, "reviews:9080", "Reviews:9080"),
		{"scheme", "scheme", `{exact: http}`, func(*ask) {}},
		{"scheme", "scheme", `{regex: "https|ftp"}`, func(a *ask) { a.way = byTLS }},
		from("source", "source: {labels: {app: a}}", byA, tunnel, byLocal), from("source", "source: {name: a}", byA),
		from("source subnet", fmt.Sprintf("tcp: {sourceSubnet: [10.0.0.0/8, %s/32]}", r.a), byA, tunnel, byLocal),
		from("source subnet", "tcp: {sourceSubnet: ["+stranger+"/32]}", byDoor, byTLS),
		from("destination subnet", fmt.Sprintf("tcp: {destinationSubnet: [%s/32]}", r.a), byLocal),
		from("destination subnet", "tcp: {sourceSubnet: [127.0.0.0/8], destinationSubnet: [127.0.0.0/8]}", byLocal, byDoor),
	}
}

// action is one thing that a rule may do. Those of one group exclude one another.
type action struct{ kind, group, text string }

// actions returns what a rule does: a redirect, or up to three other things.
func (r *rules) actions() []action {
	if r.IntN(7) == 0 {
		return []action{{"redirect", "redirect", pick(r.Rand,
			"redirect: {uri: /else}", `redirect: {authority: "else:81"}`, "redirect: {uri: /else, authority: else}")}}
	}
	percent := pick(r.Rand, "", "", "percent: 100, ", "percent: 0, ", "percent: 37.5, ", "percent: 66.6, ")
	all := []action{
		{"weights", "route", "route: [{labels: {version: v1}, weight: 25}, {labels: {version: v2}, weight: 75}]"},
		{"weights", "route", "route: [{labels: {version: v1}, weight: 60}, {labels: {version: v2}, weight: 40}]"},
		{"weights", "route", "route: [{labels: {version: v1}, weight: 50}, {destination: {name: ratings}, weight: 50}]"},
		{"weights", "route", "route: [{labels: {version: v1}, weight: 100}, {labels: {version: v2}, weight: 0}]"},
		{"subset", "route", "route: [{labels: {version: v2}}]"},
		{"rewrite", "rewrite", pick(r.Rand, "rewrite: {uri: /new/}", "rewrite: {authority: old.host}", "rewrite: {uri: /new, authority: old.host}")},
		{"delay", "fault", "httpFault: {delay: {" + percent + "fixedDelay: 15ms}}"},
		{"delay by header", "fault", "httpFault: {delay: {" + percent + "fixedDelay: 20ms, overrideHeaderName: x-delay}}"},
		{"abort", "fault", "httpFault: {abort: {" + percent + "httpStatus: 418}}"},
		{"abort with gRPC", "fault", "httpFault: {abort: {" + percent + "grpcStatus: UNAVAILABLE}}"},
		{"abort by header", "fault", "httpFault: {abort: {" + percent + "httpStatus: 503, overrideHeaderName: x-abort}}"},
		{"delay", "fault", "httpFault: {delay: {fixedDelay: 15ms}, abort: {" + percent + "httpStatus: 503}}"},
		{"append", "append", "appendHeaders: {x-by: a rule}"},
		{"cors", "cors", `corsPolicy: {allowOrigin: ["http://shop.test"], allowMethods: [PUT]}`},
		{"mirror", "mirror", "mirror: {name: ratings}"},
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	var some []action
	for _, a := range all[:1+r.IntN(3)] {
		if !slices.ContainsFunc(some, func(other action) bool { return a.group == other.group }) {
			some = append(some, a)
		}
	}
	return some
}

// rule generates a rule for a destination.
func (r *rules) rule(name, destination string) ruled {
	made := ruled{}
	var headers, beside []string
	var meets []func(*ask)
	all, taken := r.conditions(), map[string]bool{}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, c := range all[:pick(r.Rand, 0, 1, 1, 2, 3)] {
		place := cmp.Or(c.header, c.text[:3])
		if taken[place] {
			continue
		}
		taken[place] = true
		made.kinds, meets = append(made.kinds, c.kind), append(meets, c.meet)
		if c.header == "" {
			beside = append(beside, c.text)
		} else {
			headers = append(headers, c.header+": "+c.text)
		}
	}
	if len(headers) > 0 {
		beside = append(beside, "request: {headers: {"+strings.Join(headers, ", ")+"}}")
	}
	spec := []string{destination, fmt.Sprintf("precedence: %d", r.IntN(4)), "match: {" + strings.Join(beside, ", ") + "}"}
	for _, a := range r.actions() {
		made.kinds, spec = append(made.kinds, a.kind), append(spec, a.text)
	}
	made.meet = func(a *ask) {
		for _, meet := range meets {
			meet(a)
		}
	}
	made.yaml = fmt.Sprintf("apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: %s}\nspec: {%s}\n", name, strings.Join(spec, ", "))
	return made
}

// ask generates a request to reviews that meets one of the rules, if there are any and unless the ways exclude one another.
func (r *rules) ask(number int, some []ruled) ask {
	a := ask{
		way: pick(r.Rand, byA, byA, byB, tunnel, byLocal, byDoor, byTLS), method: pick(r.Rand, "GET", "GET", "POST", "PUT", "OPTIONS"),
		path:   pick(r.Rand, "/", "/a", "/a/b", "/b", "/a/b/c", "/a//b", "/x/../a", "/A", "/a/9"),
		host:   pick(r.Rand, "reviews:9080", "reviews.default.svc.cluster.local:9080"),
		header: http.Header{},
	}
	r.decorate(&a)
	if len(some) > 0 {
		pick(r.Rand, some...).meet(&a)
	}
	if r.IntN(5) == 0 {
		a.elsewhere(r)
	}
	switch {
	case a.way == byLocal:
		a.host = r.local
	case (a.way == byDoor || a.way == byTLS) && !strings.Contains(a.host, ".test"):
		a.host = pick(r.Rand, "shop.test", "Shop.test:8080", "a.wild.test", "any.where", "secure.test")
	}
	a.path += fmt.Sprintf("?n=%d", number)
	return a
}

// decorate adds headers that faults, CORS and answers look at.
func (r *rules) decorate(a *ask) {
	for _, h := range []struct {
		name   string
		values []string
	}{
		{"X-User", []string{"jason", "jack", "tom"}},
		{"X-Delay", []string{"25", "word", "+30", "-3", "0"}},
		{"X-Abort", []string{"418", "7", "word", "599"}},
		{"Content-Type", []string{"application/grpc", "application/grpcx", "text/plain"}},
		{"X-By", []string{"a client"}},
	} {
		if r.IntN(3) == 0 && a.header.Get(h.name) == "" {
			a.header.Add(h.name, pick(r.Rand, h.values...))
		}
	}
	if r.IntN(3) == 0 {
		a.header.Set("Origin", pick(r.Rand, "http://shop.test", "http://shop.test", "http://other.test"))
		a.header.Set("Access-Control-Request-Method", "PUT")
		if r.IntN(2) == 0 {
			a.method = http.MethodOptions
		}
	}
}

// elsewhere sends a request to another place than reviews.
func (a *ask) elsewhere(r *rules) {
	a.way = pick(r.Rand, byA, byB)
	port := fmt.Sprintf(":%d", r.outside)
	switch r.IntN(5) {
	case 0:
		a.host = pick(r.Rand, "nowhere:9080", "reviews:9081", "reviews.other:9080", "reviews")
	case 1:
		a.host = "exact.test" + port
	case 2:
		a.host = pick(r.Rand, "www.outside.test", "a.b.outside.test") + port
	case 3:
		a.host = pick(r.Rand, "www.elsewhere.test"+port, "outside.test"+port, "exact.test:1")
	default:
		a.way, a.host = pick(r.Rand, byDoor, byTLS), pick(r.Rand, "shop.test", "other.test", "a.b.wild.test")
		a.path = pick(r.Rand, "/none", "/ab", "/")
	}
}

// outsideObjects lets callers reach hosts outside, and others in.
func (r *rules) outsideObjects() string {
	return egress("exact", "exact.test", r.outside, "http") + "---\n" + egress("wildcard", "*.outside.test", r.outside, "http") + `---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop}
spec:
  tls: [{secretName: door}]
  rules:
  - host: shop.test
    http:
      paths:
      - {path: /a, pathType: Prefix, backend: {service: {name: reviews, port: {number: 9080}}}}
      - {path: /b, pathType: Exact, backend: {service: {name: ratings, port: {number: 9080}}}}
  - host: "*.wild.test"
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: reviews, port: {name: http}}}}]}
  - host: any.where
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: reviews, port: {name: http}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: secure, annotations: {kubernetes.io/ingress.allow-http: "false"}}
spec:
  tls: [{hosts: [secure.test], secretName: door}]
  rules:
  - host: secure.test
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: reviews, port: {name: http}}}}]}
`
}
