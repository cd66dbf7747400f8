package kubeclient_test

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lateen-mesh/lateen/internal/kubeclient"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

const kubeconfig = `apiVersion: v1
kind: Config
clusters:
- name: one
  cluster: {server: "SERVER"}
users:
- name: me
  user: {token: t}
contexts:
- name: a
  context: {cluster: one, user: me}
- name: b
  context: {cluster: one, user: me, namespace: shop}
`

// home makes an environment that names no cluster, and returns its folder.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("KUBECONFIG", filepath.Join(dir, "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	return dir
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Each way to name a cluster leads to it, and what is wrong is told with the next step.
func TestLoad(t *testing.T) {
	dir := home(t)
	current := write(t, filepath.Join(dir, "current"), kubeconfig+"current-context: a\n")
	without := write(t, filepath.Join(dir, "without"), kubeconfig)
	broken := write(t, filepath.Join(dir, "broken"), "clusters: {")
	for _, c := range []struct {
		name                    string
		options                 kubeclient.Options
		env                     string
		known                   bool
		context, namespace, err string
	}{
		{name: "nothing", err: "nothing names a cluster"},
		{name: "a file", options: kubeclient.Options{Kubeconfig: current}, known: true, context: "a", namespace: "default"},
		{name: "a context", options: kubeclient.Options{Kubeconfig: current, Context: "b"}, known: true, context: "b", namespace: "shop"},
		{name: "the environment", env: current, known: true, context: "a", namespace: "default"},
		{name: "a context of the environment", options: kubeclient.Options{Context: "b"}, env: without, known: true, context: "b", namespace: "shop"},
		{name: "several files", env: without + ":" + current, known: true, context: "a", namespace: "default"},
		{name: "no current context", env: without, err: "no current context"},
		{name: "an unknown context", options: kubeclient.Options{Context: "c"}, env: current, known: true, err: `no context "c"`},
		{name: "a context and no file", options: kubeclient.Options{Context: "c"}, known: true, err: "no kubeconfig"},
		{name: "a missing file", options: kubeclient.Options{Kubeconfig: dir + "/missing"}, known: true, err: "missing"},
		{name: "a broken file", env: broken, known: true, err: "read the kubeconfig"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.env != "" {
				t.Setenv("KUBECONFIG", c.env)
			}
			if got := kubeclient.Known(c.options); got != c.known {
				t.Errorf("known: %v", got)
			}
			cluster, err := kubeclient.Load(c.options)
			if c.err != "" {
				var hinted *kubeclient.Error
				if err == nil || !strings.Contains(err.Error(), c.err) || !errors.As(err, &hinted) || hinted.Hint() == "" {
					t.Fatalf("error %v, want one with %q and a hint", err, c.err)
				}
				if (c.name == "nothing") != errors.Is(err, kubeclient.ErrNone) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if cluster.Context != c.context || cluster.Namespace != c.namespace || cluster.Server != "SERVER" {
				t.Errorf("got %s %s %s", cluster.Context, cluster.Namespace, cluster.Server)
			}
		})
	}
}

// Clients send the token and the name of the program, and hand on what the server warns of.
func TestClients(t *testing.T) {
	dir := home(t)
	var warned []string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer t" || r.UserAgent() != "lateen/test" {
			http.Error(w, "who are you?", http.StatusForbidden)
			return
		}
		w.Header().Set("Warning", `299 - "old"`)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"apiVersion":"v1","kind":"ConfigMapList","metadata":{},"items":[{"metadata":{"name":"x"}}],"major":"1","minor":"34"}`))
	}))
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	file := write(t, filepath.Join(dir, "config"), strings.NewReplacer(`"SERVER"`, server.URL+", certificate-authority-data: "+base64.StdEncoding.EncodeToString(ca)).Replace(kubeconfig)+"current-context: a\n")
	cluster, err := kubeclient.Load(kubeclient.Options{
		Kubeconfig: file, UserAgent: "lateen/test", Warn: func(text string) { warned = append(warned, text) },
	})
	if err != nil {
		t.Fatal(err)
	}
	typed, err := cluster.Typed()
	if err != nil {
		t.Fatal(err)
	}
	list, err := typed.ConfigMaps("").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("typed: %v, %v", list, err)
	}
	dynamic, err := cluster.Dynamic()
	if err != nil {
		t.Fatal(err)
	}
	objects, err := dynamic.Resource(configMaps).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(objects.Items) != 1 {
		t.Errorf("dynamic: %v, %v", objects, err)
	}
	if len(warned) != 2 || warned[0] != "old" {
		t.Errorf("warnings: %q", warned)
	}
}
