//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	patience = 2 * time.Minute        // bounds one wait
	tick     = 200 * time.Millisecond // between two looks at a condition
)

// space is a namespace of a test, with what the test does in it.
type space struct {
	t    *testing.T
	name string
}

// newSpace makes a namespace, and deletes it when the test is over. What a failed test leaves in it is collected first.
func newSpace(t *testing.T, labels ...string) *space {
	t.Helper()
	s := &space{t, fmt.Sprintf("e2e-%s-%04x", kebab(t.Name()), rand.IntN(1<<16))}
	s.kubectl("create", "namespace", s.name)
	t.Cleanup(func() {
		if t.Failed() {
			s.collect()
		}
		if out, err := s.try(context.WithoutCancel(t.Context()), "", "delete", "namespace", s.name, "--wait=false"); err != nil {
			t.Errorf("delete namespace: %v: %s", err, out)
		}
	})
	if len(labels) > 0 {
		s.kubectl(append([]string{"label", "namespace", s.name}, labels...)...)
	}
	return s
}

// kebab makes a test's name one that Kubernetes takes.
func kebab(name string) string {
	words := regexp.MustCompile(`[A-Z]?[a-z0-9]+|[A-Z]+`).FindAllString(strings.TrimPrefix(name, "Test"), -1)
	joined := strings.ToLower(strings.Join(words, "-"))
	return strings.Trim(joined[:min(len(joined), 40)], "-")
}

// repository returns a path below the root of the repository.
func repository(elements ...string) string {
	return filepath.Join(append([]string{".."}, elements...)...)
}

// kubectlPath is the kubectl that `make kubernetes` builds, else the one on PATH.
func kubectlPath() string {
	built, err := filepath.Abs(repository("bin/kubernetes/kubectl"))
	if _, missing := os.Stat(built); err == nil && missing == nil {
		return built
	}
	return "kubectl"
}

// try runs kubectl in the namespace, and returns what it prints.
func (s *space) try(ctx context.Context, stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	var out, bad bytes.Buffer
	cmd := exec.CommandContext(ctx, kubectlPath(), append([]string{"--namespace", s.name}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &bad
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(bad.String()))
	}
	return out.String(), err
}

// kubectl runs kubectl in the namespace, and returns what it prints. The test ends if it fails.
func (s *space) kubectl(args ...string) string {
	s.t.Helper()
	out, err := s.try(s.t.Context(), "", args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// apply applies manifests, with the images of this run.
func (s *space) apply(manifests string) {
	s.t.Helper()
	if out, err := s.try(s.t.Context(), withImages(manifests), "apply", "-f", "-"); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
}

// applyFile applies a file of the repository.
func (s *space) applyFile(elements ...string) {
	s.t.Helper()
	text, err := os.ReadFile(repository(elements...))
	if err != nil {
		s.t.Fatal(err)
	}
	s.apply(string(text))
}

var ourImages = regexp.MustCompile(`\b(lateen(?:-[a-z]+)?):dev\b`)

// withImages puts the registry and tag of this run into a text that names our images.
func withImages(text string) string {
	registry, tag := os.Getenv("IMAGE_REGISTRY"), os.Getenv("IMAGE_TAG")
	if registry != "" {
		registry += "/"
	}
	if tag == "" {
		tag = "dev"
	}
	return ourImages.ReplaceAllString(text, registry+"${1}:"+tag)
}

// rolledOut returns when workloads, such as deployment/reviews-v1, have all their pods ready in their present form.
func (s *space) rolledOut(workloads ...string) {
	s.t.Helper()
	for _, workload := range workloads {
		s.kubectl("rollout", "status", workload, "--timeout="+patience.String())
	}
}

// allRolledOut returns when all Deployments of the namespace are.
func (s *space) allRolledOut() {
	s.t.Helper()
	s.rolledOut(strings.Fields(s.kubectl("get", "deployments", "-o", "name"))...)
}

// await returns when the condition has no error. The test ends with the last one after a while.
func (s *space) await(what string, condition func() error) {
	s.t.Helper()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	end := time.Now().Add(patience)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s: not in %v: %v", what, patience, err)
		}
		<-ticker.C
	}
}

// phase returns when a pod has the phase, and ends the test when it never will.
func (s *space) phase(pod, want string) {
	s.t.Helper()
	s.await("pod "+pod+" "+want, func() error {
		got, err := s.try(s.t.Context(), "", "get", "pod", pod, "-o", "jsonpath={.status.phase}")
		if over := got == "Succeeded" || got == "Failed"; over && got != want {
			s.t.Fatalf("pod %s is %s, want %s", pod, got, want)
		}
		if err == nil && got != want {
			err = fmt.Errorf("it is %s", got)
		}
		return err
	})
}

// collect writes what is known of the namespace to a folder, and the most telling part of it to the test's log.
func (s *space) collect() {
	s.t.Helper()
	dir, err := filepath.Abs(repository("bin/e2e-logs", kebab(s.t.Name())))
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		s.t.Error(err)
		return
	}
	ctx := context.WithoutCancel(s.t.Context())
	write := func(name string, args ...string) string {
		out, err := s.try(ctx, "", args...)
		if err != nil {
			out += "\n" + err.Error() + "\n"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(out), 0o644); err != nil {
			s.t.Error(err)
		}
		return out
	}
	pods := write("pods.txt", "get", "pods", "-o", "wide")
	events := write("events.txt", "get", "events", "--sort-by=.lastTimestamp", "-o", "custom-columns=TIME:.lastTimestamp,KIND:.involvedObject.kind,NAME:.involvedObject.name,REASON:.reason,MESSAGE:.message")
	write("objects.yaml", "get", "all,endpointslices,serviceaccounts,configmaps", "-o", "yaml")
	write("describe.txt", "describe", "pods")
	for pod := range strings.FieldsSeq(write("names.txt", "get", "pods", "-o", "name")) {
		write(strings.ReplaceAll(pod, "/", "-")+".log", "logs", pod, "--all-containers", "--prefix", "--timestamps", "--tail=-1")
	}
	lines := strings.Split(strings.TrimSpace(events), "\n")
	s.t.Logf("everything about the namespace is in %s\n%s\n%s", dir, pods, strings.Join(lines[max(0, len(lines)-20):], "\n"))
}
