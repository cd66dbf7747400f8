//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// Whatever happens to what runs and to what is said about it, requests go on.
func TestLoadTransitions(t *testing.T) {
	s := injectedSpace(t)
	s.applyFile("deploy/bookinfo/bookinfo.yaml")
	s.apply(strings.ReplaceAll(clientPod, "NAME", "client"))
	s.allRolledOut()
	s.ready("client")
	address := s.kubectl("get", "service", "reviews", "-o", "jsonpath={.spec.clusterIP}")
	scale := func(s *space, deployment string, replicas int) {
		s.kubectl("scale", "deployment/"+deployment, fmt.Sprintf("--replicas=%d", replicas))
		s.rolledOut("deployment/" + deployment)
	}
	for _, c := range []struct {
		what    string
		host    string // of the load, if not reviews
		inHands bool   // a pod may have requests in its hands when it is killed
		do      func(s *space)
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
		{what: "the cluster's DNS is away", host: address, do: func(s *space) {
			s.kubectl("scale", "deployment/coredns", "--namespace=kube-system", "--replicas=0")
			s.kubectl("wait", "--for=delete", "pod", "--namespace=kube-system", "--selector=k8s-app=kube-dns", "--timeout="+patience.String())
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
			host := c.host
			if host == "" {
				host = "reviews"
			}
			load := s.startLoad("pod/client", "http://"+host+":9080/reviews/0", loadRate, "--fresh", "--expect=reviewer")
			for range max(1, rounds()/5) {
				c.do(s)
			}
			if c.inHands {
				load.stopWith(c.what, leastRate, 2*max(1, rounds()/5))
				return
			}
			load.stop(c.what, leastRate)
		})
	}
}
