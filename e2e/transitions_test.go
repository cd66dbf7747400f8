//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// Whatever happens to what runs and to what is said about it, requests go on.
func TestLoadTransitions(t *testing.T) {
	s, table, times := injectedSpace(t), newLoadTable(t), tenth(2)
	s.apply(patientManifest(t))
	s.callers()
	s.allRolledOut()
	s.open(reviewsCalled)
	scale := func(s *space, deployment string, replicas int) {
		s.kubectl("scale", "deployment/"+deployment, fmt.Sprintf("--replicas=%d", replicas))
		s.rolledOut("deployment/" + deployment)
	}
	for _, c := range []struct {
		what     string
		resolved bool // callers know the address, and some have an open connection
		inHands  bool // a pod may have requests in its hands when it is killed
		do       func(s *space)
	}{
		{what: "a Deployment is scaled from 1 to 5 to 1", do: func(s *space) {
			scale(s, "reviews-v1", 5)
			scale(s, "reviews-v1", 1)
			s.await("four pods are gone", func() error {
				if pods := s.sidecars("app=reviews,version=v1"); len(pods) != 1 {
					return fmt.Errorf("%v", pods)
				}
				return nil
			})
		}},
		{what: "a pod is killed", inHands: true, do: func(s *space) {
			s.kubectl("delete", "pod", "--selector=app=reviews,version=v2", "--grace-period=0", "--force")
			s.rolledOut("deployment/reviews-v2")
		}},
		{what: "Lateen is updated", do: func(s *space) {
			s.kubectl("rollout", "restart", "deployment/lateen", "--namespace="+lateenNamespace)
			s.kubectl("rollout", "status", "deployment/lateen", "--namespace="+lateenNamespace, "--timeout="+patience.String())
		}},
		{what: "Lateen is scaled from 2 to 1 to 2", do: func(s *space) {
			s.lateens(1)
			s.lateens(2)
		}},
		{what: "mutual TLS is asked for, and no more, and left open", do: func(s *space) {
			for _, mode := range []string{"auth.istio.io/9080=MUTUAL_TLS", "auth.istio.io/9080=NONE", "auth.istio.io/9080-"} {
				s.kubectl("annotate", "--overwrite", "service", "reviews", mode)
				s.page("client", "", 3)
			}
		}},
		{what: "a namespace is deleted", do: func(s *space) {
			other := injectedSpace(s.t)
			other.apply(serverOf("server", ""))
			other.allRolledOut()
			other.lateen("apply", "-f", repository("samples/bookinfo/reviews-v3.yaml"))
			other.kubectl("delete", "namespace", other.name, "--wait=false")
			other.kubectl("wait", "--for=delete", "namespace/"+other.name, "--timeout="+patience.String())
			other.kubectl("create", "namespace", other.name) // it is deleted at the end
		}},
		{what: "a bad object is applied", do: badObjects},
		{what: "the cluster's DNS is away", resolved: true, do: func(s *space) {
			s.kubectl("scale", "deployment/coredns", "--namespace=kube-system", "--replicas=0")
			s.kubectl("wait", "--for=delete", "pod", "--namespace=kube-system", "--selector=k8s-app=kube-dns", "--timeout="+patience.String())
			address := s.address("service/reviews", ".spec.clusterIP")
			for _, r := range s.ask("pod/client", "--count=50", "--expect=reviewer", "http://"+address+":9080/reviews/0") {
				if r.Error != "" {
					s.t.Error(r.Error)
				}
			}
			s.kubectl("scale", "deployment/coredns", "--namespace=kube-system", "--replicas=1")
			s.kubectl("rollout", "status", "deployment/coredns", "--namespace=kube-system", "--timeout="+patience.String())
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := &space{t, s.name}
			target := reviewsCalled
			target.resolved = c.resolved
			load := s.startLoads(table, target, "--expect=reviewer")
			for range times {
				c.do(s)
			}
			if c.inHands {
				load.stopWith(c.what, times)
				return
			}
			load.stop(c.what)
		})
	}
}

// badRules are objects with something wrong in them, beside others that are good.
var badRules = map[string]string{
	"routerule/bad-type":         `{apiVersion: config.istio.io/v1alpha2, kind: RouteRule, metadata: {name: bad-type}, spec: {destination: {name: reviews}, precedence: high}}`,
	"routerule/bad-field":        `{apiVersion: config.istio.io/v1alpha2, kind: RouteRule, metadata: {name: bad-field}, spec: {destination: {name: reviews}, rout: [{labels: {version: v4}}]}}`,
	"routerule/bad-regex":        `{apiVersion: config.istio.io/v1alpha2, kind: RouteRule, metadata: {name: bad-regex}, spec: {destination: {name: reviews}, precedence: 9, match: {request: {headers: {uri: {regex: "("}}}}, httpFault: {abort: {percent: 100, httpStatus: 500}}}}`,
	"destinationpolicy/bad-kind": `{apiVersion: config.istio.io/v1alpha2, kind: DestinationPolicy, metadata: {name: bad-kind}, spec: {destination: {name: reviews}, loadBalancing: {name: NOBODY_KNOWS}}}`,
	"egressrule/bad-port":        `{apiVersion: config.istio.io/v1alpha2, kind: EgressRule, metadata: {name: bad-port}, spec: {destination: {service: reviews.example.com}, ports: [{port: 99999, protocol: http}]}}`,
}

// badObjects applies what is wrong: the API server refuses it; while nobody answers the API server it takes it, and when somebody does, each object
// is told to be wrong.
func badObjects(s *space) {
	s.t.Helper()
	for name, bad := range badRules {
		if out, err := s.try(s.t.Context(), bad, "apply", "-f", "-"); err == nil || !strings.Contains(err.Error(), " is invalid: spec.") {
			s.t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	s.lateens(0)
	for _, bad := range badRules {
		s.apply(bad)
	}
	s.lateens(2)
	for name := range badRules {
		s.await("what is told of "+name, func() error {
			if got := s.kubectl("get", name, "-o", `jsonpath={.status.conditions[?(@.type=="Accepted")].status}`); got != "False" {
				return fmt.Errorf("accepted: %q", got)
			}
			return nil
		})
	}
	s.page("client", "", 3)
	for name := range badRules {
		s.kubectl("delete", name)
	}
}
