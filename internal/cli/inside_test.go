package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/xds"
)

const refusedCluster = "outbound|9080|version=v2|reviews.default.svc.cluster.local"

// inside is a control plane with one proxy that calls reviews and refuses its version v2, and one that is away.
type inside struct {
	program
	client *api.Client
	fake   *meshtest.FakeProxy
}

func newInside(t *testing.T) *inside {
	t.Helper()
	p := newProgram(t)
	r := meshtest.Bulk(0)
	reviews := meshtest.NewService("reviews", "http", 9080)
	r.Services = append(r.Services, reviews)
	r.Endpoints = append(r.Endpoints, &mesh.EndpointSet{Host: reviews.Host, Endpoints: []mesh.Endpoint{
		{Address: "127.200.0.1", Ports: map[string]int{"http": 9080}, Labels: mesh.Labels{"version": "v1"}, Health: mesh.Healthy},
	}})
	for _, w := range []struct{ name, namespace string }{{"caller-v1-0", "default"}, {"away-v1-0", "default"}, {"away-v1-0", "shop"}} {
		r.Workloads = append(r.Workloads, &mesh.Workload{
			Name: w.name, Namespace: w.namespace, Type: mesh.Sidecar, Address: "127.0.0.1", Outbound: 15001, Running: true,
		})
	}
	i := &inside{p, api.NewClient(filepath.Join(p.dir, api.SocketName)), meshtest.NewFakeProxy(mesh.Node{
		Type: mesh.Sidecar, Address: "127.0.0.1", Name: "caller-v1-0", Namespace: "default", Domain: serve.Domain,
	}, "reviews:9080")}
	if _, err := i.client.PutRegistry(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	i.fake.Refuse = func(_ xds.Type, name string) string {
		if name == refusedCluster {
			return "no\tsuch\nthing"
		}
		return ""
	}
	i.connect(i.fake)
	if err := i.fake.Await(t.Context(), xds.VirtualHostType, "out/reviews:9080"); err != nil {
		t.Fatal(err)
	}
	i.settle()
	return i
}

// connect has a proxy connect.
func (i *inside) connect(proxy *meshtest.FakeProxy) {
	i.Helper()
	conn, err := grpc.NewClient("unix:"+serve.XDSSocket(i.dir), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		i.Fatal(err)
	}
	ctx, stop := context.WithCancel(i.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := proxy.Run(ctx, conn); ctx.Err() == nil {
			i.Errorf("the proxy: %v", err)
		}
	})
	i.Cleanup(func() { stop(); running.Wait(); _ = conn.Close() })
}

// settle waits until the proxy has nothing left to confirm.
func (i *inside) settle() {
	i.Helper()
	meshtest.Await(i, "the proxy to settle", func() bool {
		p, err := i.client.Proxy(i.Context(), "caller-v1-0")
		return err == nil && p.Behind == 0 && !p.Silent && (p.Current || len(p.Refusals) > 0)
	})
}

const toSecond = "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: second}\n" +
	"spec: {destination: {name: reviews}, route: [{labels: {version: v2}}]}\n"

// refuse has the proxy refuse something.
func (i *inside) refuse() {
	i.Helper()
	if _, stderr, code := i.run(toSecond, "apply", "-f", "-"); code != exitFailure || !strings.Contains(stderr, "refused by proxies") {
		i.Fatalf("exit code %d: %s", code, stderr)
	}
	i.settle()
}

// shows runs a command, which must exit with a code and print lines that the patterns match, in this order.
func (i *inside) shows(code int, command string, patterns ...string) (stdout, stderr string) {
	i.Helper()
	stdout, stderr, got := i.run("", strings.Fields(command)...)
	if got != code {
		i.Errorf("%s: exit code %d, want %d: %s", command, got, code, stderr)
	}
	lines := strings.Split(stdout, "\n")
	for _, pattern := range patterns {
		match := regexp.MustCompile("^" + pattern + "$")
		for len(lines) > 0 && !match.MatchString(lines[0]) {
			lines = lines[1:]
		}
		if len(lines) == 0 {
			i.Errorf("%s: no line %q at its place in\n%s", command, pattern, stdout)
			return stdout, stderr
		}
	}
	return stdout, stderr
}

func TestProxiesAreShown(t *testing.T) {
	t.Parallel()
	i := newInside(t)
	_, stderr := i.shows(0, "proxies",
		`PROXY +KIND +CONNECTED +SCOPE +HOLDS +IN SYNC +LAST REFUSAL`,
		`away-v1-0\.default +sidecar +no, for \d+s +- +- +- +-`,
		`caller-v1-0\.default +sidecar +\d+s +[0-9a-f]{8} +2 LDS 1 RDS 2 VHDS 2 CDS 1 EDS +yes +-`)
	if stderr != "" {
		t.Errorf("where all is well there is a hint: %s", stderr)
	}
	i.shows(0, "proxy-status -A -o wide", `PROXY +KIND.*CHANGE.*PENDING +IDENTITY`, `away-v1-0\.default .*`, `away-v1-0\.shop .*`, `caller-v1-0\.default .* yes .*`)
	if _, stderr := i.shows(0, "proxies -n nowhere", nothingFound); !strings.Contains(stderr, "there are 3 in other namespaces") {
		t.Errorf("%s", stderr)
	}
	i.shows(0, "proxies away-v1-0.shop", `away-v1-0\.shop, sidecar, not connected for \d+s`)
	i.shows(0, "proxies away-v1-0 -n shop", `away-v1-0\.shop, sidecar, not connected for \d+s`)
	i.shows(0, "proxies caller-v1-0.default -n default", `caller-v1-0\.default, sidecar, connected .*`)
	i.refuses("no proxy caller-v1-0.shop", "", "explain", "caller-v1-0", "reviews:9080", "-n", "shop")
	i.refuses("away-v1-0 means 2 proxies: away-v1-0.default, away-v1-0.shop", "", "proxies", "away-v1-0")
	i.refuses("no proxy nobody\nlateen: hint: `lateen proxies -A` lists those that there are: away-v1-0.default, away-v1-0.shop, caller-v1-0.default\n",
		"", "proxies", "nobody")

	i.refuse()
	if _, stderr := i.shows(0, "proxies", `caller-v1-0\.default .* refuses 1 +\d+s ago`); !strings.Contains(stderr, "`lateen proxies caller-v1-0.default` shows what it refuses") {
		t.Errorf("%s", stderr)
	}
	i.shows(0, "proxies deploy/caller-v1",
		`caller-v1-0\.default, sidecar, connected for \d+s, scope [0-9a-f]{8}`, `not in sync: refuses 1; .*`, "",
		`refuses virtual-host out/reviews:9080, \d+s ago \(2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d\):`, `  no such thing`,
		`listeners \(2, by LDS\)`, `  inner`, `  outbound`, `virtual hosts \(2, by VHDS\)`, `  out/reviews:9080`)
	stdout, _ := i.shows(0, "proxies caller-v1-0 -o json")
	var detail api.ProxyDetail
	if err := json.Unmarshal([]byte(stdout), &detail); err != nil || detail.Current || detail.LastRefusal == nil || len(detail.Names["cluster"]) != 3 {
		t.Errorf("%v %s", err, stdout)
	}
	i.shows(0, "proxies -o yaml", `- id: away-v1-0\.default`, `  connected: false`, `- id: caller-v1-0\.default`, `  lastRefusal:`, `    resource: cluster .*`)
}

// envoyDump is what an Envoy would say that holds what the proxy was sent, but for one more route.
func (i *inside) envoyDump() []byte {
	i.Helper()
	sent, err := i.client.Resources(i.Context(), "caller-v1-0", "")
	if err != nil {
		i.Fatal(err)
	}
	lists := map[string][]string{}
	for _, r := range sent.Resources {
		if r.Confirmed == "" {
			continue
		}
		body := strings.Replace(string(r.Body), "{", fmt.Sprintf("{%q: %q,", "@type", r.Type), 1)
		switch r.Kind {
		case "cluster":
			lists["Clusters.dynamic_active_clusters"] = append(lists["Clusters.dynamic_active_clusters"], fmt.Sprintf(`{"version_info": %q, "cluster": %s}`, r.Confirmed, body))
		case "listener":
			lists["Listeners.dynamic_listeners"] = append(lists["Listeners.dynamic_listeners"], fmt.Sprintf(`{"name": %q, "active_state": {"version_info": %q, "listener": %s}}`, r.Name, r.Confirmed, body))
		case "endpoints":
			lists["Endpoints.dynamic_endpoint_configs"] = append(lists["Endpoints.dynamic_endpoint_configs"], fmt.Sprintf(`{"endpoint_config": %s}`, body))
		}
	}
	lists["Routes.dynamic_route_configs"] = []string{`{"route_config": {"@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "name": "stray"}}`}
	var all []string
	for name, list := range lists {
		section, field, _ := strings.Cut(name, ".")
		all = append(all, fmt.Sprintf(`{"@type": "type.googleapis.com/envoy.admin.v3.%sConfigDump", %q: [%s]}`, section, field, strings.Join(list, ",")))
	}
	return []byte(`{"configs": [` + strings.Join(all, ",") + `]}`)
}

func TestConfigIsShown(t *testing.T) {
	t.Parallel()
	i := newInside(t)
	i.refuses("its Envoy does not run there, or under another user", "", "config", "caller-v1-0")
	i.refuses("proxy away-v1-0.shop is not connected", "", "config", "away-v1-0.shop")
	folder := filepath.Join(i.dir, "proxies", "caller-v1-0.default")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	i.refuses("no proxy answers on ", "", "config", "caller-v1-0")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(folder, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	dumped := i.envoyDump()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(dumped) })}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() { _ = server.Close(); <-ended })

	i.shows(0, "proxy-config deploy/caller-v1 listeners",
		`LISTENER +ADDRESS +SPEAKS +VERSION +STATE`, `inner +inside the proxy +HTTP +[0-9a-f]{8} +same`, `outbound +127\.0\.0\.1:15001 +HTTP +[0-9a-f]{8} +same`)
	for _, command := range []string{"proxy-config listener deploy/caller-v1", "config caller-v1-0 lds", "config LDS caller-v1-0 -n default"} {
		i.shows(0, command, `LISTENER +ADDRESS .*`, `inner .*`, `outbound .*`)
	}
	i.shows(0, "config vhds caller-v1-0", `VIRTUAL HOST +DOMAINS .*`, `out/reviews:9080 .*`)
	i.shows(0, "config rds caller-v1-0", `ROUTES +VIRTUAL HOSTS .*`, `VIRTUAL HOST +DOMAINS .*`)
	i.shows(0, "config caller-v1-0 endpoint", `ENDPOINTS +ADDRESS +WEIGHT +HEALTH +VERSION +STATE`, `outbound\|.* +127\.200\.0\.1:9080 +1 +healthy +[0-9a-f]{8} +same`)
	if stdout, stderr := i.shows(0, "config caller-v1-0 clusters --diff"); stdout != "" || !strings.Contains(stderr, "caller-v1-0.default has what it was sent") {
		t.Errorf("%s%s", stdout, stderr)
	}
	if _, stderr := i.shows(0, "config caller-v1-0",
		`LISTENER .*`, `ROUTES +VIRTUAL HOSTS +VERSION +STATE`, `out +on demand .* only sent`, `stray +0 .* only in proxy`,
		`VIRTUAL HOST +DOMAINS +ROUTES +VERSION +STATE`, `out/reviews:9080 +reviews:9080 +<tunnel>, <default> +[0-9a-f]{8} +only sent`,
		`CLUSTER .*`, `inner +STATIC +- .* same`,
	); !strings.Contains(stderr, "4 resources are not as sent: --diff shows only those") {
		t.Errorf("%s", stderr)
	}

	i.refuse()
	i.shows(1, "config caller-v1-0 clusters --diff", `CLUSTER .*`, regexp.QuoteMeta(refusedCluster)+` +EDS +- +- +refused`, "",
		regexp.QuoteMeta("cluster "+refusedCluster+": refused: no such thing"))
	stdout, _ := i.shows(0, "config caller-v1-0 clusters -o json")
	var answer struct {
		Proxy     string
		Resources []struct {
			Name, State, Why string
			Sent, Proxy      map[string]any
		}
	}
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || answer.Proxy != "caller-v1-0.default" || len(answer.Resources) != 3 {
		t.Fatalf("%v %s", err, stdout)
	}
	for _, r := range answer.Resources {
		if refused := r.Name == refusedCluster; (r.State == "refused") != refused || (r.Proxy == nil) != refused || r.Sent["name"] != r.Name {
			t.Errorf("%+v", r)
		}
	}
	i.shows(0, "config caller-v1-0 -o yaml", `proxy: caller-v1-0\.default`, `resources:`, `  - kind: listener`, `    sent:`, `      name: inner`)
	dumped = []byte("<html>")
	i.refuses("read the proxy's dump", "", "config", "caller-v1-0")
}

// A workload without a proxy has nobody who could be asked what it holds.
func TestConfigOfNoProxy(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	i := &inside{program: p, client: api.NewClient(filepath.Join(p.dir, api.SocketName))}
	r := meshtest.Bulk(0)
	r.Workloads = []*mesh.Workload{{Name: "walker-v1-0", Namespace: "default", Type: mesh.Proxyless, Address: "127.0.0.1"}}
	if _, err := i.client.PutRegistry(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	i.refuses("walker-v1-0.default runs without a proxy, and its gRPC library is not connected: it calls nothing now", "", "config", "walker-v1-0")
	i.connect(meshtest.NewFakeProxy(mesh.Node{
		Type: mesh.Proxyless, Address: "127.0.0.1", Name: "walker-v1-0", Namespace: "default", Domain: serve.Domain,
	}))
	meshtest.Await(t, "the library to be connected", func() bool {
		_, err := i.client.Proxy(t.Context(), "walker-v1-0")
		return err == nil
	})
	i.refuses("walker-v1-0.default runs without a proxy: its gRPC library holds the configuration, and nobody can ask it\n"+
		"lateen: hint: `lateen proxies walker-v1-0.default` shows what it was sent\n", "", "config", "walker-v1-0")
}

// A pipe gets a line each time a change has come further, and the table when it is another one and nothing moves.
func TestWatchingInAPipe(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := newWatching(&out, &looking{})
	proxies := []api.Proxy{{ID: "a.default", Type: mesh.Sidecar, Connected: true, Current: true}}
	see := func(calm bool, travels ...api.Travel) string {
		t.Helper()
		out.Reset()
		if err := w.see(api.Watched{Proxies: proxies, Travels: travels, Revision: 57}, calm); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if got := see(false, api.Travel{Revision: 57, Concerned: 412, Waiting: 412}); !strings.HasPrefix(got, "change 57: programmed in 0 of 412\nPROXY ") {
		t.Errorf("first: %q", got)
	}
	proxies[0].Current, proxies[0].Behind = false, 1
	for _, step := range []struct {
		travel api.Travel
		want   string
	}{
		{api.Travel{Revision: 57, Concerned: 412, Waiting: 412}, ""},
		{api.Travel{Revision: 57, Concerned: 412, Confirmed: 400, Waiting: 12}, "change 57: programmed in 400 of 412\n"},
		{api.Travel{Revision: 57, Concerned: 412, Confirmed: 411, Refused: 1}, "change 57: programmed in 411 of 412, refused by 1\n"},
	} {
		if got := see(false, step.travel); got != step.want {
			t.Errorf("%+v: %q, want %q", step.travel, got, step.want)
		}
	}
	if w.patience() != watchCalm || w.seen() != 57 {
		t.Errorf("it waits for %v, after revision %d", w.patience(), w.seen())
	}
	if got := see(true); !strings.Contains(got, "1 pending") {
		t.Errorf("the table is another one: %q", got)
	}
	if got := see(true); got != "" || w.patience() != watchWait {
		t.Errorf("nothing happened: %q, it waits for %v", got, w.patience())
	}
}

// On a terminal the lines of what travels are written over, and those of what has arrived stay.
func TestWatchingOnATerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := newWatching(&out, &looking{})
	w.terminal = true
	step := func(want string, travels ...api.Travel) {
		t.Helper()
		out.Reset()
		w.travel(travels)
		w.newest = 2
		if got := out.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	step("change 1: programmed in 0 of 2\nchange 2: programmed in 0 of 1\n",
		api.Travel{Revision: 1, Concerned: 2, Waiting: 2}, api.Travel{Revision: 2, Concerned: 1, Waiting: 1})
	step("\x1b[2A\r\x1b[Jchange 2: programmed in 1 of 1\nchange 1: programmed in 1 of 2\n",
		api.Travel{Revision: 1, Concerned: 2, Confirmed: 1, Waiting: 1}, api.Travel{Revision: 2, Concerned: 1, Confirmed: 1})
	step("\x1b[1A\r\x1b[Jchange 1: programmed in 2 of 2\n",
		api.Travel{Revision: 1, Concerned: 2, Confirmed: 2}, api.Travel{Revision: 2, Concerned: 1, Confirmed: 1})
	step("", api.Travel{Revision: 1, Concerned: 2, Confirmed: 2})
}

// The whole way: a command that watches sees a change travel, and ends well when it is told to.
func TestWatch(t *testing.T) {
	t.Parallel()
	i := newInside(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := &lines{want: []string{"caller-v1-0.default", "programmed in 1 of 1"}, found: make(chan struct{}, 2)}
	root := newRootCommand(nil)
	root.SetArgs([]string{"proxies", "--watch", "--state-dir", i.dir})
	root.SetOut(out)
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()
	out.await(t)
	i.wants("Created config route-rule/default/second at revision 1", strings.ReplaceAll(toSecond, "v2", "v1"), "apply", "-f", "-")
	out.await(t)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Who watches a mesh that is ended is told so, and not that its proxies go on.
func TestWatchEndsWithTheMesh(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	end := startPlane(t, dir)
	lock, err := os.Create(filepath.Join(dir, "lock")) // as `lateen up` holds it
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	out, errs := &lines{want: []string{nothingFound}, found: make(chan struct{}, 1)}, &lines{}
	root := newRootCommand(nil)
	root.SetArgs([]string{"proxies", "--watch", "--mesh", "town", "--state-dir", dir})
	root.SetOut(out)
	root.SetErr(errs)
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(t.Context()) }()
	out.await(t)
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	end()
	if err := <-ended; err != nil || errs.all != "lateen: mesh town has ended\n" {
		t.Errorf("%v, said %q", err, errs.all)
	}
}

// lines tells when it has been written what is wanted, one after the other.
type lines struct {
	mu    sync.Mutex
	all   string
	want  []string
	found chan struct{}
}

func (l *lines) await(t *testing.T) {
	t.Helper()
	select {
	case <-l.found:
	case <-time.After(meshtest.Patience):
		l.mu.Lock()
		defer l.mu.Unlock()
		t.Fatalf("%q was not written: %s", l.want, l.all)
	}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all += string(p)
	if len(l.want) > 0 && strings.Contains(l.all, l.want[0]) {
		l.want = l.want[1:]
		l.found <- struct{}{}
	}
	return len(p), nil
}

func TestInsideIsAskedRightly(t *testing.T) {
	t.Parallel()
	p := program{t, t.TempDir()}
	p.refuses("name a proxy, and what to show of it or nothing", "", "config")
	p.refuses(`unknown part of a configuration "bootstrap"`, "", "config", "x", "bootstrap")
	p.refuses(`unknown part of a configuration "y"`, "", "config", "x", "y")
	p.refuses(`unknown output format "wide"`, "", "config", "x", "-o", "wide")
	p.refuses("name one proxy, or none for all", "", "proxies", "x", "y")
	p.refuses(`unknown output format "name"`, "", "proxies", "-o", "name")
	p.refuses("--watch shows changes to people, not as json", "", "proxies", "-w", "-o", "json")
	p.refuses("--watch shows all proxies", "", "proxies", "-w", "x")
	for _, command := range [][]string{{"proxies", "x.default"}, {"config", "svc/x.default"}, {"explain", "x.default", "y:80"}} {
		p.refuses(command[1]+" is of another namespace than -n shop", "", append(command, "-n", "shop")...)
	}
}

// A line names two pending resources; all of them stand in the detail.
func TestPendingIsShort(t *testing.T) {
	t.Parallel()
	of := func(behind int, names ...string) *api.Proxy {
		p := &api.Proxy{Behind: behind}
		for _, name := range names {
			p.Pending = append(p.Pending, api.Pending{Resource: name})
		}
		return p
	}
	for want, p := range map[string]*api.Proxy{
		"-": of(0), "a": of(1, "a"), "a, b": of(2, "a", "b"), "a, b, and 1 more": of(3, "a", "b", "c"), "a, b, and 40 more": of(42, "a", "b", "c"),
	} {
		if got := pending(p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestProxysWordsAreOneLine(t *testing.T) {
	t.Parallel()
	if got := oneLine(" a\n\tb\x1b[31m\x00c " + strings.Repeat("é", 400)); strings.ContainsAny(got, "\n\t\x1b\x00") || len(got) > 520 || !strings.HasPrefix(got, "a b [31m c é") {
		t.Errorf("%q", got)
	}
}
