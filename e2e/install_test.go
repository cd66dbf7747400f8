//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// everything lists the objects of the cluster that an installation may leave behind, one a line.
func (s *space) everything() map[string]bool {
	s.t.Helper()
	const kinds = "customresourcedefinitions,namespaces,clusterroles,clusterrolebindings,validatingwebhookconfigurations,mutatingwebhookconfigurations"
	const inside = "serviceaccounts,roles,rolebindings,configmaps,secrets,services,deployments,pods,leases,poddisruptionbudgets"
	all := map[string]bool{}
	for _, args := range [][]string{{"get", kinds, "-o", "name"}, {"get", inside, "--all-namespaces", "-o", `jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name}{"\n"}{end}`}} {
		for line := range strings.FieldsSeq(s.kubectl(args...)) {
			if strings.Contains(line, "lateen") || strings.Contains(line, "istio") && !strings.HasSuffix(line, "/istio-ca-root-cert") { // Istio's own
				all[line] = true
			}
		}
	}
	return all
}

// Lateen comes with one command, says that it is well, comes again without changing anything, and goes without leaving anything.
func TestInstallAndUninstall(t *testing.T) {
	s := newSpace(t)
	s.program("check", "--pre")
	needMesh(t)
	for _, what := range []string{"Deployment/lateen-system/lateen", "Service/lateen-system/lateen"} {
		if !s.everything()[what] {
			t.Errorf("there is no %s", what)
		}
	}
	s.program("check")
	s.await("the root in a namespace that was there before", func() error {
		_, err := s.try(t.Context(), "", "get", "configmap", "lateen-root")
		return err
	})
	uid := func() string {
		return s.kubectl("get", "deployment", "lateen", "--namespace="+lateenNamespace, "-o", "jsonpath={.metadata.uid} {.metadata.generation}")
	}
	was := uid()
	s.program(append([]string{"install"}, imageFlags()...)...)
	if is := uid(); is != was {
		t.Errorf("a second installation changed the Deployment: %s, then %s", was, is)
	}
	s.program("uninstall", "--yes")
	s.nothingLeft()
	s.program("uninstall", "--yes") // once more, of nothing
	s.program(append([]string{"install"}, imageFlags()...)...)
	s.program("check")
}
