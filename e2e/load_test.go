//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

const (
	loadRate  = 120 // requests per second that are asked for
	leastRate = 100 // that must have been made
)

// Ten rolling updates of reviews under load fail no request: with an application that takes its time, and with one that ends in
// the moment of SIGTERM.
func TestLoadRollingUpdates(t *testing.T) {
	s := bookInfo(t)
	s.apply(s.inject(fmt.Sprintf(hastyManifest, "v1")))
	s.allRolledOut()
	reviews := s.startLoad("pod/client", "http://reviews:9080/reviews/0", loadRate, "--fresh", "--expect=reviewer")
	hasty := s.startLoad("pod/client", "http://hasty:8080/", loadRate, "--fresh")
	for range 10 {
		s.kubectl("rollout", "restart", "deployment/reviews-v1", "deployment/reviews-v2", "deployment/reviews-v3", "deployment/hasty")
		s.allRolledOut()
	}
	reviews.stop("ten rolling updates of reviews", leastRate)
	hasty.stop("ten rolling updates of an application that ends at once", leastRate)
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
    metadata: {labels: {app: hasty, version: %s}}
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

// One of two replicas of Lateen is killed under load, while rules change: no request fails, and the rules are in force in all
// proxies as if nothing had happened.
func TestLoadReplicaKilled(t *testing.T) {
	s := bookInfo(t)
	load := s.startLoad("pod/client", "http://reviews:9080/reviews/0", loadRate, "--fresh", "--expect=reviewer")
	pods := func() []string {
		return strings.Fields(s.kubectl("get", "pods", "--namespace="+lateenNamespace, "-l", "app.kubernetes.io/name=lateen", "-o", "name"))
	}
	for _, victim := range pods() {
		s.kubectl("delete", victim, "--namespace="+lateenNamespace, "--grace-period=0", "--force")
		s.lateen("apply", "-f", repository("samples/bookinfo/reviews-v3.yaml"))
		if seen := s.stars("", 10); len(seen) != 1 || seen["red"] == 0 {
			t.Errorf("with %s killed the rule is in force, and pages show %v", victim, seen)
		}
		s.lateen("delete", "-f", repository("samples/bookinfo/reviews-v3.yaml"))
		s.kubectl("rollout", "status", "deployment/lateen", "--namespace="+lateenNamespace, "--timeout="+patience.String())
	}
	load.stop("both replicas killed, one after the other", leastRate)
	if got := len(pods()); got != 2 {
		t.Errorf("there are %d replicas of Lateen, want 2", got)
	}
}
