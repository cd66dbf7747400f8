//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// finding is one of `lateen check`.
type finding struct{ Code, Subject, Severity string }

// findings are those of `lateen check` about a subject that has a text; "": all.
func (s *space) findings(about string) map[string]string {
	s.t.Helper()
	out, _ := runLateen(s.t.Context(), "", "check", "-o", "json") // it fails where there are errors
	var report struct{ Findings []finding }
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	all := map[string]string{}
	for _, f := range report.Findings {
		if strings.Contains(f.Subject, about) {
			all[f.Code] = f.Subject
		}
	}
	return all
}

// `lateen check` finds what keeps a cluster from being as it is to be, each thing made to happen here.
func TestCheckFinds(t *testing.T) {
	s := injectedSpace(t)
	s.apply(strings.ReplaceAll(clientPod, "NAME", "client"))
	s.ready("client")
	s.await("nothing is found", func() error {
		if found := s.findings(s.name); len(found) > 0 {
			return fmt.Errorf("%v", found)
		}
		return nil
	})
	want := func(what string, s *space, codes ...string) {
		t.Helper()
		s.await(what, func() error {
			found := s.findings(s.name)
			for _, code := range codes {
				if found[code] == "" {
					return fmt.Errorf("no %s in %v", code, found)
				}
			}
			return nil
		})
	}
	late := newSpace(t)
	late.apply(strings.ReplaceAll(clientPod, "NAME", "early"))
	late.kubectl("label", "namespace", late.name, "istio-injection=enabled")
	want("a pod without a sidecar", late, "sidecar-missing")
	old, err := runLateen(t.Context(), strings.ReplaceAll(clientPod, "NAME", "old"), append([]string{"inject", "-f", "-", "--setVersionString=0.1"}, imageFlags()...)...)
	if err != nil {
		t.Fatal(err)
	}
	s.apply(old)
	s.apply(`
{apiVersion: v1, kind: Service, metadata: {name: nobody}, spec: {selector: {app: nobody}, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: client}, spec: {selector: {app: client}, ports: [{name: web, port: 8080}]}}
`)
	want("an old sidecar, a Service of nothing, a port of an unknown protocol", s, "sidecar-old", "selector-empty", "protocol-unknown")
	const rules = `
apiVersion: config.istio.io/v1alpha2
kind: EgressRule
metadata: {name: NAME}
spec: {destination: {service: check.example.com}, ports: [{port: 80, protocol: http}]}
`
	s.apply(strings.ReplaceAll(rules, "NAME", "one") + "---" + strings.ReplaceAll(rules, "NAME", "two"))
	want("two rules for one host", s, "object-problem")
	hooks := &space{t, "lateen"}
	s.lateens(0)
	patch := `[{"op":"replace","path":"/webhooks/0/clientConfig/caBundle","value":""}]`
	s.kubectl("patch", "mutatingwebhookconfiguration", "lateen", "--type=json", "--patch="+patch)
	want("webhooks that nobody trusts and nobody answers", hooks, "webhook-distrusted", "webhook-unreachable")
	s.lateens(2)
	s.await("webhooks are well", func() error {
		found := s.findings("lateen")
		for code := range found {
			if strings.HasPrefix(code, "webhook-") {
				return fmt.Errorf("%v", found)
			}
		}
		return nil
	})
	s.kubectl("label", "--overwrite", "crd", "routerules.config.istio.io", "app.kubernetes.io/part-of=another")
	want("a kind of another version", &space{t, "routerules"}, "installation-differs")
	s.program(append([]string{"install", "--force"}, imageFlags()...)...)
}

// A proxy that does not take what it is told is found out, while it is connected and when it is not any more, and not when it has all again. Its
// Envoy is stopped on this machine, so that the cluster must be the project's own.
func TestCheckFindsProxiesOutOfSync(t *testing.T) {
	s := injectedSpace(t)
	s.apply(strings.ReplaceAll(clientPod, "NAME", "client"))
	s.ready("client")
	stopped := s.processes(s.kubectl("get", "pod", "client", "-o", "jsonpath={.metadata.uid}"), proxy)
	if len(stopped) != 1 {
		t.Fatalf("the pod has the Envoys %v", stopped)
	}
	signal := func(what syscall.Signal) {
		if err := syscall.Kill(stopped[0], what); err != nil {
			t.Fatal(err)
		}
	}
	found := func(code string) func() error {
		return func() error {
			if found := s.findings(s.name); found[code] == "" {
				return fmt.Errorf("no %s in %v", code, found)
			}
			return nil
		}
	}
	t.Cleanup(func() { _ = syscall.Kill(stopped[0], syscall.SIGCONT) }) // it may go on already
	signal(syscall.SIGSTOP)
	s.apply("{apiVersion: v1, kind: Service, metadata: {name: new}, spec: {ports: [{name: http, port: 80}]}}") // which every proxy is told
	s.await("who has not confirmed it", found("proxy-behind"))
	s.await("who does not answer at all", found("proxy-away"))
	signal(syscall.SIGCONT)
	s.await("nothing is found", func() error {
		if found := s.findings(s.name); len(found) > 0 {
			return fmt.Errorf("%v", found)
		}
		return nil
	})
}
