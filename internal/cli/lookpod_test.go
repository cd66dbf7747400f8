package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/sidecar"
)

// TestLookAtAPod has commands ask an Envoy in a pod what it has, over the API server and as somebody who may not.
func TestLookAtAPod(t *testing.T) {
	t.Parallel()
	server := kubetest.Start(t)
	s := newSecured(t)
	namespace := server.Namespace(t)
	node, stop, err := startKubelet(t.Context(), server, kubelet{
		exec: func(ctx context.Context, path string, command []string, out, errs io.Writer) error {
			if path != "/exec/"+namespace+"/reviews-v1-0/"+mesh.ProxyContainer || command[0] != "lateen-agent" {
				return errors.New("there is no such command in " + path)
			}
			if code := sidecar.Main(ctx, append(command[1:], "--dir", s.reviews.Dir), sidecar.Output{Out: out, Err: errs}); code != 0 {
				return errors.New("command terminated with exit code 1")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	runPod(t, server, node, podOf{namespace: namespace, name: "reviews-v1-0", account: "reviews", container: mesh.ProxyContainer})

	look := func(kubeconfig, page string) ([]byte, error) {
		c, err := (&meshFlags{kubeconfig: kubeconfig}).load()
		if err != nil {
			t.Fatal(err)
		}
		return c.look(t.Context(), mesh.ProxyID("reviews-v1-0."+namespace), page)
	}
	text, err := look(server.Kubeconfig, agent.LookConfig)
	var dump struct {
		Configs []json.RawMessage `json:"configs"`
	}
	if err != nil || json.Unmarshal(text, &dump) != nil || len(dump.Configs) < 3 || !strings.Contains(string(text), "envoy.admin.v3.ClustersConfigDump") {
		t.Errorf("config: %.200s %v", text, err)
	}
	text, err = look(server.Kubeconfig, agent.LookIdentity)
	if status, failed := agent.ParseStatus(text); err != nil || failed != nil || !strings.Contains(status.Identity, "/sa/") {
		t.Errorf("identity: %.200s %v", text, err)
	}
	if _, err = look(server.Kubeconfig, "quitquitquit"); err == nil || !strings.Contains(err.Error(), `lateen-agent: error: there is no page "quitquitquit"`) {
		t.Errorf("a page that there is not: %v", err)
	}
	_, err = look(server.User(t, "stranger-"+namespace), agent.LookConfig)
	if err == nil || !strings.Contains(err.Error(), "forbidden") || !strings.Contains(hintOf(err), "pods/exec") {
		t.Errorf("a stranger: %v", err)
	}
}
