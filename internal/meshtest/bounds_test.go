package meshtest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// waitOf waits for the milliseconds that the query names under the key, but no longer than the request lives.
func waitOf(r *http.Request, key string) {
	ms, err := strconv.Atoi(r.URL.Query().Get(key))
	if err != nil {
		return
	}
	select {
	case <-time.After(time.Duration(ms) * time.Millisecond):
	case <-r.Context().Done():
	}
}

// late is an application that begins its answer, what it saw, after the milliseconds "begin", and ends it after "end" more.
func late() meshtest.App {
	return meshtest.Handler(func(w http.ResponseWriter, r *http.Request) {
		waitOf(r, "begin")
		_ = json.NewEncoder(w).Encode(sight("late", r))
		_ = http.NewResponseController(w).Flush()
		waitOf(r, "end")
		_, _ = io.WriteString(w, " ")
	})
}

func lateMesh(t *testing.T) (*meshtest.Mesh, *meshtest.Instance) {
	t.Helper()
	m := meshtest.New(t)
	m.Start("reviews", "v1", late())
	return m, m.Caller("caller", nil)
}

const (
	soon    = "300"            // milliseconds in which an application answers
	forever = "60000"          // and those for which nobody waits
	bound   = 20 * time.Second // what does not take forever is over by then, on a busy machine too
)

// A rule's timeout bounds the whole response: one that has not begun is answered with 504, one that has is cut.
func TestTimeoutBoundsTheWholeResponse(t *testing.T) {
	t.Parallel()
	m, caller := lateMesh(t)
	m.Apply(rule("slow", "httpReqTimeout: {simpleTimeout: {timeout: 1s}}"))
	if got := get(t, caller, reviews+"?begin="+forever); got.status != http.StatusGatewayTimeout || got.took < time.Second || got.took > bound {
		t.Errorf("a response that does not begin: %d after %v, want 504 after 1 s", got.status, got.took)
	}
	if got := get(t, caller, reviews+"?end="+forever); got.status != http.StatusOK || got.err == nil || got.took < time.Second || got.took > bound {
		t.Errorf("a response that does not end: %d, %v after %v; want 200 and a cut after 1 s", got.status, got.err, got.took)
	}
	if got := get(t, caller, reviews+"?begin="+soon+"&end="+soon); got.err != nil {
		t.Errorf("a response in time: %v", got.err)
	} else {
		got.saw(t)
	}
}

// Without a timeout, and with one of 0s, nothing bounds the response itself.
func TestNoTimeoutBoundsAResponseThatHasBegun(t *testing.T) {
	t.Parallel()
	m, caller := lateMesh(t)
	for _, spec := range []string{"precedence: 1", "httpReqTimeout: {simpleTimeout: {timeout: 0s}}"} {
		m.Apply(rule("slow", spec))
		if got := get(t, caller, reviews+"?begin="+soon+"&end=1500"); got.status != http.StatusOK || got.err != nil || got.took < 1500*time.Millisecond {
			t.Errorf("%s: %d, %v after %v; want the whole response", spec, got.status, got.err, got.took)
		}
	}
}

// A header that the rule names takes the place of its timeout, in milliseconds, for better and for worse; 0 is none.
func TestTimeoutFromHeader(t *testing.T) {
	t.Parallel()
	m, caller := lateMesh(t)
	const slow = reviews + "?begin=" + soon + "&end=1000"
	m.Apply(rule("slow", "httpReqTimeout: {simpleTimeout: {timeout: 600ms, overrideHeaderName: x-patience}}"))
	for _, c := range []struct {
		patience string
		status   int
		whole    bool
	}{
		{"", 200, false}, {"100", 504, true}, {"700", 200, false}, {"20000", 200, true}, {"0", 200, true}, {"soon", 200, false},
	} {
		var header []string
		if c.patience != "" {
			header = []string{"X-Patience", c.patience}
		}
		if got := get(t, caller, slow, header...); got.status != c.status || (got.err == nil) != c.whole {
			t.Errorf("with a patience of %q: %d, %v; want %d, whole: %v", c.patience, got.status, got.err, c.status, c.whole)
		}
	}
}

// What a client writes into Envoy's own headers changes nothing, also where a rule lets a header decide.
func TestEnvoysOwnHeadersDoNothing(t *testing.T) {
	t.Parallel()
	m, caller := lateMesh(t)
	own := []string{
		"X-Envoy-Upstream-Rq-Timeout-Ms", "1", "X-Envoy-Upstream-Rq-Per-Try-Timeout-Ms", "1", "X-Envoy-Max-Retries", "9",
		"X-Envoy-Retry-On", "5xx", "X-Envoy-Fault-Delay-Request", "15000", "X-Envoy-Fault-Abort-Request", "418",
		"X-Envoy-Fault-Throughput-Response", "1", "X-Envoy-Original-Path", "/", "X-Envoy-Internal", "true",
	}
	share := []string{"X-Envoy-Fault-Delay-Request-Percentage", "0", "X-Envoy-Fault-Abort-Request-Percentage", "0"}
	const slow = reviews + "?begin=" + soon
	fault := func(field string) string {
		return "httpReqTimeout: {simpleTimeout: {timeout: 15s, overrideHeaderName: x-patience}}, " +
			"httpReqRetries: {simpleRetry: {attempts: 0, overrideHeaderName: x-attempts}}, httpFault: {" + field + "}"
	}
	for _, c := range []struct {
		name, spec string
		header     []string
		status     int
	}{
		{"no override", "precedence: 1", nil, 200},
		{"overrides that are not there", fault("delay: {overrideHeaderName: x-delay}, abort: {overrideHeaderName: x-status}"), nil, 200},
		{"the delay's override", fault("delay: {overrideHeaderName: x-delay}, abort: {overrideHeaderName: x-status}"), []string{"X-Delay", "1"}, 200},
		{"the abort's override", fault("delay: {overrideHeaderName: x-delay}, abort: {overrideHeaderName: x-status}"), []string{"X-Status", "503"}, 503},
		{"empty overrides", fault("delay: {overrideHeaderName: x-delay}, abort: {overrideHeaderName: x-status}"), []string{"X-Status", "", "X-Delay", "", "X-Patience", "", "X-Attempts", ""}, 200},
		{"a fixed abort", fault("abort: {httpStatus: 503, overrideHeaderName: x-status}"), nil, 503},
	} {
		m.Apply(rule("one", c.spec))
		for _, also := range [][]string{nil, share} {
			if got := get(t, caller, slow, slices.Concat(own, also, c.header)...); got.status != c.status || got.took > bound/2 {
				t.Errorf("%s: %d after %v, want %d", c.name, got.status, got.took, c.status)
			}
		}
	}
}

// Retries, counted at the application: attempts beyond the first, each bounded by perTryTimeout, all of them by the
// timeout; a header that the rule names takes the place of the attempts.
func TestRetriesAreCounted(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	var calls atomic.Int64
	m.Start("reviews", "v1", meshtest.Handler(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if waitOf(r, "begin"); strings.HasPrefix(r.URL.Path, "/bad") {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	caller := m.Caller("caller", nil)
	const bad, stuck = "http://reviews:9080/bad", reviews + "?begin=" + forever
	for _, c := range []struct {
		name, spec, url string
		header          []string
		status          int
		calls           int64
	}{
		{"three attempts", "{attempts: 3}", bad, nil, 500, 4},
		{"none", "{attempts: 0}", bad, nil, 500, 1},
		{"a good answer", "{attempts: 3}", reviews, nil, 200, 1},
		{"a try that takes too long", "{attempts: 2, perTryTimeout: 150ms}", stuck, nil, 504, 3},
		{"a try that takes its time", "{attempts: 2, perTryTimeout: 10s}", reviews + "?begin=" + soon, nil, 200, 1},
		{"the header is not there", "{attempts: 1, overrideHeaderName: x-attempts}", bad, nil, 500, 2},
		{"the header says none", "{attempts: 1, overrideHeaderName: x-attempts}", bad, []string{"X-Attempts", "0"}, 500, 1},
		{"the header says more", "{attempts: 1, overrideHeaderName: x-attempts}", bad, []string{"X-Attempts", "3"}, 500, 4},
		{"the header alone", "{overrideHeaderName: x-attempts}", bad, []string{"X-Attempts", "3"}, 500, 4},
		{"the header alone is not there", "{overrideHeaderName: x-attempts}", bad, nil, 500, 1},
		{"the header says nonsense", "{attempts: 1, overrideHeaderName: x-attempts}", bad, []string{"X-Attempts", "lots"}, 500, 2},
	} {
		m.Apply(rule("retry", "httpReqRetries: {simpleRetry: "+c.spec+"}"))
		calls.Store(0)
		if got := get(t, caller, c.url, c.header...); got.status != c.status || calls.Load() != c.calls {
			t.Errorf("%s: %d after %d calls, want %d after %d", c.name, got.status, calls.Load(), c.status, c.calls)
		}
	}
	m.Apply(rule("retry", "httpReqTimeout: {simpleTimeout: {timeout: 700ms}}, httpReqRetries: {simpleRetry: {attempts: 100, perTryTimeout: 300ms}}"))
	calls.Store(0)
	if got := get(t, caller, stuck); got.status != http.StatusGatewayTimeout || calls.Load() < 2 || calls.Load() > 3 {
		t.Errorf("within the timeout of 700 ms: %d after %d calls of 300 ms, want 504 after 2 or 3", got.status, calls.Load())
	}
}

// Every name that a header can have is one that a rule can name.
func TestOddNamesOfHeaders(t *testing.T) {
	t.Parallel()
	m, caller := reportMesh(t)
	const odd = "x-!#$%&*+-.^_`|~-1"
	m.Apply(rule("odd", `precedence: 2, match: {request: {headers: {"`+odd+`": {regex: "[0-9]+"}}}}, route: [{labels: {version: v2}}], appendHeaders: {"`+odd+`y": one}, `+
		`httpReqTimeout: {simpleTimeout: {timeout: 20s, overrideHeaderName: "`+odd+`t"}}, httpReqRetries: {simpleRetry: {attempts: 1, overrideHeaderName: "`+odd+`r"}}, `+
		`httpFault: {abort: {overrideHeaderName: "`+odd+`a"}, delay: {overrideHeaderName: "`+odd+`d"}}, corsPolicy: {allowOrigin: ["*"], allowHeaders: ["`+odd+`"]}`))
	if got := get(t, caller, reviews, odd, "7").saw(t); got.Version != "v2" || got.Header.Get(odd+"y") != "one" {
		t.Errorf("the application sees %+v", got)
	}
	if got := get(t, caller, reviews, odd, "7", odd+"a", "418", odd+"d", "1", odd+"t", "1000", odd+"r", "2"); got.status != http.StatusTeapot {
		t.Errorf("the fault answers with %d, want 418", got.status)
	}
	if got := get(t, caller, reviews, odd, "x").saw(t); got.Version != "v1" {
		t.Errorf("who does not match goes to %s", got.Version)
	}
}

// Without a rule a response must begin within 15 s. A rule with a timeout of 0 s switches that off.
func TestDefaultTimeoutAndHowToSwitchItOff(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	app := newHeld(t, "late")
	m.Start("reviews", "v1", app.app())
	m.Start("ratings", "v1", app.app())
	caller := m.Start("caller", "v1", meshtest.Named("caller"))
	m.Apply(ruleFor("ratings", "no-bound", "httpReqTimeout: {simpleTimeout: {timeout: 0s}}"))
	patient := make(chan string, 1)
	go func() {
		_, body := caller.Get("http://ratings:9080/")
		patient <- body
	}()
	meshtest.Await(t, "the patient request", func() bool { return app.has.Load() == 1 })
	if status, body := caller.Get(reviews); status != http.StatusGatewayTimeout {
		t.Errorf("a response that does not begin: %d %q, want 504", status, body)
	}
	select {
	case body := <-patient:
		t.Errorf("the request without a bound ended before with %q", body)
	default:
	}
	app.release()
	if body := <-patient; body != "late" {
		t.Errorf("the request without a bound ends with %q", body)
	}
}
