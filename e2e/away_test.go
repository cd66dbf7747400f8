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
		if pod == "stranger" {
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

const loadPod = `
apiVersion: v1
kind: Pod
metadata: {name: load, labels: {app: load}}
spec:
  restartPolicy: Never
  containers:
  - name: app
    image: lateen-testapp:dev
    imagePullPolicy: IfNotPresent
    args: [client, --rate=%d, --duration=%v, --fresh, --expect=reviewer, "http://%s:9080/reviews/0"]
`

// While the API server is away, requests go on as before; when it is back, no proxy is sent anything again but endpoints, since nothing
// else has changed: the cluster takes readiness from all pods for a moment, as it has not heard of their node. It does so with those
// of its DNS too, so that the load knows its address.
func TestLoadAPIServerAway(t *testing.T) {
	s := bookInfo(t)
	away := time.Duration(rounds()) * 12 * time.Second
	const around = 25 * time.Second
	address := s.kubectl("get", "service", "reviews", "-o", "jsonpath={.spec.clusterIP}")
	s.apply(s.inject(fmt.Sprintf(loadPod, loadRate, away+2*around, address)))
	s.phase("load", "Running")
	s.ready("load")
	s.kubectl("exec", "load", "-c", "app", "--", "testapp", "client", "--count=1", "http://"+address+":9080/reviews/0") // it has what it needs
	had, before := s.held(), s.resourcesSent()
	back := s.apiServerAway()
	<-time.After(away)
	back()
	s.await("an answer of the API server", func() error {
		_, err := s.try(t.Context(), "", "get", "namespaces")
		return err
	})
	s.kubectl("wait", "--for=condition=Ready", "pods", "--all", "--timeout="+patience.String())
	// What a proxy has come to ask for meanwhile, as for a connection over which its workload says nothing, was sent once. Who is asked for it
	// must still be there.
	after := s.resourcesSent()
	for one := range s.held() {
		if !had[one] {
			before[one.kind]++
		}
	}
	s.phase("load", "Succeeded")
	for kind, n := range after {
		if n > before[kind] {
			t.Errorf("%s: %v resources were sent that proxies had already", kind, n-before[kind])
		}
	}
	sums, err := decode[testapp.Summary](s.kubectl("logs", "load", "-c", "app"))
	if err != nil || len(sums) != 1 {
		t.Fatalf("%v, %d summaries", err, len(sums))
	}
	wantAllGood(t, fmt.Sprintf("the API server is away for %v", away), sums[0], leastRate)
}
