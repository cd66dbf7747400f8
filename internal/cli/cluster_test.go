package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lateen-mesh/lateen/internal/golden"
	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// TestClusterScripts runs commands against a real API server. Each script has a namespace of its own, which is that of its context,
// and the namespace $other.
func TestClusterScripts(t *testing.T) {
	server := kubetest.Start(t)
	server.Define(t, definitions(t))
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "cluster"),
		UpdateScripts: golden.Updating(),
		Setup: func(e *testscript.Env) error {
			namespace := server.Namespace(t)
			kubeconfig, err := inNamespaceOf(server.Kubeconfig, e.WorkDir, namespace)
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "s"))
			e.Setenv("KUBECONFIG", kubeconfig)
			e.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector would have each command end a second later
			e.Setenv("ns", namespace)
			e.Setenv("other", server.Namespace(t))
			e.Setenv("reader", reader(t, server, namespace))
			e.Setenv("PATH", filepath.Join(meshtest.Root(t), "bin", "kubernetes")+":"+e.Getenv("PATH"))
			e.Setenv("HOME", e.WorkDir) // kubectl keeps what it knows of kinds
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fails":   fails,
			"same":    same,
			"until":   until,
			"mesh":    func(ts *testscript.TestScript, _ bool, args []string) { startMesh(t.Context(), ts, args) },
			"cluster": func(ts *testscript.TestScript, _ bool, args []string) { startInCluster(t, ts, server, args) },
		},
	})
}

// definitions makes the kinds of ours known to a cluster, as `lateen install` does.
func definitions(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(meshtest.Root(t), "deploy", "manifests", "lateen.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		if strings.Contains(document, "\nkind: CustomResourceDefinition\n") {
			all = append(all, document)
		}
	}
	return strings.Join(all, "\n---\n")
}

// inNamespaceOf writes a kubeconfig whose context has a namespace, and returns its path.
func inNamespaceOf(kubeconfig, dir, namespace string) (string, error) {
	text, err := os.ReadFile(kubeconfig)
	if err != nil {
		return "", err
	}
	const context = "context: {cluster: lateen-test, user: lateen-test"
	path := filepath.Join(dir, "kubeconfig-"+filepath.Base(filepath.Dir(kubeconfig))+filepath.Base(kubeconfig))
	return path, os.WriteFile(path, []byte(strings.Replace(string(text), context, context+", namespace: "+namespace, 1)), 0o600)
}

// reader returns a kubeconfig of somebody who may only read rules, in one namespace.
func reader(t *testing.T, server *kubetest.Server, namespace string) string {
	t.Helper()
	server.Kubectl(t, fmt.Sprintf(`apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: %[1]s}
rules: [{apiGroups: [config.istio.io], resources: [routerules], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: reader-%[1]s}]
`, namespace), "create", "-f", "-")
	path, err := inNamespaceOf(server.User(t, "reader-"+namespace), t.TempDir(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// same compares what was printed last, "same stdout FILE", where namespaces and numbers of revisions are left out.
func same(ts *testscript.TestScript, _ bool, args []string) {
	numbers := regexp.MustCompile(`(revision |resourceVersion: "|uid: |creationTimestamp: ")[0-9a-fTZ:-]+`)
	got := numbers.ReplaceAllString(ts.ReadFile(args[0]), "${1}N")
	got = strings.NewReplacer(ts.Getenv("ns"), "NS", ts.Getenv("other"), "OTHER").Replace(got)
	if want := ts.ReadFile(args[1]); got != want {
		ts.Fatalf("got\n%s\nwant\n%s", got, want)
	}
}

// until runs "until REGEXP COMMAND…": the command, again and again, until what it prints matches.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP COMMAND…")
	}
	wanted := regexp.MustCompile("(?m)" + args[0])
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	tooLate := time.After(time.Minute)
	for {
		err := ts.Exec(args[1], args[2:]...)
		said := ts.ReadFile("stdout") + ts.ReadFile("stderr")
		if wanted.MatchString(said) {
			return
		}
		select {
		case <-tick.C:
		case <-tooLate:
			ts.Fatalf("never %q: %v: %s", args[0], err, said)
		}
	}
}
