package main

import (
	"os/exec"
	"strings"
	"testing"
)

// TestLinksLittle shows that the program, of which there is one for every pod, has nothing in it that only a control plane needs.
func TestLinksLittle(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if len(packages) < 100 {
		t.Fatalf("it links only %q", packages)
	}
	for _, p := range packages {
		for _, heavy := range []string{
			"k8s.io/", "sigs.k8s.io/", "github.com/spf13/", "github.com/google/cel-go", "github.com/open-policy-agent/",
			"github.com/prometheus/", "github.com/lateen-mesh/lateen/internal/serve", "github.com/lateen-mesh/lateen/internal/push",
		} {
			if strings.HasPrefix(p, heavy) {
				t.Errorf("it links %s", p)
			}
		}
	}
}
