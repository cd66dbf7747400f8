package meshtest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// tolerance is how much earlier than said a timer of Envoy may be over.
const tolerance = 20 * time.Millisecond

// A delay holds a request and then lets it go on; an abort answers it; with both, the delay comes first.
func TestFaultsDelayAndAbort(t *testing.T) {
	t.Parallel()
	m, caller := reportMesh(t)
	for _, c := range []struct {
		fault   string
		status  int
		atLeast time.Duration
	}{
		{"{delay: {percent: 100, fixedDelay: 400ms}}", 200, 400 * time.Millisecond},
		{"{delay: {fixedDelay: 400ms}}", 200, 400 * time.Millisecond},
		{"{abort: {httpStatus: 418}}", 418, 0},
		{"{abort: {percent: 100, httpStatus: 503}}", 503, 0},
		{"{delay: {fixedDelay: 400ms}, abort: {httpStatus: 503}}", 503, 400 * time.Millisecond},
		{"{delay: {percent: 0, fixedDelay: 60s}, abort: {percent: 0, httpStatus: 503}}", 200, 0},
	} {
		m.Apply(rule("fault", "precedence: 2, match: {request: {headers: {x-fault: {exact: please}}}}, route: [{labels: {version: v2}}], httpFault: "+c.fault))
		for range 5 {
			got := get(t, caller, reviews, "X-Fault", "please")
			if got.status != c.status || got.took < c.atLeast-tolerance || got.took > bound {
				t.Errorf("%s: %d after %v, want %d after %v", c.fault, got.status, got.took, c.status, c.atLeast)
			}
			if got.status == http.StatusOK && got.saw(t).Version != "v2" {
				t.Errorf("%s: the rule's route is not taken", c.fault)
			}
		}
		if got := get(t, caller, reviews); got.saw(t).Version != "v1" || got.took > bound {
			t.Errorf("%s: who does not match goes to v1 at once, not %v", c.fault, got)
		}
	}
}

// The delay of the old integration test: 5 s, give or take 2.
func TestFaultDelayOfFiveSeconds(t *testing.T) {
	t.Parallel()
	m, caller := reportMesh(t)
	m.Apply(rule("fault", "precedence: 2, httpFault: {delay: {percent: 100, fixedDelay: 5s}, abort: {percent: 100, httpStatus: 503}}"))
	if got := get(t, caller, reviews); got.status != http.StatusServiceUnavailable || got.took < 3*time.Second || got.took > 7*time.Second {
		t.Errorf("%d after %v, want 503 after 5 s", got.status, got.took)
	}
}

// Percentages have fractions: the share holds within 5 points, over 4000 requests; a share of a thousandth is no more.
func TestFaultFractions(t *testing.T) {
	t.Parallel()
	m, caller := reviewsMesh(t)
	client := caller.Client()
	for _, c := range []struct {
		percent   string
		low, high int // of 4000
	}{{"12.5", 300, 700}, {"0.1", 0, 40}, {"99.9", 3960, 4000}} {
		m.Apply(rule("fault", "httpFault: {abort: {percent: "+c.percent+", httpStatus: 418}}"))
		aborted := 0
		for range 4000 {
			switch got := sendBy(t, client, request{url: reviews}); got.status {
			case http.StatusTeapot:
				aborted++
			case http.StatusOK:
			default:
				t.Fatalf("status %d", got.status)
			}
		}
		if aborted < c.low || aborted > c.high {
			t.Errorf("%s %%: %d of 4000 are aborted, want %d to %d", c.percent, aborted, c.low, c.high)
		}
	}
}

// A header that the rule names takes the place of the delay or the status. Without the header the rule's own value
// holds, and with no value of its own the rule does nothing. The share holds for both.
func TestFaultsFromHeaders(t *testing.T) {
	t.Parallel()
	m, caller := reportMesh(t)
	const some = 400 * time.Millisecond
	for _, c := range []struct {
		fault   string
		header  []string
		status  int
		atLeast time.Duration
	}{
		{"{delay: {overrideHeaderName: x-delay}}", nil, 200, 0},
		{"{delay: {overrideHeaderName: x-delay}}", []string{"X-Delay", "400"}, 200, some},
		{"{delay: {fixedDelay: 400ms, overrideHeaderName: x-delay}}", nil, 200, some},
		{"{delay: {fixedDelay: 60s, overrideHeaderName: x-delay}}", []string{"X-Delay", "400"}, 200, some},
		{"{delay: {fixedDelay: 60s, overrideHeaderName: x-delay}}", []string{"X-Delay", "0"}, 200, 0},
		{"{delay: {percent: 0, fixedDelay: 60s, overrideHeaderName: x-delay}}", []string{"X-Delay", "60000"}, 200, 0},
		{"{abort: {overrideHeaderName: x-status}}", nil, 200, 0},
		{"{abort: {overrideHeaderName: x-status}}", []string{"X-Status", "418"}, 418, 0},
		{"{abort: {httpStatus: 503, overrideHeaderName: x-status}}", nil, 503, 0},
		{"{abort: {httpStatus: 503, overrideHeaderName: x-status}}", []string{"X-Status", "418"}, 418, 0},
		{"{abort: {percent: 0, httpStatus: 503, overrideHeaderName: x-status}}", []string{"X-Status", "418"}, 200, 0},
		{
			"{delay: {fixedDelay: 60s, overrideHeaderName: x-delay}, abort: {httpStatus: 503, overrideHeaderName: x-status}}",
			[]string{"X-Delay", "400", "X-Status", "418"},
			418, some,
		},
		{
			"{delay: {fixedDelay: 60s, overrideHeaderName: x-delay}, abort: {httpStatus: 503, overrideHeaderName: x-status}}",
			[]string{"X-Delay", "400"},
			503, some,
		},
		{
			"{delay: {fixedDelay: 400ms, overrideHeaderName: x-delay}, abort: {httpStatus: 503, overrideHeaderName: x-status}}",
			[]string{"X-Status", "418"},
			418, some,
		},
	} {
		m.Apply(rule("fault", "precedence: 2, route: [{labels: {version: v2}}], httpFault: "+c.fault))
		got := get(t, caller, reviews, c.header...)
		if got.status != c.status || got.took < c.atLeast-tolerance || got.took > bound {
			t.Errorf("%s with %v: %d after %v, want %d after %v", c.fault, c.header, got.status, got.took, c.status, c.atLeast)
		}
		if got.status == http.StatusOK {
			for name := range got.saw(t).Header {
				if strings.HasPrefix(name, "X-Envoy-Fault") {
					t.Errorf("%s with %v: the application sees %s", c.fault, c.header, name)
				}
			}
		}
	}
}

// An abort with a status of gRPC answers a call of gRPC with it, and any other request with what it means in HTTP.
func TestFaultGRPCStatus(t *testing.T) {
	t.Parallel()
	m, caller := reportMesh(t)
	m.Apply(rule("fault", "precedence: 2, httpFault: {abort: {grpcStatus: UNAVAILABLE}}"))
	got := send(t, caller, request{method: "POST", url: "http://reviews:9080/pkg.Service/Method", header: []string{"Content-Type", "application/grpc"}})
	if got.status != http.StatusOK || got.header.Get("Grpc-Status") != "14" {
		t.Errorf("a call of gRPC: %d with grpc-status %q, want 200 with 14", got.status, got.header.Get("Grpc-Status"))
	}
	got = send(t, caller, request{method: "POST", url: "http://reviews:9080/pkg.Service/Method", header: []string{"Content-Type", "application/grpc+proto"}})
	if got.header.Get("Grpc-Status") != "14" {
		t.Errorf("a call of gRPC with protobuf: %d with grpc-status %q, want 14", got.status, got.header.Get("Grpc-Status"))
	}
	for code, want := range map[string]int{"UNAVAILABLE": 503, "14": 503, "NOT_FOUND": 404, "permission_denied": 403, "INTERNAL": 500} {
		m.Apply(rule("fault", "precedence: 2, httpFault: {abort: {grpcStatus: "+code+"}}"))
		if got := get(t, caller, reviews); got.status != want {
			t.Errorf("another request, %s: %d %q, want %d", code, got.status, got.body, want)
		}
	}
}

// A throttle slows a response down to its bits per second.
func TestFaultThrottle(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	const size = 128 << 10
	m.Start("reviews", "v1", meshtest.Handler(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("x", size))
	}))
	caller := m.Caller("caller", nil)
	for _, c := range []struct {
		throttle string
		atLeast  time.Duration
	}{
		{"{downstreamLimitBps: 1048576}", 800 * time.Millisecond}, // 128 KiB/s
		{"{percent: 100, downstreamLimitBps: 524288}", 1700 * time.Millisecond},
		{"{percent: 0, downstreamLimitBps: 1}", 0},
	} {
		m.Apply(rule("slow", "l4Fault: {throttle: "+c.throttle+"}"))
		if got := get(t, caller, reviews); got.status != http.StatusOK || len(got.body) != size || got.took < c.atLeast-tolerance || got.took > bound {
			t.Errorf("%s: %d, %d bytes after %v; want %d bytes after %v or more", c.throttle, got.status, len(got.body), got.took, size, c.atLeast)
		}
	}
}
