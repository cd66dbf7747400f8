package kubewrite_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

// judge judges what an API server has: a RouteRule whose precedence is a text is bad, and any other one is in one of one proxies.
type judge struct {
	t     *testing.T
	rules dynamic.NamespaceableResourceInterface

	mu   sync.Mutex
	seen map[mesh.Ref]mesh.Judged

	rests atomic.Int64
}

// Rest counts.
func (j *judge) Rest() { j.rests.Add(1) }

// News lists all rules, and returns those that have changed.
func (j *judge) News(all bool) []mesh.Ref {
	list, err := j.rules.List(j.t.Context(), metav1.ListOptions{})
	if err != nil {
		return nil // at the end of the test
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	var changed []mesh.Ref
	for _, u := range list.Items {
		ref := mesh.Ref{Kind: "RouteRule", Namespace: u.GetNamespace(), Name: u.GetName()}
		if !all && j.seen[ref].ResourceVersion == u.GetResourceVersion() {
			continue
		}
		changed = append(changed, ref)
		now := mesh.Judged{Object: ref, APIVersion: "config.istio.io/v1alpha2", Plural: "routerules", Reach: &mesh.Reach{Concerned: 1, Confirmed: 1}}
		now.Sight = mesh.Sight{UID: string(u.GetUID()), ResourceVersion: u.GetResourceVersion(), Generation: u.GetGeneration()}
		now.Status, _ = json.Marshal(u.Object["status"])
		if text, bad, _ := unstructured.NestedString(u.Object, "spec", "precedence"); bad {
			now.Problems = []mesh.Problem{{Object: ref, Field: "spec.precedence", Code: "wrong-type", Severity: mesh.Error, Message: text + " is no number"}}
		}
		j.seen[ref] = now
	}
	return changed
}

func (j *judge) Judge(ref mesh.Ref) (*mesh.Judged, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.seen[ref]
	return &now, true
}

// withRules is a cluster that knows RouteRules.
func withRules(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	c.define(t)
	c.server.Kubectl(t, "", "wait", "--for=condition=Established", "--timeout=60s", "crds", "--all")
	objects, err := dynamic.NewForConfig(kubetest.Config(t, c.server.Kubeconfig, nil))
	must(t, err)
	version := schema.GroupVersionResource{Group: "config.istio.io", Version: "v1alpha2", Resource: "routerules"}
	c.judge = &judge{t: t, rules: objects.Resource(version), seen: map[mesh.Ref]mesh.Judged{}}
	return c
}

// define has the cluster know the kinds as they are now.
func (c *cluster) define(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile("../../deploy/chart/templates/crds.yaml")
	must(t, err)
	c.server.Kubectl(t, string(text), "apply", "--server-side", "--force-conflicts", "-f", "-")
}

func (c *cluster) rule(t *testing.T, name, precedence string) {
	t.Helper()
	text := fmt.Sprintf("{apiVersion: config.istio.io/v1alpha2, kind: RouteRule, metadata: {name: %s}, spec: {precedence: %s}}", name, precedence)
	c.server.Kubectl(t, text, "apply", "-n", "default", "-f", "-")
}

// status returns what people look for first.
func (c *cluster) status(t *testing.T, name string) string {
	t.Helper()
	return c.server.Kubectl(t, "", "get", "rr", name, "-n", "default", "-o", `jsonpath={.status.observedGeneration} {.status.conditions[?(@.type=="Accepted")].status} {.status.programmed}`)
}

// Each status is written once, however many objects come at once, and none again by the next leader.
func TestStatusIsWrittenOnce(t *testing.T) {
	t.Parallel()
	c := withRules(t)
	const many = 45 // more than are written at a beat
	var all []string
	for i := range many {
		all = append(all, fmt.Sprintf("{apiVersion: config.istio.io/v1alpha2, kind: RouteRule, metadata: {name: r%d}, spec: {precedence: %d}}", i, i))
	}
	c.server.Kubectl(t, strings.Join(all, "\n---\n"), "apply", "-n", "default", "-f", "-")
	a := c.replica(t, "a", calm)
	written := func() bool {
		for i := range many {
			if c.judge.status(i) != "1 of 1" {
				return false
			}
		}
		return true
	}
	testkit.Await(t, "all have a status", written)
	b := c.replica(t, "b", calm)
	rests := c.judge.rests.Load()
	testkit.Await(t, "one that does not lead lets its judge rest", func() bool { return c.judge.rests.Load() > rests })
	a.stop()
	testkit.Await(t, "the next one leads", b.Leading)
	c.rule(t, "last", "x")
	testkit.Await(t, "it writes", func() bool { return c.status(t, "last") == "1 False " })
	if n, m := a.states.Load(), b.states.Load(); n != many || m != 1 {
		t.Errorf("%d objects: the first leader has written %d times, the next one %d", many+1, n, m)
	}
}

// status returns how far a rule is, as it was seen last.
func (j *judge) status(i int) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var status struct{ Programmed string }
	_ = json.Unmarshal(j.seen[mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: fmt.Sprint("r", i)}].Status, &status)
	return status.Programmed
}

// An object that is changed while its status is written has in the end the status of what it says then.
func TestStatusOfWhatChangesMeanwhile(t *testing.T) {
	t.Parallel()
	c := withRules(t)
	a := c.replica(t, "a", calm)
	h := a.holdStatus()
	c.rule(t, "one", "1")
	<-h.came
	c.rule(t, "one", "x")
	close(h.on)
	testkit.Await(t, "it has the status of the change", func() bool { return c.status(t, "one") == "2 False " })
	c.rule(t, "one", "3")
	testkit.Await(t, "it is good again", func() bool { return c.status(t, "one") == "3 True 1 of 1" })
	// A busy machine may hold the first writing for longer than one may take, which is told, and is no conflict.
	for line := range strings.Lines(a.log.String()) {
		if strings.Contains(line, "WARN") && !strings.Contains(line, "context deadline exceeded") {
			t.Errorf("said is %s", line)
		}
	}
	events := c.server.Kubectl(t, "", "get", "events", "-n", "default", "--field-selector=involvedObject.name=one", "-o", `jsonpath={range .items[*]}{.type} {.reason}: {.message}{"\n"}{end}`)
	if want := "Warning WrongType: spec.precedence: x is no number\nNormal Accepted: it is good again: it is applied\n"; events != want {
		t.Errorf("Events:\n%s", events)
	}
}

// Whoever changes a status again and again is answered ever more slowly, and that is told once; other objects do not wait.
func TestNoFightForAStatus(t *testing.T) {
	t.Parallel()
	c := withRules(t)
	c.rule(t, "one", "1")
	a := c.replica(t, "a", calm)
	testkit.Await(t, "it has a status", func() bool { return c.status(t, "one") == "1 True 1 of 1" })
	before := a.states.Load()
	pace := time.NewTicker(100 * time.Millisecond)
	defer pace.Stop()
	for end := time.Now().Add(12 * time.Second); time.Now().Before(end); <-pace.C {
		evil := []byte(`{"status": {"programmed": "evil", "conditions": []}}`)
		_, err := c.judge.rules.Namespace("default").Patch(t.Context(), "one", "application/merge-patch+json", evil, metav1.PatchOptions{}, "status")
		must(t, err)
	}
	if n := a.states.Load() - before; n < 2 || n > 5 {
		t.Errorf("in 12 s it is written %d times", n)
	}
	c.rule(t, "two", "1")
	testkit.Await(t, "another object has a status", func() bool { return c.status(t, "two") == "1 True 1 of 1" })
	testkit.Await(t, "it has its status again", func() bool { return c.status(t, "one") == "1 True 1 of 1" })
	if n := strings.Count(a.log.String(), "does not last"); n != 1 {
		t.Errorf("it is told %d times:\n%s", n, a.log)
	}
}

// Where a kind has no status, as its definition is an old one, that is told once, and all is written when that is mended.
func TestKindWithoutStatus(t *testing.T) {
	t.Parallel()
	c := withRules(t)
	c.rule(t, "one", "1")
	c.rule(t, "two", "2")
	c.server.Kubectl(t, "", "patch", "crd", "routerules.config.istio.io", "--type=json", "-p", `[{"op": "remove", "path": "/spec/versions/0/subresources"}]`)
	testkit.Await(t, "it has none", func() bool {
		_, err := c.judge.rules.Namespace("default").Patch(t.Context(), "one", "application/merge-patch+json", []byte("{}"), metav1.PatchOptions{}, "status")
		return apierrors.IsNotFound(err) && !strings.Contains(c.server.Kubectl(t, "", "get", "--raw", "/apis/config.istio.io/v1alpha2"), "routerules/status")
	})
	const told = "lateen install mends that"
	a := c.replica(t, "a", time.Second)
	testkit.Await(t, "it is told", func() bool { return strings.Contains(a.log.String(), told) })
	c.rule(t, "three", "3")
	testkit.Await(t, "it is tried again", func() bool { return a.states.Load() > 1 })
	c.define(t)
	testkit.Await(t, "all have a status", func() bool {
		return c.status(t, "one") == "1 True 1 of 1" && c.status(t, "two") == "1 True 1 of 1" && c.status(t, "three") == "1 True 1 of 1"
	})
	if n := strings.Count(a.log.String(), told); n != 1 {
		t.Errorf("it is told %d times:\n%s", n, a.log)
	}
}
