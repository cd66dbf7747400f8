package store_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// classed is an Ingress with a class and a path that is wrong, and one without either.
const classed = `---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: theirs}
spec:
  ingressClassName: nginx
  rules: [{http: {paths: [{path: /a, pathType: Suffix, backend: {service: {name: a, port: {number: 1}}}}]}}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: nobodys}
spec:
  rules: [{http: {paths: [{path: /b, pathType: Prefix, backend: {service: {name: b, port: {number: 1}}}}]}}]
`

// Whose an Ingress object is follows the settings of whichever source, as they change. One of somebody else means nothing, and
// nothing in it is wrong.
func TestClassesFollowSettings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "documents", "files", "kubernetes")
		settings := func(source string, set mesh.IngressSettings) {
			b.setRegistry(t, source, mesh.Registry{Settings: &mesh.Settings{Ingress: set}})
		}
		b.setYAML(t, "files", classed)
		b.setRegistry(t, "documents", mesh.Registry{})
		settings("kubernetes", mesh.IngressSettings{Classes: []string{"lateen"}})
		for i, c := range []struct {
			change func()
			paths  string
			wrong  bool
		}{
			{func() {}, "", false},
			{func() { settings("documents", mesh.IngressSettings{Mode: mesh.IngressDefault}) }, "/b", false},
			{func() { settings("kubernetes", mesh.IngressSettings{Classes: []string{"lateen", "nginx"}}) }, "/b", true},
			{func() { settings("documents", mesh.IngressSettings{Mode: mesh.IngressOff}) }, "", false},
			{func() { settings("documents", mesh.IngressSettings{Mode: mesh.IngressStrict}) }, "", true},
		} {
			c.change()
			var paths []string
			if door := b.Snapshot().Door(); door != nil {
				for _, rule := range door.Rules {
					paths = append(paths, rule.Path.Value)
				}
			}
			if got := strings.Join(paths, " "); got != c.paths {
				t.Errorf("step %d: the door has the paths %q, want %q", i, got, c.paths)
			}
			if got := strings.Contains(b.problems(), "Suffix"); got != c.wrong {
				t.Errorf("step %d: the wrong path is told: %v\n%s", i, got, b.problems())
			}
		}
	})
}
