package cli

import (
	"bufio"
	"context"
	"io"
	"testing"

	"github.com/lateen-mesh/lateen/internal/serve"
)

// TestGetWatch follows an object that comes, changes and goes.
func TestGetWatch(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	kind := serve.Kinds().Named("routerule")
	p.wants("Created config route-rule/default/x at revision 1", exampleOf(t, kind, 0, "name: x"), "create", "-f", "-")

	ctx, stop := context.WithCancel(t.Context())
	out, printed := io.Pipe()
	errs, told := io.Pipe()
	root := newRootCommand(nil)
	root.SetArgs([]string{"get", "routerules", "--watch", "--state-dir", p.dir})
	root.SetOut(printed)
	root.SetErr(told)
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()
	next := func(from *bufio.Scanner, want string) {
		t.Helper()
		if !from.Scan() || from.Text() != want {
			t.Fatalf("%q, want %q", from.Text(), want)
		}
	}
	lines, notes := bufio.NewScanner(out), bufio.NewScanner(errs)
	next(lines, "NAME   KIND                                 NAMESPACE")
	next(lines, "x      RouteRule.v1alpha2.config.istio.io   default")
	p.wants("Updated config route-rule/default/x to revision 2", exampleOf(t, kind, 1, "name: x"), "apply", "-f", "-")
	next(lines, "x      RouteRule.v1alpha2.config.istio.io   default")
	p.wants("Created config route-rule/default/longer at revision 3", exampleOf(t, kind, 1, "name: longer"), "apply", "-f", "-")
	next(lines, "longer   RouteRule.v1alpha2.config.istio.io   default")
	p.wants("Deleted config: route-rule/default/x", "", "delete", "routerule", "x")
	next(notes, "lateen: RouteRule default/x is deleted")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	p.refuses("--watch shows changes to people, not as yaml", "", "get", "routerules", "-w", "-o", "yaml")
}
