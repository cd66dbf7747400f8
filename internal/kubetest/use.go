package kubetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/process"
)

// namespaces counts the namespaces that this binary has asked for, so that no two have the same name.
var namespaces atomic.Int64

// Namespace makes a namespace of a name that no other test has, with the ServiceAccount default in it.
func (s *Server) Namespace(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("test-%d", namespaces.Add(1))
	s.Kubectl(t, fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}\n---\n"+
		"{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: %s}}\n", name, name), "create", "-f", "-")
	return name
}

// Kubectl runs kubectl as administrator with something on standard input, and returns what it prints. The test fails if
// kubectl does.
func (s *Server) Kubectl(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	stdout, err := s.TryKubectl(t, stdin, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v", strings.Join(args, " "), err)
	}
	return stdout
}

// Common applies manifests of objects outside namespaces that several tests need. Two that did so at a time would disturb each other.
func (s *Server) Common(t testing.TB, manifests string) {
	t.Helper()
	s.common.Lock()
	defer s.common.Unlock()
	s.Kubectl(t, manifests, "apply", "-f", "-")
}

// Define applies definitions of kinds, and returns when the server serves them.
func (s *Server) Define(t testing.TB, definitions string) {
	t.Helper()
	s.Common(t, definitions)
	s.AwaitKinds(t)
}

// AwaitKinds returns when the server serves the kinds that are defined.
func (s *Server) AwaitKinds(t testing.TB) {
	t.Helper()
	var err error
	// kubectl fails where a definition is so new that nothing is said of it yet.
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err = s.TryKubectl(t, "", "wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"); err == nil {
			return
		}
	}
	t.Fatalf("kubetest: %v", err)
}

// TryKubectl is Kubectl for commands that may fail. The error has what kubectl prints about it.
func (s *Server) TryKubectl(t testing.TB, stdin string, args ...string) (stdout string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, bad bytes.Buffer
	cmd := exec.CommandContext(ctx, s.config.Kube, append([]string{"kubectl", "--kubeconfig", s.Kubeconfig, "--cache-dir", filepath.Join(s.config.Dir, "kubectl")}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &bad
	if err = cmd.Run(); err != nil {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(bad.String()))
	}
	return out.String(), err
}

// Client returns an HTTP client for the server, of an administrator.
func (s *Server) Client(t testing.TB) *http.Client {
	t.Helper()
	client, err := s.config.Client()
	if err != nil {
		t.Fatalf("kubetest: %v", err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// User returns a kubeconfig for a user of this name in these groups, who may do only what RBAC grants. A user named
// system:serviceaccount:NAMESPACE:NAME in the groups of ServiceAccounts is taken for that account.
func (s *Server) User(t testing.TB, name string, groups ...string) string {
	t.Helper()
	file := fmt.Sprintf("user-%d", namespaces.Add(1))
	if err := s.authority.Issue(file, name, groups); err != nil {
		t.Fatalf("kubetest: %v", err)
	}
	kubeconfig, err := s.authority.Kubeconfig(file, s.URL)
	if err != nil {
		t.Fatalf("kubetest: %v", err)
	}
	return kubeconfig
}

// PIDs returns the processes of the API server and of etcd, for who measures what they take.
func (s *Server) PIDs() (api, etcd int) { return s.api.PID, s.etcd.PID }

// Stop ends the API server, as a machine that dies ends it. Only the server of [StartOwn] can be stopped. What it keeps
// stays, for [Server.Resume].
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if !s.own {
		t.Fatal("kubetest: other tests need the shared server: take StartOwn")
	}
	s.api.Kill()
}

// Resume starts the API server again, where it was and with what it had.
func (s *Server) Resume(t testing.TB) {
	t.Helper()
	if err := s.startAPI(t.Context()); err != nil {
		t.Fatalf("kubetest: %v", err)
	}
}

// run starts a process that writes its output to a file.
func run(dir, name string, command []string) (*process.Process, error) {
	log, err := os.OpenFile(logFile(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	lines := process.NewLines(func(line string) { _, _ = io.WriteString(log, line+"\n") })
	p, err := process.Start(process.Command{Path: command[0], Args: command[1:], Dir: dir, Env: os.Environ(), Stdout: lines, Stderr: lines})
	if err != nil {
		log.Close()
		return nil, err
	}
	go func() {
		<-p.Done()
		log.Close()
	}()
	return p, nil
}

func logFile(dir, name string) string { return filepath.Join(dir, name+".log") }

// logTail returns the last lines of a log.
func logTail(dir, name string) string {
	text, err := os.ReadFile(logFile(dir, name))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-tail):], "\n")
}

// lastingDir makes a folder that is removed when this process ends, however it ends: by a shell that waits for the end of
// a pipe which only this process holds open.
func lastingDir() (dir string, pipe io.Closer, err error) {
	if dir, err = os.MkdirTemp("", "lateen-kubetest-"); err != nil {
		return "", nil, err
	}
	// The servers are killed in the same moment, and may still write.
	shell := exec.Command("sh", "-c", `read -r _; for _ in 1 2 3 4 5; do rm -rf "$0" && break; sleep 0.2; done`, dir)
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if pipe, err = shell.StdinPipe(); err != nil {
		return "", nil, err
	}
	return dir, pipe, shell.Start()
}
