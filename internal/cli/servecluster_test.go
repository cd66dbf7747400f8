package cli

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/kubetest"
)

// logged follows what a command says.
type logged struct {
	t     *testing.T
	lines *bufio.Scanner
}

// await returns the next line that matches.
func (l logged) await(pattern string) string {
	l.t.Helper()
	wanted := regexp.MustCompile(pattern)
	for l.lines.Scan() {
		if wanted.MatchString(l.lines.Text()) {
			return l.lines.Text()
		}
	}
	l.t.Fatalf("the log has ended without %s", pattern)
	return ""
}

// startServe runs `lateen serve` until the test ends.
func startServe(t *testing.T, args ...string) logged {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	read, write := io.Pipe()
	root := newRootCommand(nil)
	root.SetArgs(append([]string{"serve", "--admin-port", "0", "--secure-address", ""}, args...))
	root.SetErr(write)
	ended := make(chan error, 1)
	go func() {
		err := root.ExecuteContext(ctx)
		_ = write.CloseWithError(io.EOF)
		ended <- err
	}()
	t.Cleanup(func() {
		stop()
		_, _ = io.Copy(io.Discard, read)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return logged{t, bufio.NewScanner(read)}
}

// TestServeReadsTheSettingsOfACluster wants the log of a start to say what Pilot's said, and the settings of the ConfigMap to be in
// force as soon as they change.
func TestServeReadsTheSettingsOfACluster(t *testing.T) {
	t.Parallel()
	server := kubetest.Start(t)
	server.Kubectl(t, "", "create", "namespace", "lateen-system")
	server.Kubectl(t, "", "create", "configmap", "lateen", "-n", "lateen-system", "--from-literal=mesh=authPolicy: MUTUAL_TLS\nmixerAddress: istio-mixer:9091\n")
	log := startServe(t, "--state-dir", t.TempDir(), "--registries", "Kubernetes", "--kubeconfig", server.Kubeconfig, "--resync", "60s")
	log.await(`version.* version=`)
	if line := log.await(`flags`); !strings.Contains(line, "registries=[Kubernetes]") || !strings.Contains(line, "resync=60s") {
		t.Error(line)
	}
	if line := log.await(`sources`); !strings.Contains(line, "ConfigMap lateen-system/lateen, mesh") || !strings.Contains(line, "kubernetes") {
		t.Error(line)
	}
	if line := log.await(`mesh settings`); !strings.Contains(line, "authPolicy=MUTUAL_TLS") || !strings.Contains(line, "domain=cluster.local") {
		t.Error(line)
	}
	server.Kubectl(t, "", "patch", "configmap", "lateen", "-n", "lateen-system", "-p", `{"data": {"mesh": "authPolicy: NONE\nconnectTimeout: 1d\n"}}`)
	log.await(`ConfigMap lateen-system/lateen, mesh:2:17: error: .*connectTimeout: "1d" is not a duration`)
	server.Kubectl(t, "", "patch", "configmap", "lateen", "-n", "lateen-system", "-p", `{"data": {"mesh": "authPolicy: NONE\nconnectTimeout: 5s\n"}}`)
	if line := log.await(`mesh settings`); !strings.Contains(line, "authPolicy=NONE") || !strings.Contains(line, "connectTimeout=5s") {
		t.Error(line)
	}
}

// TestServeReadsTheSettingsOfAFile wants --meshConfig to have its meaning.
func TestServeReadsTheSettingsOfAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, registry := filepath.Join(dir, "mesh"), filepath.Join(dir, "registry.json")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(registry, `{"services": [], "endpoints": [], "workloads": []}`)
	log := startServe(t, "--state-dir", filepath.Join(dir, "s"), "--meshConfig", path, "--registry", registry)
	log.await(`there are no settings: those of a mesh that says nothing are in force`)
	if line := log.await(`mesh settings`); !strings.Contains(line, "connectTimeout=1s") {
		t.Error(line)
	}
	write(path, "authPolicy: MUTUAL_TLS\n")
	if line := log.await(`mesh settings`); !strings.Contains(line, "authPolicy=MUTUAL_TLS") {
		t.Error(line)
	}
}
