//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// With two replicas, `kubectl get` shows of each rule whether it is applied and in how many of the proxies that it concerns it is: those
// whose workloads have called its destination, to whichever replica they are connected. `kubectl describe` tells why a bad one is not.
func TestStatusOfRules(t *testing.T) {
	s := bookInfo(t)
	s.page("client", "", 1) // so productpage has called reviews
	if r := s.ask("pod/client", "--count=1", "http://reviews:9080/reviews/0"); len(r) != 1 || r[0].Status != 200 {
		t.Fatalf("%+v", r)
	}
	if n := s.kubectl("get", "leases", "--namespace="+lateenNamespace, "-l", "lateen.dev/replica=true", "-o", "jsonpath={.items[*].metadata.name}"); len(strings.Fields(n)) != 2 {
		t.Errorf("the replicas are %s", n)
	}
	s.lateens(0) // while nobody answers the API server, it takes in what is wrong too
	s.apply(`
{apiVersion: config.istio.io/v1alpha2, kind: RouteRule, metadata: {name: good}, spec: {destination: {name: reviews}, route: [{labels: {version: v1}}]}}
---
{apiVersion: config.istio.io/v1alpha2, kind: RouteRule, metadata: {name: bad}, spec: {destination: {name: reviews}, precedence: high}}
`)
	s.lateens(2)
	const line = `jsonpath={.status.conditions[?(@.type=="Accepted")].status}/{.status.conditions[?(@.type=="Programmed")].status} {.status.programmed}`
	for name, want := range map[string]string{"good": "True/True 2 of 2", "bad": "False/False "} { // productpage and client
		s.await("the status of "+name, func() error {
			if got := s.kubectl("get", "routerule", name, "-o", line); got != want {
				return fmt.Errorf("%q, want %q", got, want)
			}
			return nil
		})
	}
	for _, want := range []string{"ACCEPTED   PROGRAMMED", "True       2 of 2", "False"} {
		if list := s.kubectl("get", "routerules"); !strings.Contains(list, want) {
			t.Errorf("kubectl get routerules: want %q in\n%s", want, list)
		}
	}
	s.await("the Event", func() error {
		told := s.kubectl("describe", "routerule", "bad")
		if _, events, ok := strings.Cut(told, "Events:"); !ok || !strings.Contains(events, "WrongType") || !strings.Contains(events, "spec.precedence: want a whole number") {
			return fmt.Errorf("kubectl describe:\n%s", told)
		}
		return nil
	})
	s.apply(`{apiVersion: config.istio.io/v1alpha2, kind: RouteRule, metadata: {name: bad}, spec: {destination: {name: ratings}, precedence: 3}}`)
	s.await("the status of what is mended", func() error {
		if got := s.kubectl("get", "routerule", "bad", "-o", "jsonpath={.metadata.generation} {.status.observedGeneration} "+strings.TrimPrefix(line, "jsonpath=")); !strings.HasPrefix(got, "2 2 True/True ") {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
}
