package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Of the Secrets that Ingress objects name a bounded number is read, the same ones in whatever order they come, and what is left out
// is told once for each.
func TestNamedSecretsAreBounded(t *testing.T) {
	t.Parallel()
	tests := []struct {
		what, named   string // of Ingress objects, what each names
		ofOne, inAll  int
		secrets, told string
	}{
		{"all within", "a:1,2 b:2,3", 2, 3, "1 2 3", ""},
		{"one has too many", "a:1,2,3,4 b:5", 2, 9, "1 2 5", "a[2]"},
		{"one is named again and again", "a:1,1,1,2,1", 2, 9, "1 2", ""},
		{"too many in all", "a:1,2,3 b:4,5", 9, 3, "1 2 4", "a[2] b[1]"},
		{"what is read for another is read", "a:1,2,3 b:1,2", 9, 2, "1 2", "a[2]"},
	}
	for _, test := range tests {
		for _, backwards := range []bool{false, true} {
			var all []use
			for ingress := range strings.FieldsSeq(test.named) {
				of, names, _ := strings.Cut(ingress, ":")
				o := readObject(mesh.Ref{Kind: ingressKind, Namespace: "x", Name: of}, "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: "+of+", namespace: x}\n")
				for i, n := range strings.Split(names, ",") {
					all = append(all, use{&o.Object, name{"x", n}, i})
				}
			}
			if backwards {
				slices.Reverse(all)
			}
			named, over := bounded(all, test.ofOne, test.inAll)
			var secrets, told []string
			for _, n := range sorted(named) {
				secrets = append(secrets, n.name)
			}
			mesh.SortProblems(over)
			for _, p := range over {
				told = append(told, p.Object.Name+strings.TrimSuffix(strings.TrimPrefix(p.Field, "spec.tls"), ".secretName"))
			}
			if got, want := fmt.Sprint(secrets, told), fmt.Sprint(strings.Fields(test.secrets), strings.Fields(test.told)); got != want {
				t.Errorf("%s, backwards %v: %s, want %s", test.what, backwards, got, want)
			}
		}
	}
}
