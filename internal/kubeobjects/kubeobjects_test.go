package kubeobjects_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/dialect/ingress"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/kubeobjects"
	"github.com/lateen-mesh/lateen/internal/kubetest"
)

// door returns an Ingress: a kind that every cluster has.
func door(name, version, team string) api.File {
	return api.File{Name: name + ".yaml", Text: fmt.Sprintf(`apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %s, resourceVersion: %q, labels: {team: %s}}
spec: {defaultBackend: {service: {name: web, port: {number: 80}}}}
`, name, version, team)}
}

// connect returns the objects of a namespace.
func connect(t *testing.T, server *kubetest.Server) (*kubeobjects.Objects, string) {
	t.Helper()
	c, err := kubeclient.Load(kubeclient.Options{Kubeconfig: server.Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	c.Namespace = server.Namespace(t)
	kept, err := kubeobjects.New(c, ingress.Kinds("cluster.local"))
	if err != nil {
		t.Fatal(err)
	}
	return kept, c.Namespace
}

// TestOneOfTwoWritersWins has many writers replace the object that all of them have read, and then write it without a word about that.
func TestOneOfTwoWritersWins(t *testing.T) {
	t.Parallel()
	kept, _ := connect(t, kubetest.Start(t))
	created, err := kept.Write(t.Context(), api.Write{Op: api.Create, Files: []api.File{door("x", "", "a")}})
	if err != nil || len(created.Results) != 1 {
		t.Fatal(created, err)
	}
	const writers = 4
	write := func(op api.Op, version string) (written, conflicts int) {
		t.Helper()
		var mu sync.Mutex
		var all sync.WaitGroup
		for n := range writers {
			all.Go(func() {
				out, err := kept.Write(t.Context(), api.Write{Op: op, Files: []api.File{door("x", version, fmt.Sprintf("w%d", n))}})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				written += len(out.Results)
				for _, p := range out.Problems {
					if p.Code == "conflict" {
						conflicts++
					}
				}
			})
		}
		all.Wait()
		return written, conflicts
	}
	if written, conflicts := write(api.Replace, fmt.Sprint(created.Results[0].ResourceVersion)); written != 1 || conflicts != writers-1 {
		t.Errorf("%d wrote and %d were refused", written, conflicts)
	}
	if written, conflicts := write(api.Apply, ""); written != writers || conflicts != 0 {
		t.Errorf("without a version %d wrote and %d were refused", written, conflicts)
	}
}

// TestServerThatGoes wants what was done before the API server went to be told, and the error.
func TestServerThatGoes(t *testing.T) {
	t.Parallel()
	server := kubetest.StartOwn(t)
	kept, namespace := connect(t, server)
	if _, err := kept.Write(t.Context(), api.Write{Op: api.Apply, Files: []api.File{door("x", "", "a")}}); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	out, err := kept.Write(t.Context(), api.Write{Op: api.Apply, Files: []api.File{door("y", "", "a"), {Name: "bad.yaml", Text: "kind: x"}}})
	hinted, ok := errors.AsType[*kubeobjects.Error](err)
	if !ok || hinted.Hint() == "" || !strings.Contains(err.Error(), "API server does not answer") || len(out.Results) != 0 || len(out.Problems) == 0 {
		t.Errorf("%+v %v", out, err)
	}
	server.Resume(t)
	list, err := kept.Objects(t.Context(), api.Query{Kind: "Ingress", Namespace: namespace})
	if err != nil || len(list) != 1 || list[0].Name != "x" {
		t.Errorf("%+v %v", list, err)
	}
}

// TestWhatTheClusterKeepsStays wants finalizers and owners to outlive a file that says nothing of them.
func TestWhatTheClusterKeepsStays(t *testing.T) {
	t.Parallel()
	server := kubetest.Start(t)
	kept, namespace := connect(t, server)
	if _, err := kept.Write(t.Context(), api.Write{Op: api.Create, Files: []api.File{door("x", "", "a")}}); err != nil {
		t.Fatal(err)
	}
	patch := filepath.Join(t.TempDir(), "patch.yaml")
	if err := os.WriteFile(patch, []byte(`{"metadata": {"finalizers": ["lateen.dev/test"], "annotations": {"note": "by hand"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	server.Kubectl(t, "", "patch", "ingress", "x", "-n", namespace, "--type=merge", "--patch-file", patch)
	if _, err := kept.Write(t.Context(), api.Write{Op: api.Replace, Files: []api.File{door("x", "", "b")}}); err != nil {
		t.Fatal(err)
	}
	got := server.Kubectl(t, "", "get", "ingress", "x", "-n", namespace, "-o", "jsonpath={.metadata.finalizers} {.metadata.labels} {.metadata.annotations}")
	if got != `["lateen.dev/test"] {"team":"b"} ` {
		t.Errorf("%q", got)
	}
	server.Kubectl(t, "", "patch", "ingress", "x", "-n", namespace, "--type=merge", "-p", `{"metadata": {"finalizers": null}}`)
}
