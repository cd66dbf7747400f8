//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// injectedSpace makes a namespace whose pods get a sidecar by themselves.
func injectedSpace(t *testing.T) *space {
	t.Helper()
	needMesh(t)
	s := newSpace(t, "istio-injection=enabled")
	s.asked()
	return s
}

// asked returns when the API server asks the control plane about pods.
func (s *space) asked() {
	s.t.Helper()
	s.await("the API server asks about pods", func() error {
		out, err := s.try(s.t.Context(), strings.ReplaceAll(clientPod, "NAME", "probe"), "create", "--dry-run=server", "-o", "jsonpath={.spec.initContainers[*].name}", "-f", "-")
		if err == nil && !strings.Contains(out, "lateen-proxy") {
			err = fmt.Errorf("it has %q", out)
		}
		return err
	})
}

// sidecars returns the pods of a selector, each with the version that its sidecar tells of; "": it has none.
func (s *space) sidecars(selector string) map[string]string {
	s.t.Helper()
	all := map[string]string{}
	out := s.kubectl("get", "pods", "--selector="+selector, "-o", `jsonpath={range .items[*]}{.metadata.name}={.metadata.annotations.sidecar\.istio\.io/status}{"\n"}{end}`)
	for line := range strings.FieldsSeq(out) {
		name, version, _ := strings.Cut(line, "=")
		all[name] = version
	}
	return all
}

// BookInfo gets its sidecars by the label of its namespace: manifests as they are. The log has a record for each pod, and a command says why.
func TestBookInfoByItself(t *testing.T) {
	t.Parallel()
	s := injectedSpace(t)
	s.applyFile("deploy/bookinfo/bookinfo.yaml")
	s.apply(strings.ReplaceAll(clientPod, "NAME", "client"))
	s.apply(strings.ReplaceAll(strings.Replace(clientPod, "labels:", `annotations: {sidecar.istio.io/inject: "false"}, labels:`, 1), "NAME", "stranger"))
	s.allRolledOut()
	s.ready("client", "stranger")
	pods := s.sidecars("app")
	if len(pods) < 6 {
		t.Errorf("the pods are %v", pods)
	}
	for name, version := range pods {
		want := strings.HasPrefix(version, "injected-version-")
		if want == (name == "stranger") {
			t.Errorf("pod %s: %q", name, version)
		}
	}
	if seen := s.stars("", 10); len(seen) == 0 {
		t.Error("no page shows reviews")
	}
	logs := s.kubectl("logs", "--namespace="+lateenNamespace, "--selector=app.kubernetes.io/name=lateen", "--tail=-1")
	for _, want := range []string{"sidecar injection policy for " + s.name + "/client", "skipping " + s.name + "/stranger due to policy check", "supported kinds"} {
		if !strings.Contains(logs, want) {
			t.Errorf("no log has %q", want)
		}
	}
	for pod, want := range map[string]string{
		"client":   "has a sidecar, injected-version-",
		"stranger": `has no sidecar: annotation sidecar.istio.io/inject is "false"`,
	} {
		if out := s.lateen("inject", "--explain", pod); !strings.Contains(out, want) {
			t.Errorf("%s is explained with\n%s", pod, out)
		}
	}
}
