//go:build e2e

package e2e

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/testapp"
)

// Requests per second that are asked for of one load, and that must have been made.
const (
	loadRate  = 120
	leastRate = 100
)

// eachRate is what is asked for of one of two loads at a time: at full length, where the machine is to have nothing else to do, all of the rate; else
// they have it in sum.
func eachRate() int {
	if full() {
		return loadRate
	}
	return loadRate / 2
}

// least is how many requests per second must have been made where so many were asked for: at full length nearly all of them. Elsewhere the machine
// may be busy with other things, and half of them is still a load under which what fails is seen.
func least(asked int) float64 {
	if full() {
		return float64(asked) * leastRate / loadRate
	}
	return float64(asked) / 2
}

// shortest is for how long loads run at least, since what is shorter has no rate.
const shortest = 10 * time.Second

// inHands is how many requests may have been in the hands of what was killed so many times, of which nobody can know whether they were done: as many as
// there are at a time, by their rate and how long one takes, and two at least. The time is the one in the middle, which those that a kill makes wait do not
// change. Each of them must be one that was sent ([neverSent]).
func inHands(sum testapp.Summary, kills int) int {
	atATime := float64(sum.Requests) / sum.Seconds * sum.P50 / 1000
	return kills * max(2, int(math.Ceil(atATime)))
}

// Ways by which a load comes to an application.
const (
	fromInside   = "inside"  // from a pod with a sidecar
	byTheIngress = "ingress" // from a pod without one, through the ingress
)

// full tells whether load tests run at full length.
func full() bool { return os.Getenv("LATEEN_LOAD") == "full" }

// tenth is how often a load test does what it does n times at full length: a tenth of that where CI runs it.
func tenth(n int) int {
	if full() {
		return n
	}
	return max(1, n/10)
}

// loadTable is what became of the loads of a test. It is told when the test is over, in the form of a table that can be pasted
// into a note: `sed -n 's/.*load table: //p'` takes it out of a log.
type loadTable struct{ rows []string }

// newLoadTable makes the table of a test.
func newLoadTable(t *testing.T) *loadTable {
	t.Helper()
	table := &loadTable{}
	t.Cleanup(func() {
		for _, row := range append([]string{"| what | way | requests | per second | failed | allowed | p50 ms | p99 ms |", "|---|---|--:|--:|--:|--:|--:|--:|"}, table.rows...) {
			t.Log("load table: " + row)
		}
	})
	return table
}

// add adds what became of one load.
func (l *loadTable) add(what, way string, sum testapp.Summary, allowed int) {
	l.rows = append(l.rows, fmt.Sprintf("| %s | %s | %d | %.0f | %d | %d | %.1f | %.1f |",
		what, way, sum.Requests, float64(sum.Requests)/sum.Seconds, sum.Failures, allowed, sum.P50, sum.P99))
}

// loads are two at a time: from the pod client to a service, and from the pod stranger to the same through the ingress.
type loads struct {
	table           *loadTable
	inside, ingress *load
}

// called is what loads ask for: a path of a service.
type called struct {
	service  string
	port     int
	path     string
	resolved bool // callers know the address of the service, and some have an open connection
}

var reviewsCalled = called{service: "reviews", port: 9080, path: "/reviews/0"}

// host is what the ingress knows the service by.
func (c called) host(s *space) string { return c.service + "." + s.name + ".example.com" }

// ingressAddress is where the ingress is, for whom DNS may be away.
func (s *space) ingressAddress() string {
	s.t.Helper()
	return s.kubectl("get", "service", "lateen-ingress", "--namespace="+lateenNamespace, "-o", "jsonpath={.spec.clusterIP}") + ":80"
}

const oneIngress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: NAME}
spec:
  ingressClassName: lateen
  rules: [{host: HOST, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: NAME, port: {number: PORT}}}}]}}]
`

// open has the ingress lead to the service, and returns when it does so.
func (s *space) open(c called) {
	s.t.Helper()
	s.apply(strings.NewReplacer("NAME", c.service, "HOST", c.host(s), "PORT", fmt.Sprint(c.port)).Replace(oneIngress))
	s.awaitOutside("http://" + c.host(s) + c.path)
}

// startLoads begins two loads at a time, with further arguments of the testapp client, until [loads.stop]. The ingress leads to what is called.
func (s *space) startLoads(table *loadTable, c called, args ...string) *loads {
	s.t.Helper()
	asked := eachRate()
	inside := slices.Clone(args)
	if c.resolved {
		inside = append(inside, fmt.Sprintf("--connect=%s:%d", s.address("service/"+c.service, ".spec.clusterIP"), c.port))
	} else {
		args, inside = append(args, "--fresh"), append(inside, "--fresh")
	}
	return &loads{
		table:   table,
		inside:  s.startLoad("pod/client", fmt.Sprintf("http://%s:%d%s", c.service, c.port, c.path), asked, inside...),
		ingress: s.startLoad("pod/stranger", "http://"+c.host(s)+c.path, asked, append(args, "--connect="+s.ingressAddress())...),
	}
}

// stop ends both loads, of which no request may have failed.
func (l *loads) stop(what string) {
	l.inside.t.Helper()
	l.stopWith(what, 0)
}

// stopWith is stop where so many times something was killed that may have had requests in its hands.
func (l *loads) stopWith(what string, kills int) {
	l.inside.t.Helper()
	<-time.After(shortest - time.Since(l.ingress.begun))
	for _, one := range []struct {
		way string
		*load
	}{{fromInside, l.inside}, {byTheIngress, l.ingress}} {
		l.table.judge(one.t, what, one.way, one.end(what), kills)
	}
}

// judge tells what became of one load of two, and adds it to the table.
func (l *loadTable) judge(t *testing.T, what, way string, sum testapp.Summary, kills int) {
	t.Helper()
	allowed := inHands(sum, kills)
	l.add(what, way, sum, allowed)
	wantGood(t, what+", "+way, sum, least(eachRate()), allowed)
}

// wantGood tells what became of a load: its requests must have been so many per second, and of them may have failed at most so many that
// were in the hands of what was killed.
func wantGood(t *testing.T, what string, sum testapp.Summary, rate float64, inHands int) {
	t.Helper()
	got := float64(sum.Requests) / sum.Seconds
	t.Logf("%s: %d requests in %.1f s (%.0f/s), %d failed; p50 %.1f ms, p99 %.1f ms, max %.0f ms; %v",
		what, sum.Requests, sum.Seconds, got, sum.Failures, sum.P50, sum.P99, sum.Max, sum.Answers)
	for _, failure := range sum.First {
		if sum.Failures > inHands || neverSent(failure) {
			t.Errorf("%s: %s", what, failure)
			continue
		}
		t.Logf("%s: in hands: %s", what, failure)
	}
	if sum.Failures > inHands {
		t.Errorf("%s: %d of %d requests failed, want at most %d", what, sum.Failures, sum.Requests, inHands)
	}
	if got < rate {
		t.Errorf("%s: there were %.0f requests per second, want at least %.0f: the machine is too busy for this test", what, got, rate)
	}
}

// neverSent tells whether a failure is one of a request that no application can have had in its hands: it was to be tried again.
func neverSent(failure string) bool {
	for _, words := range []string{"connection failure", "connection timeout", "no healthy upstream", "overflow", "connection refused", "no such host", "status 404"} {
		if strings.Contains(failure, words) {
			return true
		}
	}
	return false
}
