package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/lateen-mesh/lateen/internal/process"
)

// issued returns how many certificates an authority has given by a kind of proof.
func (p *plane) issued(by string) uint64 { return p.authority.Status().Issued[by] }

// An agent by hand joins with the token in a file, and after a restart goes on with the certificate that it has kept: the token
// and its file are needed no more. When it was away for long the certificate is renewed by itself.
func TestByHand(t *testing.T) {
	t.Parallel()
	from := newPlane(t, 0)
	p := newSecureProxy(t, from)
	p.config.Tokens = nil
	p.config.TokenFile = filepath.Join(p.config.Dir, "token")
	if err := os.WriteFile(p.config.TokenFile, []byte(from.token(web)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	once := func(clock func() time.Time, tokens, certificates uint64) {
		t.Helper()
		p.config.Clock = clock
		stop, done := p.run(t)
		await(t, from.opened, "a stream")
		p.await(t, Ready)
		stop()
		if err := await(t, done, "the agent"); err != nil {
			t.Fatal(err)
		}
		p.await(t, Drained)
		if a, b := from.issued("token"), from.issued("certificate"); a != tokens || b != certificates {
			t.Errorf("%d certificates by token and %d by certificate, want %d and %d", a, b, tokens, certificates)
		}
	}
	once(time.Now, 1, 0)
	if stat, err := os.Stat(filepath.Join(p.config.Dir, identityName)); err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("what is kept: %v, %v", stat, err)
	}
	if err := os.Remove(p.config.TokenFile); err != nil {
		t.Fatal(err)
	}
	once(time.Now, 1, 0)
	p.config.TokenFile = ""
	once(func() time.Time { return time.Now().Add(14 * time.Hour) }, 1, 1)
}

// A token for somebody else's workload, or one that pins another root, gives this one nothing; with the right one in its
// place the agent goes on. The token of the other workload is still good for that one.
func TestWrongToken(t *testing.T) {
	t.Parallel()
	from, other := newPlane(t, 0), newPlane(t, 0)
	p := newSecureProxy(t, from)
	p.config.Tokens = nil
	p.config.TokenFile = filepath.Join(p.config.Dir, "token")
	another := web
	another.Workload = "web-v1-1.default"
	theirs := from.token(another)
	wrong := map[string]string{other.token(web): "not the one that the join token is for", theirs: `"web-v1-0.default" is not web-v1-1.default`}
	put := func(token string) {
		if err := os.WriteFile(p.config.TokenFile, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for token, want := range wrong {
		put(token)
		stop, done := p.run(t)
		awaitStatus(t, p.config.Dir, func(s Status) bool { return strings.Contains(s.LastError, want) })
		stop()
		if err := await(t, done, "the agent"); err != nil {
			t.Error(err)
		}
		p.await(t, Drained)
	}
	put("")
	p.run(t)
	awaitStatus(t, p.config.Dir, func(s Status) bool { return strings.Contains(s.LastError, errNoToken.Error()) })
	put(from.token(web))
	await(t, from.opened, "a stream")
	q := newProxyless(t, from) // whose the other token is
	q.config.Node, q.config.Tokens = another.Workload, func(context.Context) (string, error) { return theirs, nil }
	q.run(t)
	q.await(t, Ready)
}

// awaitStatus waits until an agent's status is as wanted.
func awaitStatus(t *testing.T, dir string, wanted func(Status) bool) Status {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		s, err := ReadStatus(dir)
		if err == nil && wanted(s) {
			return s
		}
		if time.Now().After(end) {
			t.Fatalf("the status is %+v, %v", s, err)
		}
	}
}

// An agent that was started with a pair of sockets gets its tokens through it. Its Envoy does not get hold of that.
func TestInherited(t *testing.T) {
	t.Parallel()
	from := newPlane(t, 0)
	p := newSecureProxy(t, from)
	c := p.config
	c.Tokens, c.InheritToken, c.TrustDomain = nil, true, trustDomain
	agents, ours, err := TokenPair()
	if err != nil {
		t.Fatal(err)
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(agents.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	var writing sync.Mutex
	lines := process.NewLines(func(line string) {
		writing.Lock()
		defer writing.Unlock()
		fmt.Fprintln(&output, line)
	})
	agent, err := process.Start(process.Command{
		Path: os.Args[0], Args: append([]string{"agent"}, c.Args()...), Dir: c.Dir, Env: os.Environ(), Files: []*os.File{agents},
		Stdout: process.NewLines(func(line string) {
			var e Event
			if json.Unmarshal([]byte(line), &e) == nil {
				p.events <- e
			}
		}),
		Stderr: lines,
	})
	agents.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Kill()
	done := give(t, ours, func(context.Context) (string, error) { return from.token(web), nil })
	await(t, from.opened, "a stream")
	pid := p.await(t, Ready).PID
	socket := fmt.Sprintf("socket:[%d]", stat.Ino)
	if !holds(t, agent.PID, socket) {
		t.Errorf("the agent does not hold %s", socket)
	}
	if holds(t, pid, socket) {
		t.Error("Envoy has its agent's end of the sockets")
	}
	if _, err := os.Stat(filepath.Join(c.Dir, identityName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the key is kept on the disk: %v", err)
	}
	agent.Stop(t.Context(), patience)
	if err := await(t, done, "the end of the questions"); err != nil {
		t.Error(err)
	}
	writing.Lock()
	defer writing.Unlock()
	if text := output.String(); strings.Contains(text, "lateen1.") || strings.Contains(text, "PRIVATE") {
		t.Errorf("the agent has logged a secret:\n%s", text)
	}
}

// holds tells whether a process has something open.
func holds(t *testing.T, pid int, what string) bool {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if link, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && link == what {
			return true
		}
	}
	return false
}

// Whoever asks an agent over HTTP learns until when the certificate is good, and why there is no new one.
func TestHealthOfCertificate(t *testing.T) {
	t.Parallel()
	from := newPlane(t, 0)
	p := newSecureProxy(t, from)
	p.config.Health = filepath.Join(p.config.Dir, "health.sock")
	var ahead atomic.Int64
	p.config.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	var given atomic.Bool
	p.config.Tokens = func(context.Context) (string, error) {
		if given.Load() {
			return from.token(web), nil
		}
		return "", errNoToken
	}
	p.run(t)
	awaitStatus(t, p.config.Dir, func(s Status) bool { return s.Failures > 0 })
	checkHealth(t, p.config.Health, []string{
		"lateen_agent_certificate_expiry_seconds 0\n", "lateen_agent_certificate_renewals_total 0\n", "lateen_agent_certificate_failing 1\n",
	}, []string{`"state": "not ready"`, `"lastError": "ask for a certificate: there is no join token now"`})
	given.Store(true)
	p.await(t, Ready)
	ahead.Store(int64(time.Hour))
	text := checkHealth(t, p.config.Health, []string{
		"lateen_agent_certificate_expiry_seconds 8", "lateen_agent_certificate_renewals_total 1\n", "lateen_agent_certificate_failing 0\n",
	}, []string{`"state": "ready"`, `"identity": "` + web.ID.String() + `"`, `"notAfter": "`, `"renewAt": "`})
	if strings.Contains(text, "BEGIN CERTIFICATE") {
		t.Errorf("the whole chain is told:\n%s", text)
	}
	problems, err := promlint.New(strings.NewReader(strings.TrimPrefix(healthy(t, p.config.Health, "/metrics"), "200 "))).Lint()
	if err != nil || len(problems) != 0 {
		t.Errorf("Prometheus's linter says %v %v", problems, err)
	}
	ahead.Store(int64(30 * time.Hour))
	if text := healthy(t, p.config.Health, "/metrics"); !strings.Contains(text, "lateen_agent_certificate_expiry_seconds -2") {
		t.Errorf("of an expired certificate it says\n%s", text)
	}
}

func checkHealth(t *testing.T, socket string, metrics, words []string) string {
	t.Helper()
	text := healthy(t, socket, "/metrics")
	for _, want := range metrics {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	text = healthy(t, socket, "/healthz")
	for _, want := range append(words, fmt.Sprint(http.StatusOK)) {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	return text
}
