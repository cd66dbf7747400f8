package cli

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const decidedRules = `apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: jason}
spec:
  destination: {name: reviews}
  precedence: 2
  match: {request: {headers: {cookie: {regex: "^(.*?;)?(user=jason)(;.*)?$"}}}}
  route: [{labels: {version: v2}}]
  httpFault: {delay: {percent: 50, fixedDelay: 5s}, abort: {percent: 10, httpStatus: 503}}
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: all}
spec:
  destination: {name: reviews}
  route: [{labels: {version: v1}, weight: 75}, {labels: {version: v3}, weight: 25}]
`

// decisions are what is told of requests under the rules.
var decisions = []struct {
	shows string
	args  []string
	want  string
}{
	{"a request that no header matches", []string{"http://reviews:9080/reviews/0"}, `GET reviews:9080 at productpage-v1-0.default, by virtual-host out/reviews:9080

ROUTE | FROM | TAKEN | WHY NOT
<tunnel> | - | no | method: want CONNECT, got GET
default/jason | jason.yaml:1:1 | no | cookie: want regex "^(.*?;)?(user=jason)(;.*)?$", got none
default/all | all.yaml:1:1 | yes

SHARE | OUTCOME
75 % | goes to reviews.default.svc.cluster.local:9080 version=v1
25 % | goes to reviews.default.svc.cluster.local:9080 version=v3
`},
	{"a request of jason's", []string{"get", "http://reviews:9080/reviews/0", "-H", "Cookie: user=jason"}, `GET reviews:9080 at productpage-v1-0.default, by virtual-host out/reviews:9080

ROUTE | FROM | TAKEN | WHY NOT
<tunnel> | - | no | method: want CONNECT, got GET
default/jason | jason.yaml:1:1 | yes
default/all | all.yaml:1:1 | no | answered before

SHARE | OUTCOME
5 % | waits 5s, is answered by the proxy with 503, body "fault filter abort"
45 % | waits 5s, goes to reviews.default.svc.cluster.local:9080 version=v2
5 % | is answered by the proxy with 503, body "fault filter abort"
45 % | goes to reviews.default.svc.cluster.local:9080 version=v2
`},
	{"a host that there is not", []string{"POST", "http://nowhere/"}, `POST nowhere at productpage-v1-0.default, by virtual-host out/nowhere

ROUTE | FROM | TAKEN | WHY NOT
<no-service> | - | no | method: want CONNECT, got POST
<no-service> | - | yes

SHARE | OUTCOME
100 % | is answered by the proxy with 502, body "lateen: no service \"nowhere\" is known in this mesh. Check the name, or the namespace: NAME.NAMESPACE.\n"
`},
}

func TestExplainRequest(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	socket, err := api.Socket(p.dir)
	if err != nil {
		t.Fatal(err)
	}
	const host = "reviews.default.svc.cluster.local"
	if _, err := api.NewClient(socket).PutRegistry(t.Context(), mesh.Registry{
		Services: []*mesh.Service{{
			Host: host, Name: "reviews", Namespace: "default", Ports: []mesh.Port{{Name: "http", Number: 9080, Protocol: mesh.HTTP}},
		}},
		Endpoints: []*mesh.EndpointSet{{Host: host}},
		Workloads: []*mesh.Workload{{
			Name: "productpage-v1-0", Namespace: "default", Type: mesh.Sidecar, Address: "127.0.0.9", Labels: mesh.Labels{"app": "productpage"},
		}},
	}); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := p.run(decidedRules, "create", "-f", "-"); code != 0 {
		t.Fatal(stderr)
	}
	for _, c := range decisions {
		stdout, stderr, code := p.run("", append([]string{"explain", "productpage-v1-0"}, c.args...)...)
		if code != 0 || stderr != "" {
			t.Errorf("%s: exit code %d, said %s", c.shows, code, stderr)
		}
		got := regexp.MustCompile(" {3,}").ReplaceAllString(strings.ReplaceAll(stdout, "objects/routerules/default/", ""), " | ")
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", c.shows, diff)
		}
	}
	stdout, _, code := p.run("", "explain", "productpage-v1-0", "http://reviews:9080/", "-o", "json")
	if code != 0 || !strings.Contains(stdout, `"name": "default/all"`) {
		t.Errorf("exit code %d, printed %s", code, stdout)
	}
	p.refuses("no proxy nobody", "", "explain", "nobody", "http://reviews:9080/")
	p.refuses(`"cookie" is not a header`, "", "explain", "productpage-v1-0", "http://reviews:9080/", "-H", "cookie")
	p.refuses(`unknown output format "xml"`, "", "explain", "productpage-v1-0", "http://reviews:9080/", "-o", "xml")
	p.refuses(`"ftp://reviews/" is not a URL with http or https`, "", "explain", "productpage-v1-0", "ftp://reviews/")
}

// What is told of the way to a service.
func TestHopInWords(t *testing.T) {
	t.Parallel()
	to := &mesh.Subset{Host: "reviews.default.svc.cluster.local", Port: 9080}
	for want, o := range map[string]api.Outcome{
		"goes to reviews.default.svc.cluster.local:9080, by mutual TLS":                   {Destination: to, Transport: mesh.TLS},
		"goes to reviews.default.svc.cluster.local:9080, in plain text (authPolicy NONE)": {Destination: to, Transport: mesh.Plain, Why: "authPolicy NONE"},
		"waits 1s, is answered by the proxy with 503, in place of reviews.default.svc.cluster.local:9080: nobody": {
			Destination: to, Delay: mesh.Duration(time.Second), Status: 503, Body: "no healthy upstream", Why: "nobody",
		},
	} {
		if got := outcome(o); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
