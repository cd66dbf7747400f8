package main

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// registry is the one that the guide shows: one instance of the service web, which may call itself.
func registry(t *testing.T) string {
	t.Helper()
	guide, err := os.ReadFile(filepath.Join(meshtest.Root(t), "docs/guide/operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(guide), "```json\n")
	text, _, _ := strings.Cut(rest, "```\n")
	return text
}

const teapot = `apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: web}
spec: {destination: {name: web}, httpFault: {abort: {percent: 100, httpStatus: 418}}}
`

// status asks a page through a proxy, and returns the status of the answer, or 0.
func status(t *testing.T, proxy, page string) int {
	t.Helper()
	to, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyURL(to)}, Timeout: patience}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, page, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// A control plane, a proxy and an application run by hand, each by its own command and without a supervisor: what runs
// stands in one file and the rules in a folder. The start log says with what the control plane runs.
func TestByHand(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		rules := filepath.Dir(write(t, dir, "rules/none.yaml", ""))
		serve := start(t, dir, "serve", "--state-dir", dir+"/s", "--config", rules, "--registry", write(t, dir, "registry.json", registry(t)))
		for _, line := range []string{
			"info: version version=", "envoy=\"1.38 or later\"", "info: flags config=[" + rules + "]", "info: sources files=" + rules,
			"info: addresses api=" + dir + "/s/api.sock secure=127.0.0.1:15012 plain_xds=\"\" admin=127.0.0.1:8090",
			"info: mesh settings domain=cluster.local", "connectTimeout=1s",
		} {
			serve.prints(line)
		}
		if got := page(t, "http://127.0.0.1:8090/readyz"); got != "ready\n" {
			t.Errorf("the control plane says %q", got)
		}
		start(t, dir, "bookinfo", "reviews", "--version", "v1", "--port", "20001").prints("ready")
		token, err := api.NewClient(dir+"/s/api.sock").NewToken(t.Context(), api.NewToken{Workload: "web-v1-0", Namespace: "default", Account: "default", Address: "127.0.0.2"})
		if err != nil {
			t.Fatal(err)
		}
		agent := start(t, dir, "agent", "--control-plane", "127.0.0.1:15012", "--token-file", write(t, dir, "token", token.Token),
			"--node", "web-v1-0.default", "--address", "127.0.0.2", "--dir", dir+"/p", "--health-address", "127.0.0.1:15021")
		agent.prints(`"event":"ready"`)
		if got := page(t, "http://127.0.0.1:15021/healthz/ready"); got != "ready\n" {
			t.Errorf("the agent says %q", got)
		}
		ask := func() int { return status(t, "http://127.0.0.2:15001", "http://web:9080/health") }
		if got := ask(); got != http.StatusOK {
			t.Errorf("a request through the proxy: status %d", got)
		}
		write(t, dir, "rules/web.yaml", teapot)
		until(t, "the rule", func() bool { return ask() == http.StatusTeapot })
		if got := must(t, dir, "get", "routerules", "-o", "name", "--state-dir", dir+"/s"); !strings.Contains(got, "web") {
			t.Errorf("get routerules: %s", got)
		}

		// The agent's Envoy goes on without the control plane, and a new one finds it.
		if err := syscall.Kill(serve.cmd.Process.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		serve.exit()
		if got := ask(); got != http.StatusTeapot {
			t.Errorf("without a control plane: status %d", got)
		}
		start(t, dir, "serve", "--state-dir", dir+"/s", "-f", rules, "--registry", filepath.Join(dir, "registry.json"), "--admin-port", "0")
		if err := os.Remove(filepath.Join(dir, "rules/web.yaml")); err != nil {
			t.Fatal(err)
		}
		until(t, "the end of the rule", func() bool { return ask() == http.StatusOK })

		envoy := agent.only("--config-path")
		if code := agent.interrupt(); code != 0 {
			t.Errorf("the agent ends with %d", code)
		}
		if pids := agent.processes("--config-path"); len(pids) != 0 {
			t.Errorf("Envoy %d runs without its agent: %v", envoy, pids)
		}
	})
}

// A control plane that nobody tells what runs says so, and how to tell it.
func TestServeWaits(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		p := start(t, dir, "serve", "--state-dir", dir+"/s")
		p.prints("info: waiting for what runs")
		p.prints("--registry FILE")
		response, err := http.Get("http://127.0.0.1:8090/readyz") //nolint:noctx // nothing to cancel
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("readyz: %s", response.Status)
		}
		_, stderr, code := run(t, dir, "serve", "--state-dir", dir+"/x", "--admin-port", "0", "--secure-address", "", "--registry", write(t, dir, "bad.json", `{"service": []}`))
		if code != 1 || !strings.Contains(stderr, `unknown field "service"`) || !strings.Contains(stderr, "hint: --registry takes JSON") {
			t.Errorf("a wrong registry: exit code %d\n%s", code, stderr)
		}
		_, stderr, code = run(t, dir, "agent")
		wantError(t, stderr, code, 2, 2, "nothing says which proxy this is", "--node NAME.NAMESPACE")
	})
}

// An agent that is killed takes its Envoy along; both come back, and nothing else stops.
func TestAgentKilled(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		p := start(t, dir, "demo")
		p.prints(ready)
		page(t, productpage)
		agent, envoy := p.only("--node ratings-v1-0.default"), p.only("/ratings-v1-0.default/bootstrap.json --concurrency")
		before := p.processes("bookinfo ratings")
		if err := syscall.Kill(agent, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		until(t, "another agent with its Envoy", func() bool {
			agents, envoys := p.processes("--node ratings-v1-0.default"), p.processes("/ratings-v1-0.default/bootstrap.json --concurrency")
			return len(agents) == 1 && agents[0] != agent && len(envoys) == 1 && envoys[0] != envoy
		})
		until(t, "stars, which come from ratings", func() bool {
			for range 3 { // the versions of reviews, of which one shows none
				if body := page(t, productpage); strings.Contains(body, "Ratings service is currently unavailable") {
					return false
				}
			}
			return true
		})
		if after := p.processes("bookinfo ratings"); len(after) != 1 || after[0] != before[0] {
			t.Errorf("the application beside it was restarted: %v, then %v", before, after)
		}
	})
}

// The URL that a mesh prints leads a browser to the debug pages. The token stands nowhere else, and goes with the mesh.
func TestDebugPages(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		p := start(t, dir, "demo")
		p.prints(ready)
		p.prints("/debug/?token=")
		_, rest, _ := strings.Cut(p.text(), "http://127.0.0.1:8090/debug/?token=")
		token, _, _ := strings.Cut(rest, "\n")
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		browser := &http.Client{Jar: jar, Timeout: patience}
		defer browser.CloseIdleConnections()
		for _, c := range []struct{ path, want string }{
			{"/debug/?token=" + token, "/debug/pprof/"}, // the others come with the cookie that this one is answered with
			{"/debug/proxies", "reviews-v3-0.default"},
			{"/v1/status", `"ready":true`},
			{"/debug/pprof/profile?seconds=1", ""},
		} {
			if body, err := meshtest.Fetch(t.Context(), browser, "http://127.0.0.1:8090"+c.path); err != nil || !strings.Contains(body, c.want) {
				t.Errorf("%s: %v, want %q in\n%.300s", c.path, err, c.want, body)
			}
		}
		file := filepath.Join(dir, "lateen", "bookinfo", "admin.token")
		kept, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(kept)) != token {
			t.Errorf("%s holds another token: %v", file, err)
		}
		old := p.only("serve --mesh")
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		until(t, "the debug pages of another control plane", func() bool {
			_, err := meshtest.Fetch(t.Context(), browser, "http://127.0.0.1:8090/debug/")
			now := p.processes("serve --mesh")
			return err == nil && len(now) == 1 && now[0] != old
		})
		if err := filepath.WalkDir(filepath.Dir(file), func(path string, entry os.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() || path == file {
				return err
			}
			if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), token) {
				t.Errorf("%s tells the token, or cannot be read: %v", path, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(p.text(), token); n != 1 {
			t.Errorf("the token is printed %d times", n)
		}
		if code := p.interrupt(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("the token outlives its mesh: %v", err)
		}
	})
}
