package bootstrap_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/bootstrap"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

func config() bootstrap.Config {
	return bootstrap.Config{
		Node: mesh.Node{
			Type: mesh.Sidecar, Address: "127.1.2.3", Name: "reviews-v1-0", Namespace: "default", Domain: "cluster.local",
		},
		PlainXDS: "unix:/run/xds.sock", AdminSocket: "/run/admin.sock", BindSource: true,
	}
}

// Envoy itself takes the file, and says of nothing in it that it is deprecated or unknown.
func TestEnvoyTakesIt(t *testing.T) {
	t.Parallel()
	text, err := config().JSON()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "envoy.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := exec.CommandContext(t.Context(), meshtest.Envoy(t), "--mode", "validate", "-c", path, "-l", "warning").CombinedOutput()
	if err != nil || !strings.Contains(string(output), "OK") {
		t.Fatalf("envoy --mode validate: %v\n%s", err, output)
	}
	for _, word := range []string{"eprecated", "nknown field"} {
		if strings.Contains(string(output), word) {
			t.Errorf("envoy says:\n%s", output)
		}
	}
}

// Equal configurations give equal bytes, and the admin socket is for its owner only.
func TestJSON(t *testing.T) {
	t.Parallel()
	one, err := config().JSON()
	if err != nil {
		t.Fatal(err)
	}
	two, _ := config().JSON()
	if string(one) != string(two) {
		t.Error("two bootstraps of one configuration differ")
	}
	for _, want := range []string{
		`"id": "sidecar~127.1.2.3~reviews-v1-0.default~default.svc.cluster.local"`, `"mode": 384`, `"api_type": "DELTA_GRPC"`,
	} {
		if !strings.Contains(strings.ReplaceAll(string(one), "apiType", "api_type"), want) {
			t.Errorf("the bootstrap lacks %s:\n%s", want, one)
		}
	}
	long := config()
	long.AdminSocket = "/" + strings.Repeat("x", 200)
	if _, err := long.JSON(); err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("a socket path of 201 bytes: %v", err)
	}
}
