package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lateen-mesh/lateen/internal/admin"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/places/placestest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/source/state"
	"github.com/lateen-mesh/lateen/internal/store"
)

const domain = "cluster.local"

func (p *proxies) Explain(proxy mesh.ProxyID, resource, stage string) (string, error) {
	if proxy != "a.default" {
		return "", fmt.Errorf("no proxy %s", proxy)
	}
	return fmt.Sprintf("%s of %s\n", stage, resource), nil
}

// files are objects of watched files.
type files []config.Object

func (f files) Objects() []config.Object { return f }

// server is a control plane's API with everything behind it but the proxies.
type server struct {
	dir     string
	socket  string
	client  *api.Client
	proxies *proxies
	address string // of health and metrics
	stop    func() error
}

// kinds has one kind, whose objects may say x: 1 to 9.
func kinds() config.Kinds {
	translate := func(o *config.Object) (config.Meaning, []mesh.Problem) {
		var spec struct {
			X int `yaml:"x"`
		}
		problems := config.Decode(o, "spec", &spec)
		switch {
		case spec.X > 9:
			problems = append(problems, o.Problem(config.CodeOutOfRange, "spec.x", "x is %d", spec.X))
		case spec.X == 7:
			p := o.Problem("unlucky", "spec.x", "x is 7")
			p.Severity = mesh.Warning
			problems = append(problems, p)
		}
		return config.Meaning{}, problems
	}
	return config.Kinds{{
		Name: "RouteRule", APIVersions: []string{"config.istio.io/v1alpha2"}, Type: "route-rule", Plural: "routerules", Translate: translate,
	}}
}

func start(t *testing.T, dir string, watched ...config.Object) *server {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	known := store.New(store.Config{
		Kinds: kinds(), Domain: domain, Sources: []string{"state", admin.RegistrySource}, Log: log,
		Publish: func(*mesh.Snapshot, []mesh.Key) {},
	})
	objects, err := state.Open(state.Config{
		Dir: filepath.Join(dir, "objects"), Kinds: kinds(), Log: log,
		Sink: func(ctx context.Context, objects []config.Object, problems []mesh.Problem) (int64, error) {
			return known.SetObjects(ctx, "state", objects, problems)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	socket, err := api.Socket(dir)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{dir: dir, socket: socket, client: api.NewClient(socket), address: listener.Addr().String()}
	s.proxies = &proxies{waits: make(chan struct{}, 1)}
	served := admin.New(admin.Config{
		Socket: socket, Listener: placestest.Abroad(listener), Version: "v1", Mesh: "town", Kinds: kinds(), Objects: objects, Files: files(watched),
		Store: known, Registry: known, Proxies: s.proxies, Handovers: s.proxies, Watch: s.proxies, Explain: s.proxies, Metrics: prometheus.NewRegistry(), Log: log,
		Work: push.NewEngine(push.Config{Log: log}), Await: "somebody tells it", Gate: admin.Gate{Token: token, File: "/state/admin.token"},
	})
	s.run(t, known.Run, objects.Run, served.Run)
	return s
}

// run runs parts until the test ends or the server is stopped.
func (s *server) run(t *testing.T, parts ...func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, len(parts))
	for _, part := range parts {
		go func() { ended <- part(ctx) }()
	}
	stopped := false
	s.stop = func() error {
		cancel()
		var all error
		for range parts {
			if stopped {
				break
			}
			if err := <-ended; !errors.Is(err, context.Canceled) {
				all = errors.Join(all, err)
			}
		}
		stopped = true
		return all
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	for { // until it serves what is stored
		if status, err := s.client.Status(ctx); err == nil && !slices.Contains(status.Missing, "state") {
			return
		}
		select {
		case err := <-ended:
			t.Fatalf("it does not serve: %v", err)
		default:
		}
	}
}

func rule(name, x string) string {
	return "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata:\n  name: " + name + "\nspec:\n  x: " + x + "\n"
}

func one(name, text string) []api.File { return []api.File{{Name: name, Text: text}} }

// transcript says in a few words what was written.
func transcript(w api.Written) []string {
	var lines []string
	for _, r := range w.Results {
		lines = append(lines, fmt.Sprintf("%s %s/%s@%d", r.Verb, r.Type, r.Object.Path(), r.ResourceVersion))
	}
	for _, p := range w.Problems {
		lines = append(lines, p.String())
	}
	return lines
}

func TestGoodObjectsAreWrittenAndBadOnesTold(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	for _, step := range []struct {
		shows string
		write api.Write
		want  []string
	}{
		{
			"a broken object among good ones, and a warning, which keeps nothing from being written",
			api.Write{Op: api.Create, Files: one("f.yaml", rule("a", "1")+"---\n"+rule("b", "10")+"---\n"+rule("c", "7"))},
			[]string{
				"created route-rule/default/a@1", "created route-rule/default/c@2",
				"f.yaml:13:6: error: RouteRule default/b: spec.x: x is 10 [out-of-range]",
				"f.yaml:20:6: warning: RouteRule default/c: spec.x: x is 7 [unlucky]",
			},
		},
		{
			"a document that is not YAML beside one that is",
			api.Write{Op: api.Apply, Files: one("f.yaml", "a: [\n---\n"+rule("a", "1"))},
			[]string{"unchanged route-rule/default/a@1", "f.yaml:1:1: error: not YAML: did not find expected node content [syntax]"},
		},
		{
			"the namespace of the command, and an object that names another",
			api.Write{Op: api.Apply, Namespace: "shop", Files: one("f.yaml",
				rule("a", "1")+"---\n"+strings.Replace(rule("b", "1"), "  name: b", "  name: b\n  namespace: other", 1))},
			[]string{
				"created route-rule/shop/a@3",
				"f.yaml:12:14: error: RouteRule other/b: metadata.namespace: the command names the namespace \"shop\" [namespace-mismatch]\n" +
					"  hint: leave out -n, or give -n other",
			},
		},
		{
			"the same object twice",
			api.Write{Op: api.Apply, Files: append(one("f.yaml", rule("d", "1")), one("g.yaml", rule("d", "2"))...)},
			[]string{
				"created route-rule/default/d@4",
				"g.yaml:4:9: error: RouteRule default/d: metadata.name: the object stands also at f.yaml:1:1 [duplicate-object]\n" +
					"  hint: give one of them another name",
			},
		},
		{
			"an unknown kind",
			api.Write{Op: api.Apply, Files: one("f.yaml", strings.Replace(rule("a", "1"), "RouteRule", "RoutRule", 1))},
			[]string{"f.yaml:2:7: error: RoutRule default/a: kind: unknown kind \"RoutRule\" of \"config.istio.io/v1alpha2\" [unknown-kind]\n" +
				"  hint: did you mean \"RouteRule\"?"},
		},
	} {
		written, err := s.client.Write(t.Context(), step.write)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, transcript(written)); diff != "" {
			t.Errorf("%s: %s", step.shows, diff)
		}
	}
}

func TestDeletionByNameAndByFile(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	if _, err := s.client.Write(t.Context(), api.Write{Op: api.Create, Files: one("f.yaml", rule("a", "1")+"---\n"+rule("b", "1"))}); err != nil {
		t.Fatal(err)
	}
	deleted, err := s.client.Delete(t.Context(), api.Delete{
		Objects: []mesh.Ref{{Kind: "RouteRule", Name: "a"}, {Kind: "RouteRule", Name: "bb"}},
		Files:   one("f.yaml", rule("b", "10")),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"deleted route-rule/default/a@1", "deleted route-rule/default/b@2",
		"error: RouteRule default/bb: there is no such object [not-found]\n  hint: did you mean \"b\"?",
	}
	if diff := cmp.Diff(want, transcript(deleted)); diff != "" {
		t.Error(diff)
	}
}

func TestObjectsOfWatchedFilesChangeOnlyThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, dir)
	if _, err := s.client.Write(t.Context(), api.Write{Op: api.Create, Files: one("f.yaml", rule("b", "1"))}); err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	watched, _ := config.Parse("mesh/rules.yaml", []byte("\n"+rule("a", "1")+"---\n"+rule("b", "2")), "")
	s = start(t, dir, watched...)

	owned := []string{"f.yaml:1:1: error: RouteRule default/a: the object belongs to the watched file mesh/rules.yaml [owned-by-file]\n" +
		"  hint: change it there: mesh/rules.yaml:2:1"}
	written, err := s.client.Write(t.Context(), api.Write{Op: api.Apply, Files: one("f.yaml", rule("a", "2"))})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(owned, transcript(written)); diff != "" {
		t.Error(diff)
	}
	list, err := s.client.Objects(t.Context(), api.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"a", "b"} {
		if len(list) != 2 || list[i].Name != want || list[i].Source != "file" || list[i].Origin.File != "mesh/rules.yaml" {
			t.Errorf("listed as %+v", list)
		}
	}
	// b was written with a command before a file took it over: what was written can be deleted, a cannot.
	deleted, err := s.client.Delete(t.Context(), api.Delete{Objects: []mesh.Ref{{Kind: "RouteRule", Name: "a"}, {Kind: "RouteRule", Name: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"deleted route-rule/default/b@1",
		"mesh/rules.yaml:2:1: error: RouteRule default/a: the object belongs to the watched file mesh/rules.yaml [owned-by-file]\n" +
			"  hint: delete it there: mesh/rules.yaml:2:1",
	}
	if diff := cmp.Diff(want, transcript(deleted)); diff != "" {
		t.Error(diff)
	}
}

func TestQuestionsAreAnswered(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	ctx := t.Context()
	status, err := s.client.Status(ctx)
	want := api.Status{Version: "v1", Mesh: "town", Missing: []string{admin.RegistrySource}, Proxies: 2}
	if n := len(status.Waiting); n != 100 || status.Waiting[0] != (api.Waiting{ID: "nobody.default", Type: mesh.Sidecar, Streams: 2, Since: time.Unix(7, 0).UTC()}) {
		t.Errorf("%d that wait are named, want 100: %+v", n, status.Waiting[:1])
	}
	status.Waiting = nil
	if diff := cmp.Diff(want, status); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	revision, err := s.client.PutRegistry(ctx, mesh.Registry{Services: []*mesh.Service{{Host: "a.default.svc." + domain, Name: "a", Namespace: "default"}}})
	if err != nil || revision == 0 {
		t.Errorf("revision %d, %v", revision, err)
	}
	if status, err = s.client.Status(ctx); err != nil || !status.Ready || status.Revision != revision {
		t.Errorf("%+v, %v", status, err)
	}
	uses, err := s.client.Uses(ctx)
	if err != nil || len(uses) != 1 || uses[0].Labels["app"] != "a" || len(uses[0].Hosts) != 1 || uses[0].Hosts[0].Host != "reviews:9080" {
		t.Errorf("uses are %+v, %v", uses, err)
	}
	proxies, err := s.client.Proxies(ctx)
	if diff := cmp.Diff([]api.Proxy{
		{ID: "a.default", Type: mesh.Sidecar, Connected: true, Scope: "s", Revision: 3, Current: true, Holds: map[string]int{"cluster": 2}},
		{ID: "aa.default", Type: mesh.Sidecar, Since: time.Unix(7, 0).UTC(), Revision: -1, Holds: map[string]int{}},
		{
			ID: "b.default", Type: mesh.Ingress, Connected: true, Revision: -1, Holds: map[string]int{}, Behind: 2,
			Pending: []api.Pending{{Resource: "cluster d", Sent: true}}, Refused: []string{"cluster c: no good"},
			LastRefusal: &api.Refusal{Resource: "cluster c", Reason: "no good", Time: time.Unix(8, 0).UTC()},
		},
	}, proxies); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	s.proxies.progress = push.Progress{
		Reached: true, Concerned: 3, Confirmed: 1, Waiting: []mesh.ProxyID{"a.default"},
		Refusals: []push.Refusal{{Proxy: "b.default", Reason: "no good"}},
	}
	progress, err := s.client.Progress(ctx, 4, time.Second)
	if diff := cmp.Diff(api.Progress{
		Revision: 4, Reached: true, Concerned: 3, Confirmed: 1, Waiting: []string{"a.default"}, Refused: []string{"b.default: no good"},
	}, progress); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	text, err := s.client.Explain(ctx, api.Explain{Proxy: "a.default", Resource: "cluster c|d&e", Stage: "view"})
	if err != nil || text != "view of cluster c|d&e\n" {
		t.Errorf("%q, %v", text, err)
	}
	if problems, err := s.client.Problems(ctx); err != nil || len(problems) != 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func TestRefusalsSayWhy(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	over := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.socket)
	}}}
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/v1/objects", `{"op":"destroy"}`, 400, `{"error":"op \"destroy\" is none of create, replace and apply"}`},
		{"POST", "/v1/objects", `{"oops":1}`, 400, `{"error":"request: json: unknown field \"oops\""}`},
		{"POST", "/v1/objects", `{`, 400, `{"error":"request: unexpected EOF"}`},
		{"POST", "/v1/objects", `{"op":"` + strings.Repeat("x", 8<<20) + `"}`, 413, `{"error":"the request has more than 8388608 bytes","hint":"write the objects in several steps"}`},
		{"PATCH", "/v1/objects", ``, 404, `{"error":"there is no PATCH /v1/objects"}`},
		{"GET", "/v2", ``, 404, `{"error":"there is no GET /v2"}`},
		{"GET", "/v1/revisions/x/progress", ``, 400, `{"error":"\"x\" is not a revision"}`},
		{"GET", "/v1/revisions/1/progress?wait=-1s", ``, 400, `{"error":"wait \"-1s\" is not a duration"}`},
		{"GET", "/v1/explain?proxy=nobody", ``, 404, `{"error":"no proxy nobody"}`},
		{"GET", "/v1/decide?proxy=nobody&url=http://a", ``, 404, `{"error":"no proxy nobody"}`},
		{"GET", "/v1/decide?proxy=a.default&url=a", ``, 400, `{"error":"\"a\" is not a URL with http or https"}`},
		{"GET", "/v1/decide?proxy=a.default&url=http://a&header=x", ``, 400, `{"error":"header \"x\": want NAME:VALUE"}`},
		{"GET", "/v1/decide?proxy=a.default&url=http://a&source=x", ``, 400, `{"error":"source: ParseAddr(\"x\"): unable to parse IP"}`},
	} {
		request, err := http.NewRequestWithContext(t.Context(), c.method, "http://lateen"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := over.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(string(body)); response.StatusCode != c.status || got != c.want {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, response.StatusCode, got, c.status, c.want)
		}
	}
	_, err := s.client.Explain(t.Context(), api.Explain{Proxy: "nobody"})
	if refused, ok := errors.AsType[*api.Error](err); !ok || refused.Message != "no proxy nobody" {
		t.Errorf("the client makes %v of it", err)
	}
}

func TestSocketIsPrivateAndGoesWithItsServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, api.SocketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false) // as if its process had been killed
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	s := start(t, dir)
	stat, err := os.Stat(s.socket)
	if err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", stat.Mode(), err)
	}
	err = admin.New(admin.Config{Socket: s.socket, Log: slog.New(slog.DiscardHandler)}).Run(t.Context())
	if refused, ok := errors.AsType[*api.Error](err); !ok || refused.Hint == "" {
		t.Errorf("a second server on the socket: %v", err)
	}

	waited := make(chan error, 1)
	go func() {
		_, err := s.client.Progress(t.Context(), 99, time.Minute)
		waited <- err
	}()
	<-s.proxies.waits
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if err := <-waited; err != nil {
		t.Errorf("who waited is not answered: %v", err)
	}
	if _, err := os.Stat(s.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	_, err = s.client.Status(t.Context())
	if gone, ok := errors.AsType[*api.Unreachable](err); !ok || err.Error() != "no control plane answers on "+s.socket || gone.Hint() == "" {
		t.Errorf("error %v", err)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	get := func(path string) string {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(response.StatusCode, " ", string(body))
	}
	if got := get("/healthz"); got != "200 ok\n" {
		t.Error(got)
	}
	if got := get("/readyz"); got != "503 not ready: waiting for local\nhint: local is what runs; somebody tells it\n" {
		t.Error(got)
	}
	if _, err := s.client.PutRegistry(t.Context(), mesh.Registry{}); err != nil {
		t.Fatal(err)
	}
	if got := get("/readyz"); got != "200 ready\n" {
		t.Error(got)
	}
	if got := get("/metrics"); !strings.HasPrefix(got, "200 ") {
		t.Error(got)
	}
	for _, link := range []string{"healthz", "readyz", "metrics", "cache_stats", "debug/"} {
		if got := get("/"); !strings.Contains(got, `href="`+link+`"`) {
			t.Error(got)
		}
	}
	if got := get("/v1/objects"); !strings.HasPrefix(got, "401 ") {
		t.Errorf("the API is open to everybody: %s", got)
	}
}
