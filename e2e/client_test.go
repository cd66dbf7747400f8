//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/testapp"
)

// clientPod is a pod in which the testapp client is run.
const clientPod = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec:
  terminationGracePeriodSeconds: 5
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: app
    image: lateen-testapp:dev
    imagePullPolicy: IfNotPresent
    args: [serve, --name=NAME]
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`

// ask runs the testapp client in the pod or workload, such as pod/client, and returns its answers.
func (s *space) ask(from string, args ...string) []testapp.Result {
	s.t.Helper()
	out, err := s.try(s.t.Context(), "", append([]string{"exec", from, "-c", "app", "--", "testapp", "client"}, args...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	all, err := decode[testapp.Result](out)
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// decode reads JSON objects that follow one another.
func decode[T any](text string) ([]T, error) {
	var all []T
	for d := json.NewDecoder(bytes.NewReader([]byte(text))); ; {
		var one T
		err := d.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w in %q", err, text)
		}
		all = append(all, one)
	}
}

// load is a testapp client that asks steadily, in a pod.
type load struct {
	t      *testing.T
	begun  time.Time
	stdin  io.Closer
	done   chan error
	stdout bytes.Buffer
	stderr bytes.Buffer
}

// startLoad has a pod ask a URL so many times per second, with further arguments of the testapp client, until [load.stop].
func (s *space) startLoad(from, url string, rate int, args ...string) *load {
	s.t.Helper()
	all := append([]string{"--namespace", s.name, "exec", "-i", from, "-c", "app", "--", "testapp", "client", "--until-eof", "--rate=" + strconv.Itoa(rate)}, args...)
	cmd := exec.CommandContext(context.WithoutCancel(s.t.Context()), kubectlPath(), append(all, url)...)
	l := &load{t: s.t, begun: time.Now(), done: make(chan error, 1)}
	cmd.Stdout, cmd.Stderr = &l.stdout, &l.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	l.stdin = stdin
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() { l.done <- cmd.Wait() }()
	s.t.Cleanup(func() { stdin.Close() })
	return l
}

// stop ends the load, when it was not too short. None of the requests may have failed, and they must have been so many per second; else the test shows nothing.
func (l *load) stop(what string, rate float64) testapp.Summary {
	l.t.Helper()
	<-time.After(shortest - time.Since(l.begun))
	sum := l.end(what)
	wantGood(l.t, what, sum, rate, 0)
	return sum
}

// end ends the load, and returns what became of it.
func (l *load) end(what string) testapp.Summary {
	l.t.Helper()
	l.stdin.Close()
	select {
	case err := <-l.done:
		if err != nil {
			l.t.Fatalf("%s: %v: %s", what, err, l.stderr.String())
		}
	case <-time.After(patience):
		l.t.Fatalf("%s: the load does not end", what)
	}
	sums, err := decode[testapp.Summary](l.stdout.String())
	if err != nil || len(sums) != 1 {
		l.t.Fatalf("%s: %v, %d summaries", what, err, len(sums))
	}
	return sums[0]
}
