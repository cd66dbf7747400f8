//go:build e2e

package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/testapp"
)

// awayRules drop what is sent to the API server of the project's own cluster, and what it sends.
const awayRules = `
add table inet lateen-e2e-away
add chain inet lateen-e2e-away in { type filter hook input priority -10 ; }
add chain inet lateen-e2e-away out { type filter hook output priority -10 ; }
add rule inet lateen-e2e-away in tcp dport 6443 drop
add rule inet lateen-e2e-away out tcp sport 6443 drop
`

// apiServerAway makes the API server one that nobody reaches, until the function that it returns is called.
func (s *space) apiServerAway() (back func()) {
	s.t.Helper()
	nft := func(rules string) error {
		cmd := exec.CommandContext(context.WithoutCancel(s.t.Context()), "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		return nil
	}
	gone := false
	back = func() {
		if gone {
			return
		}
		gone = true
		if err := nft("delete table inet lateen-e2e-away\n"); err != nil {
			s.t.Error(err)
		}
	}
	s.t.Cleanup(back)
	if err := nft(awayRules); err != nil {
		s.t.Fatal(err)
	}
	return back
}

var sentMetric = regexp.MustCompile(`(?m)^lateen_resources_sent_total\{type="([a-z-]+)"\} ([0-9.e+]+)$`)

// held is a resource that a proxy has.
type held struct{ pod, kind, name string }

// held returns the resources that each proxy of the namespace has, as Lateen tells it.
func (s *space) held() map[held]bool {
	s.t.Helper()
	all := map[held]bool{}
	for pod := range strings.FieldsSeq(s.kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.name}")) {
		if pod == "stranger" || pod == "load-"+byTheIngress {
			continue
		}
		out, err := runLateen(s.t.Context(), "", "proxies", pod+"."+s.name, "-o", "json")
		var detail struct{ Names map[string][]string }
		if err = cmp.Or(err, json.Unmarshal([]byte(out), &detail)); err != nil {
			s.t.Fatal(err)
		}
		for kind, names := range detail.Names {
			for _, name := range names {
				all[held{pod, kind, name}] = true
			}
		}
	}
	return all
}

// resourcesSent sums up the resources that all replicas of Lateen have sent to proxies, by type, without endpoints.
func (s *space) resourcesSent() map[string]float64 {
	s.t.Helper()
	sums := map[string]float64{}
	pods := s.kubectl("get", "pods", "--namespace="+lateenNamespace, "-l", "app.kubernetes.io/name=lateen", "-o", "jsonpath={.items[*].metadata.name}")
	for pod := range strings.FieldsSeq(pods) {
		text := s.kubectl("get", "--raw", "/api/v1/namespaces/"+lateenNamespace+"/pods/"+pod+":15014/proxy/metrics")
		found := sentMetric.FindAllStringSubmatch(text, -1)
		if len(found) == 0 {
			s.t.Fatalf("%s does not tell what it has sent: %.500s", pod, text)
		}
		for _, f := range found {
			n, err := strconv.ParseFloat(f[2], 64)
			if err != nil {
				s.t.Fatal(err)
			}
			if f[1] != "endpoints" {
				sums[f[1]] += n
			}
		}
	}
	return sums
}

// loadPod is a pod that loads by itself for some time, since nobody can be asked to while the API server is away.
const loadPod = `
---
apiVersion: v1
kind: Pod
metadata: {name: load-NAME, labels: {app: load}}
spec:
  restartPolicy: Never
  containers:
  - name: app
    image: lateen-testapp:dev
    imagePullPolicy: IfNotPresent
    args: [client, --rate=RATE, --duration=DURATION, --fresh, --expect=reviewer, --connect=ADDRESS, "http://HOST/reviews/0"]
`

// away is for how long the API server is away, and aroundAway how long the load runs besides.
const aroundAway = 25 * time.Second

func away() time.Duration { return time.Duration(tenth(10)) * 12 * time.Second }

// loadAlone begins a load of reviews both ways by pods of their own. The DNS may be away too, so that they know addresses.
func (s *space) loadAlone() {
	s.t.Helper()
	asked := eachRate()
	address := s.address("service/reviews", ".spec.clusterIP") + ":9080"
	pod := func(way, address, host string) string {
		return strings.NewReplacer("NAME", way, "RATE", strconv.Itoa(asked), "DURATION", (away() + 2*aroundAway).String(), "ADDRESS", address, "HOST", host).Replace(loadPod)
	}
	s.apply(s.inject(pod(fromInside, address, "reviews:9080")))
	s.apply(pod(byTheIngress, s.ingressAddress(), reviewsCalled.host(s)))
	for _, way := range []string{fromInside, byTheIngress} {
		s.phase("load-"+way, "Running")
		s.ready("load-" + way)
	}
	// It has what it needs.
	s.kubectl("exec", "load-"+fromInside, "-c", "app", "--", "testapp", "client", "--count=1", "--connect="+address, "http://reviews:9080/reviews/0")
}

// loadsAlone returns when these loads are over, while which so many times something was killed that may have had requests in its hands.
func (s *space) loadsAlone(table *loadTable, what string, kills int) {
	s.t.Helper()
	for _, way := range []string{fromInside, byTheIngress} {
		s.phase("load-"+way, "Succeeded")
		sums, err := decode[testapp.Summary](s.kubectl("logs", "load-"+way, "-c", "app"))
		if err != nil || len(sums) != 1 {
			s.t.Fatalf("%v, %d summaries", err, len(sums))
		}
		table.judge(s.t, what, way, sums[0], kills)
	}
}

// answered returns when the API server answers and all pods are ready.
func (s *space) answered() {
	s.t.Helper()
	s.await("an answer of the API server", func() error {
		_, err := s.try(s.t.Context(), "", "get", "namespaces")
		return err
	})
}

// While the API server is away, requests go on as before; when it is back, no proxy is sent anything again but endpoints, since nothing
// else has changed: the cluster takes readiness from all pods for a moment, as it has not heard of their node. It does so with those
// of its DNS too.
func TestLoadAPIServerAway(t *testing.T) {
	s, table := patientBookInfo(t), newLoadTable(t)
	s.open(reviewsCalled)
	s.loadAlone()
	had, before := s.held(), s.resourcesSent()
	back := s.apiServerAway()
	<-time.After(away())
	back()
	s.answered()
	s.kubectl("wait", "--for=condition=Ready", "pods", "--selector=app!=load", "--timeout="+patience.String())
	// What a proxy has come to ask for meanwhile, as for a connection over which its workload says nothing, was sent once. Who is asked for it
	// must still be there.
	after := s.resourcesSent()
	for one := range s.held() {
		if !had[one] {
			before[one.kind]++
		}
	}
	for kind, n := range after {
		if n > before[kind] {
			t.Errorf("%s: %v resources were sent that proxies had already", kind, n-before[kind])
		}
	}
	s.loadsAlone(table, fmt.Sprintf("the API server is away for %v", away()), 0)
}

// Pods die while the API server is away, so that nobody is told: an application, which its node starts again, and all of a pod. The pod has another
// address from then on, and its sidecar no identity until the API server can say whose it is. What goes to the address that is no more is tried
// at another pod.
func TestLoadPodsDieWithTheAPIServerAway(t *testing.T) {
	s, table := patientBookInfo(t), newLoadTable(t)
	s.open(reviewsCalled)
	_, restarted := s.podOf("app=reviews,version=v2")
	_, moved := s.podOf("app=reviews,version=v3")
	s.loadAlone()
	was := s.address("pod/"+s.podName("app=reviews,version=v3"), ".status.podIP")
	back := s.apiServerAway()
	begun := time.Now()
	had := s.processes(restarted, application)
	s.kill(restarted, application)
	s.kill(moved, "")
	s.runsAgain(restarted, application, had)
	<-time.After(away() - time.Since(begun))
	back()
	s.answered()
	s.await("pods with other addresses", func() error {
		if is := s.address("pod/"+s.podName("app=reviews,version=v3"), ".status.podIP"); is == was {
			return fmt.Errorf("it is still %s", is)
		}
		return nil
	})
	s.kubectl("wait", "--for=condition=Ready", "pods", "--selector=app!=load", "--timeout="+patience.String())
	s.loadsAlone(table, fmt.Sprintf("two pods die while the API server is away for %v", away()), 2)
}
