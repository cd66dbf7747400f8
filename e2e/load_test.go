//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// roll makes rolling updates one after the other, each of all the Deployments at a time.
func (s *space) roll(times int, deployments ...string) {
	s.t.Helper()
	for range times {
		s.kubectl(append([]string{"rollout", "restart"}, deployments...)...)
		s.rolledOut(deployments...)
	}
}

// reviewsVersions are the Deployments of reviews.
func reviewsVersions() []string {
	return []string{"deployment/reviews-v1", "deployment/reviews-v2", "deployment/reviews-v3"}
}

// Rolling updates of reviews, all of its versions at a time, fail no request.
func TestLoadRollingUpdates(t *testing.T) {
	s, table, times := patientBookInfo(t), newLoadTable(t), tenth(20)
	s.open(reviewsCalled)
	load := s.startLoads(table, reviewsCalled, "--expect=reviewer")
	s.roll(times, reviewsVersions()...)
	load.stop(fmt.Sprintf("%d rolling updates of reviews", times))
}

// Neither do they with an application that ends in the moment of SIGTERM.
func TestLoadRollingUpdatesInHaste(t *testing.T) {
	s, table, times := meshSpace(t), newLoadTable(t), tenth(10)
	s.apply(s.inject(hastyManifest))
	s.allRolledOut()
	hasty := called{service: "hasty", port: 8080, path: "/"}
	s.open(hasty)
	load := s.startLoads(table, hasty)
	s.roll(times, "deployment/hasty")
	load.stop(fmt.Sprintf("%d rolling updates of an application that ends at once", times))
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
	s, table := patientBookInfo(t), newLoadTable(t)
	s.open(reviewsCalled)
	load := s.startLoads(table, reviewsCalled, "--expect=reviewer")
	pods := func() []string {
		return strings.Fields(s.kubectl("get", "pods", "--namespace="+lateenNamespace, "-l", "app.kubernetes.io/name=lateen",
			"--sort-by=.metadata.creationTimestamp", "-o", "name"))
	}
	kills := max(2, tenth(10))
	for range kills {
		victim := pods()[0] // the oldest
		s.kubectl("delete", victim, "--namespace="+lateenNamespace, "--grace-period=0", "--force")
		s.lateen("apply", "-f", repository("samples/bookinfo/reviews-v3.yaml"))
		if seen := s.stars("", 20); len(seen) != 1 || seen["black"] == 0 {
			t.Errorf("with %s killed the rule is in force, and pages show %v", victim, seen)
		}
		s.lateen("delete", "-f", repository("samples/bookinfo/reviews-v3.yaml"))
		s.kubectl("rollout", "status", "deployment/lateen", "--namespace="+lateenNamespace, "--timeout="+patience.String())
	}
	load.stop(fmt.Sprintf("%d times the older replica of Lateen is killed", kills))
	if got := len(pods()); got != 2 {
		t.Errorf("there are %d replicas of Lateen, want 2", got)
	}
}
