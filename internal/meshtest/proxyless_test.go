package meshtest_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// grpcReviews starts versions of a gRPC service behind real Envoys.
func grpcReviews(t *testing.T, m *meshtest.Mesh, versions ...string) map[string]*greeterService {
	t.Helper()
	services := map[string]*greeterService{}
	for _, version := range versions {
		services[version] = &greeterService{version: version}
		m.StartSpec(meshtest.Spec{Service: "reviews", Version: version, Ports: []meshtest.SpecPort{
			{Name: "grpc", Number: meshtest.ServicePort, Target: services[version].serve(t)},
		}})
	}
	return services
}

// whoAnswers calls so often and counts who answers.
func whoAnswers(t *testing.T, client healthv1.HealthClient, calls int, headers ...string) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range calls {
		version, err := check(t, client, "", headers...)
		if err != nil {
			t.Fatal(err)
		}
		got[version]++
	}
	return got
}

// obeyed waits until a call is answered by the version, since a client confirms what it is told a moment before it does it,
// and checks that all further ones are.
func obeyed(t *testing.T, client healthv1.HealthClient, want string, headers ...string) {
	t.Helper()
	meshtest.Await(t, "an answer of "+want, func() bool { version, err := check(t, client, "", headers...); return err == nil && version == want })
	if got := whoAnswers(t, client, 20, headers...); got[want] != 20 {
		t.Errorf("%v, want %s", got, want)
	}
}

// A gRPC client without a proxy is steered by the same rules as a sidecar, by its own library, and refuses nothing that it
// is told.
func TestProxylessGRPC(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	services := grpcReviews(t, m, "v1", "v2")
	caller := m.Proxyless("caller", mesh.Labels{"app": "caller", "version": "v1"})
	conn := caller.Dial("reviews:9080")
	client := healthv1.NewHealthClient(conn)
	if got := whoAnswers(t, client, 40); got["v1"] == 0 || got["v2"] == 0 {
		t.Errorf("without a rule: %v, want both versions", got)
	}

	m.Apply(ruleFor("reviews", "everybody", "precedence: 1, route: [{labels: {version: v1}, weight: 75}, {labels: {version: v2}, weight: 25}]"))
	if got := whoAnswers(t, client, 400); got["v2"] < 60 || got["v2"] > 145 {
		t.Errorf("75 to 25: %v", got)
	}
	m.Apply(ruleFor("reviews", "jason", "precedence: 2, match: {request: {headers: {x-user: {exact: jason}}}}, route: [{labels: {version: v2}}]"))
	m.Apply(ruleFor("reviews", "everybody", "precedence: 1, route: [{labels: {version: v1}}]"))
	obeyed(t, client, "v1")
	obeyed(t, client, "v2", "x-user", "jason")
	obeyed(t, healthv1.NewHealthClient(caller.Dial("reviews.default.svc.cluster.local:9080")), "v1")

	m.Apply(ruleFor("reviews", "stranger", "precedence: 9, match: {source: {labels: {app: stranger}}}, route: [{labels: {version: v2}}]"))
	obeyed(t, client, "v1")
	m.Apply(ruleFor("reviews", "mine", "precedence: 9, match: {source: {labels: {app: caller}}}, route: [{labels: {version: v2}}]"))
	obeyed(t, client, "v2")
	m.Delete("RouteRule", "mine")
	obeyed(t, client, "v1")

	m.Apply(ruleFor("reviews", "everybody", "precedence: 1, route: [{labels: {version: v1}}], httpReqRetries: {simpleRetry: {attempts: 3}}"))
	meshtest.Await(t, "a call that is tried again", func() bool {
		services["v1"].refuse.Store(2)
		before := services["v1"].calls.Load()
		version, err := check(t, client, "")
		return err == nil && version == "v1" && services["v1"].calls.Load()-before == 3
	})
	services["v1"].refuse.Store(0)
	m.Apply(ruleFor("reviews", "everybody", "precedence: 1, route: [{labels: {version: v1}}], httpReqTimeout: {simpleTimeout: {timeout: 0.2s}}"))
	if _, err := check(t, client, "slow"); status.Code(err) != codes.DeadlineExceeded { // else after the test's patience
		t.Errorf("a slow call ends with %v", err)
	}
	m.Apply(ruleFor("reviews", "everybody", "precedence: 1, route: [{labels: {version: v1}}], httpFault: {abort: {grpcStatus: RESOURCE_EXHAUSTED}}"))
	meshtest.Await(t, "the abort", func() bool { _, err := check(t, client, ""); return status.Code(err) == codes.ResourceExhausted })
	m.Delete("RouteRule", "everybody")
	if refused := m.Refused(); len(refused) > 0 {
		t.Errorf("refused: %q", refused)
	}
}

// A call of a client without a proxy to a host that nobody knows fails at once and says which, and succeeds as soon as
// the host is there.
func TestProxylessUnknownHost(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	caller := m.Proxyless("caller", nil)
	client := healthv1.NewHealthClient(caller.Dial("reviews:9080"))
	// A client that waits for a listener in vain says so after 15 s, in other words. The first call may meet it before it has
	// words for what it was told.
	meshtest.Await(t, "a refusal that names the host", func() bool {
		_, err := check(t, client, "")
		if status.Code(err) != codes.Unavailable {
			t.Errorf("an unknown host: %v", err)
		}
		return err != nil && strings.Contains(err.Error(), `could not find VirtualHost for "reviews:9080"`)
	})
	grpcReviews(t, m, "v1")
	meshtest.Await(t, "an answer", func() bool { version, err := check(t, client, ""); return err == nil && version == "v1" })
	if refused := m.Refused(); len(refused) > 0 {
		t.Errorf("refused: %q", refused)
	}
}

// No call of a client without a proxy fails while rules change, instances come and go and the control plane restarts.
func TestProxylessLoad(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	grpcReviews(t, m, "v1", "v2")
	caller := m.Proxyless("caller", nil)
	client := healthv1.NewHealthClient(caller.Dial("reviews:9080"))
	var sent atomic.Int64
	var stopped atomic.Bool
	var running sync.WaitGroup
	running.Go(func() {
		for !stopped.Load() {
			if _, err := check(t, client, ""); err != nil {
				t.Errorf("call %d: %v", sent.Load(), err)
				return
			}
			sent.Add(1)
		}
	})
	defer running.Wait()
	defer stopped.Store(true)
	more := func() {
		want := sent.Load() + 50
		meshtest.Await(t, "calls", func() bool { return sent.Load() >= want || t.Failed() })
	}
	for i := range 10 {
		m.Apply(ruleFor("reviews", "r", fmt.Sprintf("route: [{labels: {version: v%d}}]", 1+i%2)))
		more()
	}
	m.Delete("RouteRule", "r")
	more()
	third := m.StartSpec(meshtest.Spec{Service: "reviews", Version: "v3", Ports: []meshtest.SpecPort{
		{Name: "grpc", Number: meshtest.ServicePort, Target: (&greeterService{version: "v3"}).serve(t)},
	}})
	m.Apply(ruleFor("reviews", "r", "route: [{labels: {version: v3}, weight: 50}, {labels: {version: v1}, weight: 50}]"))
	more()
	m.Apply(ruleFor("reviews", "r", "route: [{labels: {version: v1}}]"))
	third.Stop()
	more()
	m.Restart()
	m.Connected(caller)
	more()
	m.Apply(ruleFor("reviews", "r", "route: [{labels: {version: v2}}]"))
	obeyed(t, client, "v2")
	more()
	if refused := m.Refused(); len(refused) > 0 {
		t.Errorf("refused: %q", refused)
	}
}
