//go:build e2e

package testcluster

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const patience = 2 * time.Minute

// TestMain makes the test binary the first process of a cluster and its child, and a program that starts one.
func TestMain(m *testing.M) {
	if len(os.Args) != 4 {
		os.Exit(m.Run())
	}
	c, err := Cluster{Root: os.Args[2], Dir: os.Args[3]}, error(nil)
	ctx := context.Background() //nolint:forbidigo // this is a main function
	switch os.Args[1] {
	case ArgInit:
		err = Init(c)
	case ArgRun:
		err = Run(ctx, c)
	case "up":
		_, err = c.Up(ctx, os.Stdout)
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// testCluster is a cluster of this test alone, which is gone when the test is over.
func testCluster(t *testing.T) Cluster {
	t.Helper()
	root, err := Root(".")
	if err != nil {
		t.Fatal(err)
	}
	c := Cluster{Root: root, Dir: filepath.Join(t.TempDir(), "cluster")}
	t.Cleanup(func() {
		if err := c.Down(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return c
}

// kubectl runs kubectl in the cluster.
func kubectl(t *testing.T, c Cluster, stdin string, args ...string) string {
	t.Helper()
	cmd, err := c.Command("kubectl", args...)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// traces returns what there is of a cluster on the machine: processes, mounts, cgroups, and files outside its folder where
// Kubernetes and containerd are known to leave some.
func traces(t *testing.T, c Cluster) []string {
	t.Helper()
	var all []string
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range processes {
		line, err := os.ReadFile(file)
		environ, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "environ")) // of a process that may have ended
		pid := filepath.Base(filepath.Dir(file))
		if err == nil && pid != fmt.Sprint(os.Getpid()) && (strings.Contains(string(line), c.Dir) || strings.Contains(string(environ), c.Dir)) {
			all = append(all, "process "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, c.Dir) {
			all = append(all, "mount "+line)
		}
	}
	roots, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range roots {
		if _, err := os.Stat(filepath.Join(root, c.cgroup())); err == nil {
			all = append(all, "cgroup "+root)
		}
	}
	if _, err := os.Lstat(c.Dir); err == nil {
		all = append(all, "folder "+c.Dir)
	}
	return append(all, fixedPlaces()...)
}

// fixedPlaces returns those of the places outside a cluster's folder that exist, with what is in them.
func fixedPlaces() []string {
	var all []string
	for _, pattern := range []string{
		"/var/lib/cni/*", "/var/lib/kubelet/*", "/var/lib/containerd/*", "/var/lib/etcd/*", "/var/log/containers/*", "/var/log/pods/*",
		"/run/containerd/*", "/run/containerd/s/*", "/run/netns/*", "/run/xtables.lock", "/etc/cni/net.d/*", "/opt/containerd/*", "/usr/libexec/kubernetes/*",
	} {
		found, _ := filepath.Glob(pattern) // the pattern is good
		all = append(all, found...)
	}
	return all
}

const podManifest = `
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers: [{name: a, image: 'lateen-testapp:dev', imagePullPolicy: IfNotPresent, args: [serve], volumeMounts: [{name: v, mountPath: /v}]}]
  volumes: [{name: v, emptyDir: {medium: Memory}}]
`

// A cluster runs pods, two of them side by side, and when they have ended nothing of them is left.
func TestDownLeavesNothing(t *testing.T) {
	before := fixedPlaces()
	clusters := []Cluster{testCluster(t), testCluster(t)}
	begun := time.Now()
	for _, c := range clusters {
		if started, err := c.Up(t.Context(), io.Discard); err != nil || !started {
			t.Fatalf("up: %v, %v", started, err)
		}
		t.Logf("up after %.1f s", time.Since(begun).Seconds())
		if err := c.LoadImages(t.Context(), c.imageFile("lateen-testapp")); err != nil {
			t.Fatal(err)
		}
		kubectl(t, c, podManifest, "apply", "-f", "-")
	}
	for _, c := range clusters {
		kubectl(t, c, "", "wait", "--for=condition=Ready", "pod/a", "--timeout=2m")
		if len(traces(t, c)) < 8 {
			t.Errorf("of a cluster that runs nothing is seen but %q, so its end shows nothing", traces(t, c))
		}
		if started, err := c.Up(t.Context(), io.Discard); err != nil || started {
			t.Errorf("a second up: %v, %v", started, err)
		}
	}
	begun = time.Now()
	if err := clusters[0].Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("down after %.1f s", time.Since(begun).Seconds())
	if diff := cmp.Diff(before, traces(t, clusters[0])); diff != "" {
		t.Errorf("left (-before +after):\n%s", diff)
	}
	if got := kubectl(t, clusters[1], "", "exec", "a", "--", "testapp", "client", "http://127.0.0.1:8080/"); !strings.Contains(got, `"status":200`) {
		t.Errorf("the other cluster after the end of the first: %s", got)
	}
	if _, err := clusters[0].Command("true"); err == nil {
		t.Error("a command runs in a cluster that is down")
	}
	if err := clusters[0].Down(t.Context()); err != nil {
		t.Errorf("a second down: %v", err)
	}
	if err := clusters[1].Down(t.Context()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, traces(t, clusters[1])); diff != "" {
		t.Errorf("left (-before +after):\n%s", diff)
	}
}

// A start that is killed halfway ends all that it has started. `down` removes the rest; so does the next start, which takes
// nothing of it up.
func TestKilledStart(t *testing.T) {
	before := fixedPlaces()
	for _, then := range []string{"down", "up"} {
		c := testCluster(t)
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "up", c.Root, c.Dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.HasPrefix(line, "cluster: API server ready") {
			t.Fatalf("up said %q, %v", line, err)
		}
		if _, runs := c.running(); !runs {
			t.Error("there is no first process")
		}
		if _, up := c.up(); up {
			t.Error("a cluster that is not ready is said to be up")
		}
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := poll(ctx, "the end of what was started", func() error {
			for _, trace := range traces(t, c) {
				if strings.HasPrefix(trace, "process") {
					return fmt.Errorf("%s", trace)
				}
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if !slices.ContainsFunc(traces(t, c), func(s string) bool { return strings.HasPrefix(s, "folder") }) {
			t.Error("nothing is left of the start that was killed, so what follows shows nothing")
		}
		if then == "up" {
			if started, err := c.Up(t.Context(), io.Discard); err != nil || !started {
				t.Errorf("up after a start that was killed: %v, %v", started, err)
			}
		}
		if err := c.Down(t.Context()); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(before, traces(t, c)); diff != "" {
			t.Errorf("%s: left (-before +after):\n%s", then, diff)
		}
	}
}

// When a part dies, so does the cluster, and its log says which part it was.
func TestPartDies(t *testing.T) {
	c := testCluster(t)
	if _, err := c.Up(t.Context(), io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, file := range must(filepath.Glob("/proc/[0-9]*/cmdline")) {
		line, err := os.ReadFile(file)
		words := strings.Split(string(line), "\x00")
		if err == nil && len(words) > 2 && words[1] == "kube-scheduler" && strings.Contains(string(line), c.Dir) {
			var pid int
			if _, err := fmt.Sscanf(file, "/proc/%d/", &pid); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := poll(ctx, "the end", func() error {
		if _, runs := c.running(); runs {
			return fmt.Errorf("it still runs")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if log := tailOf(filepath.Join(c.Logs(), "cluster")); !strings.Contains(log, "kube-scheduler ended: signal: killed") {
		t.Errorf("the log says %s", log)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
