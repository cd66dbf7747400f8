package meshtest_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/plan"
)

const reviews = "http://reviews:9080/"

// rule writes a RouteRule for reviews; spec is what follows its destination, in YAML's flow style.
func rule(name, spec string) string { return ruleFor("reviews", name, spec) }

// ruleFor is a rule for a service.
func ruleFor(service, name, spec string) string {
	return fmt.Sprintf("apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: %s}\n"+
		"spec: {destination: {name: %s}, %s}\n", name, service, spec)
}

// reviewsMesh starts reviews v1 and v2, which answer with their version, and a caller.
func reviewsMesh(t *testing.T) (*meshtest.Mesh, *meshtest.Instance) {
	t.Helper()
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	m.Start("reviews", "v2", meshtest.Named("v2"))
	return m, m.Caller("caller", mesh.Labels{"app": "caller", "version": "v1"})
}

func wantBody(t *testing.T, from *meshtest.Instance, url, want string, headers ...string) {
	t.Helper()
	if status, body := from.Get(url, headers...); status != http.StatusOK || body != want {
		t.Errorf("GET %s %v: %d %q, want 200 %q", url, headers, status, body, want)
	}
}

// Weights hold within 5 points.
func TestWeights(t *testing.T) {
	t.Parallel()
	m, caller := reviewsMesh(t)
	m.Apply(rule("half", "route: [{labels: {version: v1}, weight: 50}, {labels: {version: v2}, weight: 50}]"))
	// With 1000 requests one run in 600 misses by chance; with 4000 none does.
	const requests = 4000
	client := caller.Client()
	seen := map[string]int{}
	for range requests {
		seen[fetch(t, client, reviews)]++
	}
	if share := 100 * float64(seen["v1"]) / requests; share < 45 || share > 55 || seen["v1"]+seen["v2"] != requests {
		t.Errorf("v1 got %.1f %% of %v, want 50 ± 5", share, seen)
	}
}

// fetch returns the body of a page that must come with status 200.
func fetch(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	body, err := meshtest.Fetch(t.Context(), client, url)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// The rule with the higher precedence is asked first, whatever the names are; without a match the next one is.
func TestPrecedenceAndMatches(t *testing.T) {
	t.Parallel()
	m, caller := reviewsMesh(t)
	m.Apply(rule("a-everybody", "precedence: 1, route: [{labels: {version: v1}}]"))
	for _, c := range []struct{ match, header, yes, no string }{
		{`x-user: {exact: jason}`, "X-User", "jason", "jasonx"},
		{`x-user: {prefix: ja}`, "X-User", "jack", "xja"},
		{`x-user: {regex: "j.*n"}`, "X-User", "jason", "jasonx"},
		{`uri: {prefix: /}, x-user: {exact: a b}`, "X-User", "a b", "ab"},
	} {
		m.Apply(rule("z-some", "precedence: 2, match: {request: {headers: {"+c.match+"}}}, route: [{labels: {version: v2}}]"))
		wantBody(t, caller, reviews, "v2", c.header, c.yes)
		wantBody(t, caller, reviews, "v1", c.header, c.no)
		wantBody(t, caller, reviews, "v1")
	}
	m.Apply(rule("z-some", "precedence: 0, route: [{labels: {version: v2}}]"), "unreachable-rule")
	wantBody(t, caller, reviews, "v1")
	m.Delete("RouteRule", "a-everybody")
	wantBody(t, caller, reviews, "v2")
}

// A rule for a source is for callers of that service and with those labels, and for nobody else.
func TestSource(t *testing.T) {
	t.Parallel()
	m, caller := reviewsMesh(t)
	frontend := m.Start("frontend", "v1", meshtest.Named("frontend"))
	m.Apply(rule("everybody", "precedence: 1, route: [{labels: {version: v1}}]"))
	m.Apply(rule("frontend", "precedence: 2, match: {source: {name: frontend}}, route: [{labels: {version: v2}}]"))
	wantBody(t, frontend, reviews, "v2")
	wantBody(t, caller, reviews, "v1")
	m.Apply(rule("frontend", "precedence: 2, match: {source: {name: frontend, labels: {version: v9}}}, route: [{labels: {version: v2}}]"))
	wantBody(t, frontend, reviews, "v1")
	m.Apply(rule("frontend", "precedence: 2, match: {source: {labels: {app: caller}}}, route: [{labels: {version: v2}}]"))
	wantBody(t, frontend, reviews, "v1")
	wantBody(t, caller, reviews, "v2")
}

// A bare name is a service of the caller's namespace; longer spellings lead to the same service.
func TestSpellings(t *testing.T) {
	t.Parallel()
	_, caller := reviewsMesh(t)
	for _, host := range []string{
		"reviews", "Reviews", "reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local",
	} {
		if status, body := caller.Get("http://" + host + ":9080/"); status != http.StatusOK {
			t.Errorf("%s: %d %s", host, status, body)
		}
	}
	for _, url := range []string{"http://reviews/", "http://reviews:9081/", "http://nowhere:9080/", "http://reviews.other:9080/"} {
		if status, body := caller.Get(url); status != http.StatusBadGateway || !strings.Contains(body, "lateen: ") {
			t.Errorf("%s: %d %q, want 502 and an explanation", url, status, body)
		}
	}
}

// A host that is not known gets an answer, and works as soon as it is there.
func TestHostAppears(t *testing.T) {
	t.Parallel()
	m, caller := reviewsMesh(t)
	if status, _ := caller.Get("http://later:9080/"); status != http.StatusBadGateway {
		t.Errorf("an unknown host answers with %d, want 502", status)
	}
	m.Start("later", "v1", meshtest.Named("here"))
	wantBody(t, caller, "http://later:9080/", "here")
}

// Aborts answer at once, for the share of the requests that the rule says.
func TestAbort(t *testing.T) {
	t.Parallel()
	m, caller := reviewsMesh(t)
	m.Apply(rule("abort", `precedence: 1, match: {request: {headers: {x-user: {exact: jason}}}}, httpFault: {abort: {percent: 100, httpStatus: 418}}`))
	if status, _ := caller.Get(reviews, "X-User", "jason"); status != http.StatusTeapot {
		t.Errorf("status %d, want 418", status)
	}
	if status, _ := caller.Get(reviews); status != http.StatusOK {
		t.Errorf("who does not match gets %d, want 200", status)
	}
	m.Apply(rule("abort", `precedence: 1, httpFault: {abort: {percent: 0, httpStatus: 418}}`))
	if status, _ := caller.Get(reviews); status != http.StatusOK {
		t.Errorf("0 %% gets %d, want 200", status)
	}
}

// Retries go on until an answer is good; without a rule an answer of 503 is passed on as it is.
func TestRetries(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	var calls atomic.Int64
	m.Start("reviews", "v1", meshtest.Handler(func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1)%3 != 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	caller := m.Caller("caller", nil)
	if status, _ := caller.Get(reviews); status != http.StatusServiceUnavailable || calls.Load() != 1 {
		t.Errorf("without a rule: status %d after %d calls, want 503 after 1", status, calls.Load())
	}
	calls.Store(0)
	m.Apply(rule("retry", "httpReqRetries: {simpleRetry: {attempts: 2, perTryTimeout: 2s}}"))
	if status, _ := caller.Get(reviews); status != http.StatusOK || calls.Load() != 3 {
		t.Errorf("with two retries: status %d after %d calls, want 200 after 3", status, calls.Load())
	}
}

// A rule's timeout bounds the whole response; perTryTimeout bounds each try.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	var calls atomic.Int64
	m.Start("reviews", "v1", meshtest.Handler(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			<-r.Context().Done() // the first call never answers
		}
		w.WriteHeader(http.StatusOK)
	}))
	caller := m.Caller("caller", nil)
	m.Apply(rule("slow", "httpReqTimeout: {simpleTimeout: {timeout: 300ms}}"))
	begun := time.Now()
	if status, _ := caller.Get(reviews); status != http.StatusGatewayTimeout {
		t.Errorf("status %d, want 504", status)
	}
	if took := time.Since(begun); took < 250*time.Millisecond || took > 5*time.Second {
		t.Errorf("the timeout of 300 ms took %v", took)
	}
	calls.Store(0)
	m.Apply(rule("slow", "httpReqTimeout: {simpleTimeout: {timeout: 5s}}, httpReqRetries: {simpleRetry: {attempts: 1, perTryTimeout: 300ms}}"))
	if status, _ := caller.Get(reviews); status != http.StatusOK || calls.Load() != 2 {
		t.Errorf("status %d after %d calls, want 200 after 2", status, calls.Load())
	}
}

// What never reached an application is tried on another endpoint: one of two endpoints refuses connections.
func TestUnsentIsRetried(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	m.AddDeadEndpoint("reviews")
	caller := m.Caller("caller", nil)
	for range 20 {
		wantBody(t, caller, reviews, "v1")
	}
}

// Envoy takes every regular expression that the dialect lets through, also large ones.
func TestRegexes(t *testing.T) {
	t.Parallel()
	m, caller := reviewsMesh(t)
	m.Apply(rule("everybody", "precedence: 1, route: [{labels: {version: v1}}]"))
	for expression, value := range map[string]string{
		`(?i)^bearer [a-z0-9._~+/-]{1,64}$`: "Bearer abc.DEF", `\\p{Lu}+\\p{Greek}*`: "ABC", `(a?b?c?){300}`: "abc", `[^\\x00]{1,900}`: "x",
	} {
		m.Apply(rule("some", `precedence: 2, match: {request: {headers: {x-value: {regex: "`+expression+`"}}}}, route: [{labels: {version: v2}}]`))
		wantBody(t, caller, reviews, "v2", "X-Value", value)
		wantBody(t, m.Caller("fresh", nil), reviews, "v2", "X-Value", value)
	}
	for _, bad := range []string{`\\p{lu}`, `\\p{ASCII}`, `((a{1,100}){1,10}){1,10}`, `(?=x)`} {
		written := m.TryApply(rule("bad", `match: {request: {headers: {x-value: {regex: "`+bad+`"}}}}`))
		if len(written.Problems) != 1 || written.Problems[0].Code != "invalid-regex" {
			t.Errorf("%s: problems %v, want invalid-regex", bad, written.Problems)
		}
	}
}

// Neither is one lost when many at a time meet an endpoint that is gone.
func TestManyUnsentAreRetried(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	m.AddDeadEndpoint("reviews")
	caller := m.Caller("caller", nil)
	wantBody(t, caller, reviews, "v1")
	var calls sync.WaitGroup
	for range 60 {
		calls.Go(func() { wantBody(t, caller, reviews, "v1") })
	}
	calls.Wait()
}

// Neither is a request lost whose endpoint has a sidecar and, for the moment, no application: no application has seen it, and its
// sidecar says so. Bounds of rules and breakers make no difference, and applications cannot say it in its place.
func TestWithoutApplicationIsRetriedElsewhere(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	m.StartSpec(meshtest.Spec{Service: "reviews", Version: "v2", Ports: []meshtest.SpecPort{{Name: "http", Number: meshtest.ServicePort, Target: "127.0.0.1:1"}}})
	var asked atomic.Int32
	m.Start("liar", "v1", meshtest.Handler(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set(plan.UnsentHeader, "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	caller := m.Caller("caller", nil)
	for _, c := range []struct{ what, file string }{
		{"without rules", ""},
		{"with bounds", "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: bounded}\n" +
			"spec: {destination: {name: reviews}, httpReqTimeout: {simpleTimeout: {timeout: 2s}}}\n---\n" +
			"apiVersion: config.istio.io/v1alpha2\nkind: DestinationPolicy\nmetadata: {name: bounded}\n" +
			"spec: {destination: {name: reviews}, circuitBreaker: {simpleCb: {httpMaxRequests: 10}}}\n"},
		{"with retries", "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: bounded}\n" +
			"spec: {destination: {name: reviews}, httpReqTimeout: {simpleTimeout: {timeout: 2s}}, httpReqRetries: {simpleRetry: {attempts: 3, perTryTimeout: 2s}}}\n"},
	} {
		if c.file != "" {
			m.Apply(c.file)
		}
		for range 30 {
			if status, body := caller.Get(reviews); status != 200 || body != "v1" {
				t.Fatalf("%s: %d %s", c.what, status, body)
			}
		}
	}
	if status, _ := caller.Get("http://liar:9080/"); status != 503 || asked.Load() != 1 {
		t.Errorf("an application that says it has not seen a request: %d, asked %d times", status, asked.Load())
	}
}
