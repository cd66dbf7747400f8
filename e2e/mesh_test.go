//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// lateenNamespace is where Lateen is installed.
const lateenNamespace = "lateen-system"

// TestMain takes Lateen out of the cluster at the end, which is somebody's own where KUBECONFIG names it.
func TestMain(m *testing.M) {
	code := m.Run()
	if isInstalled {
		if out, err := runLateen(context.Background(), "", "uninstall", "--yes"); err != nil { //nolint:forbidigo // no test runs any more
			fmt.Fprintln(os.Stderr, err, out)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

var (
	installing  sync.Once
	isInstalled bool
	errInstall  = errors.New("the first test that needs Lateen failed before it was installed")
	// untouched is what the cluster had before Lateen was installed, of what might be left of it.
	untouched map[string]bool
)

// needMesh returns when Lateen is installed in the cluster, and ready.
func needMesh(t *testing.T) {
	t.Helper()
	installing.Do(func() {
		untouched = (&space{t, "default"}).everything()
		isInstalled = true
		var out string
		if out, errInstall = runLateen(context.Background(), "", append([]string{"install"}, imageFlags()...)...); errInstall != nil { //nolint:forbidigo // it is for all tests
			errInstall = fmt.Errorf("%w\n%s", errInstall, out)
		}
	})
	if errInstall != nil {
		t.Fatal(errInstall)
	}
}

// nothingLeft fails the test if there is something of Lateen that was not there before it was installed.
func (s *space) nothingLeft() {
	s.t.Helper()
	for what := range s.everything() {
		if !untouched[what] {
			s.t.Errorf("it is left: %s", what)
		}
	}
}

// imageFlags are the flags by which commands take the images of this run.
func imageFlags() []string {
	flags := []string{"--tag=" + withImages("lateen:dev")[strings.LastIndexByte(withImages("lateen:dev"), ':')+1:]}
	if registry := os.Getenv("IMAGE_REGISTRY"); registry != "" {
		flags = append(flags, "--hub="+registry)
	}
	return flags
}

// helmValues are the values of the chart that mean the same.
func helmValues() string {
	var values []string
	for _, flag := range imageFlags() {
		values = append(values, strings.TrimPrefix(flag, "--"))
	}
	return strings.Join(values, ",")
}

// runLateen runs the program that `make build` makes, and returns what it prints.
func runLateen(ctx context.Context, stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	path, err := filepath.Abs(repository("bin/lateen"))
	if err != nil {
		return "", err
	}
	var out, bad bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &bad
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("lateen %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(bad.String()))
	}
	return out.String(), nil
}

// lateen runs lateen for the namespace, and returns what it prints. The test ends if it fails.
func (s *space) lateen(args ...string) string {
	s.t.Helper()
	return s.program(append(args, "--namespace="+s.name)...)
}

// program is the same for the whole cluster.
func (s *space) program(args ...string) string {
	s.t.Helper()
	out, err := runLateen(s.t.Context(), "", args...)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// inject returns manifests with sidecars.
func (s *space) inject(manifests string) string {
	s.t.Helper()
	out, err := runLateen(s.t.Context(), manifests, append([]string{"inject", "-f", "-"}, imageFlags()...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// injectFile applies a file of the repository with sidecars.
func (s *space) injectFile(elements ...string) {
	s.t.Helper()
	text, err := os.ReadFile(repository(elements...))
	if err != nil {
		s.t.Fatal(err)
	}
	s.apply(s.inject(string(text)))
}

// ready returns when a pod is.
func (s *space) ready(pods ...string) {
	s.t.Helper()
	for _, pod := range pods {
		s.kubectl("wait", "--for=condition=Ready", "pod/"+pod, "--timeout="+patience.String())
	}
}

// meshSpace makes a namespace with a pod "client", which has a sidecar, and a pod "stranger" without.
func meshSpace(t *testing.T) *space {
	t.Helper()
	needMesh(t)
	s := newSpace(t)
	s.apply(s.inject(strings.ReplaceAll(clientPod, "NAME", "client")))
	s.apply(strings.ReplaceAll(clientPod, "NAME", "stranger"))
	s.ready("client", "stranger")
	return s
}
