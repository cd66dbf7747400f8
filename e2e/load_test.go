//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const (
	loadRate  = 120 // requests per second that are asked for
	leastRate = 100 // that must have been made
)

// rounds is how often a load test does what it does: a tenth of that where CI runs it.
func rounds() int {
	if os.Getenv("LATEEN_LOAD") == "full" {
		return 10
	}
	return 1
}

// roll makes rolling updates of Deployments, one after the other: as many rounds as are asked for.
func (s *space) roll(times int, deployments ...string) {
	s.t.Helper()
	for range times {
		for _, d := range deployments {
			s.kubectl("rollout", "restart", d)
			s.rolledOut(d)
		}
	}
}

// Rolling updates of all versions of reviews under load fail no request.
func TestLoadRollingUpdates(t *testing.T) {
	s := bookInfo(t)
	load := s.startLoad("pod/client", "http://reviews:9080/reviews/0", loadRate, "--fresh", "--expect=reviewer")
	s.roll(rounds(), "deployment/reviews-v1", "deployment/reviews-v2", "deployment/reviews-v3")
	load.stop(fmt.Sprintf("%d rolling updates of reviews", 3*rounds()), leastRate)
}

// Neither do they with an application that ends in the moment of SIGTERM.
func TestLoadRollingUpdatesInHaste(t *testing.T) {
	s := meshSpace(t)
	s.apply(s.inject(hastyManifest))
	s.allRolledOut()
	load := s.startLoad("pod/client", "http://hasty:8080/", loadRate, "--fresh")
	s.roll(rounds(), "deployment/hasty")
	load.stop(fmt.Sprintf("%d rolling updates of an application that ends at once", rounds()), leastRate)
}

const hastyManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: hasty}
spec:
  replicas: 2
  selector: {matchLabels: {app: hasty}}
  strategy: {rollingUpdate: {maxUnavailable: 0}}
  template:
    metadata: {labels: {app: hasty}}
    spec:
      containers:
      - name: app
        image: lateen-testapp:dev
        imagePullPolicy: IfNotPresent
        args: [serve, --name=hasty, --exit-at-once]
        readinessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: hasty}
spec: {selector: {app: hasty}, ports: [{name: http, port: 8080}]}
`

// One of two replicas of Lateen is killed under load, each of them at least once, while rules change: no request fails, and the rules are in force in all
// proxies as if nothing had happened.
func TestLoadReplicaKilled(t *testing.T) {
	s := bookInfo(t)
	load := s.startLoad("pod/client", "http://reviews:9080/reviews/0", loadRate, "--fresh", "--expect=reviewer")
	pods := func() []string {
		return strings.Fields(s.kubectl("get", "pods", "--namespace="+lateenNamespace, "-l", "app.kubernetes.io/name=lateen",
			"--sort-by=.metadata.creationTimestamp", "-o", "name"))
	}
	kills := max(2, rounds())
	for range kills {
		victim := pods()[0] // the oldest
		s.kubectl("delete", victim, "--namespace="+lateenNamespace, "--grace-period=0", "--force")
		s.lateen("apply", "-f", repository("samples/bookinfo/reviews-v3.yaml"))
		if seen := s.stars("", 10); len(seen) != 1 || seen["red"] == 0 {
			t.Errorf("with %s killed the rule is in force, and pages show %v", victim, seen)
		}
		s.lateen("delete", "-f", repository("samples/bookinfo/reviews-v3.yaml"))
		s.kubectl("rollout", "status", "deployment/lateen", "--namespace="+lateenNamespace, "--timeout="+patience.String())
	}
	load.stop(fmt.Sprintf("%d times the older replica of Lateen is killed", kills), leastRate)
	if got := len(pods()); got != 2 {
		t.Errorf("there are %d replicas of Lateen, want 2", got)
	}
}
