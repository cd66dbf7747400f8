package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/kubeobjects"
	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/testkit"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// shared is a cluster in which replicas of a control plane keep the status of objects, with the rights that an installation gives them.
type shared struct {
	t          *testing.T
	server     *kubetest.Server
	kubeconfig string // of the control plane
	registry   string // file with what runs

	refuses atomic.Bool // proxies refuse routes that they are sent
}

// sharing is a replica that runs.
type sharing struct {
	*serve.Plane
	name string
	dir  string
	api  *api.Client
	log  *testkit.Output
	stop func()

	secure *valve
}

func newShared(t *testing.T, callers int) *shared {
	t.Helper()
	c := &shared{t: t, server: kubetest.StartOwn(t), registry: filepath.Join(t.TempDir(), "registry.json")}
	text, err := os.ReadFile(filepath.Join(meshtest.Root(t), "deploy", "manifests", "lateen.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c.server.Kubectl(t, string(text), "apply", "--server-side", "-f", "-")
	c.server.AwaitKinds(t)
	c.kubeconfig = c.server.User(t, "system:serviceaccount:lateen-system:lateen", "system:serviceaccounts", "system:serviceaccounts:lateen-system")
	reg := mesh.Registry{Services: []*mesh.Service{meshtest.NewService("reviews", "http", 9080), meshtest.NewService("ratings", "http", 9080)}}
	for i := range callers {
		reg.Workloads = append(reg.Workloads, &mesh.Workload{
			Name: fmt.Sprint("caller-", i), Namespace: "default", Labels: mesh.Labels{"app": fmt.Sprint(i)}, Type: mesh.Sidecar, Account: "default",
			Address: "127.0.0.1", Outbound: 15001, Running: true,
		})
	}
	if text, err = json.Marshal(reg); err == nil {
		err = os.WriteFile(c.registry, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// start starts a replica.
func (c *shared) start(name string) *sharing {
	c.t.Helper()
	dir, err := os.MkdirTemp("", "plane")
	if err != nil {
		c.t.Fatal(err)
	}
	r := &sharing{name: name, dir: dir, api: api.NewClient(filepath.Join(dir, api.SocketName)), log: new(testkit.Output)}
	listener, err := new(net.ListenConfig).Listen(c.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	secure := &valve{Listener: listener}
	r.secure = secure
	cluster, err := kubeclient.Load(kubeclient.Options{Kubeconfig: c.kubeconfig})
	if err != nil {
		c.t.Fatal(err)
	}
	config := serve.Config{
		StateDir: dir, PlainXDS: meshtest.PlainXDS(c.t, dir), Secure: secure, RegistryFile: c.registry, Log: slog.New(slog.NewTextHandler(r.log, nil)),
	}
	flags := serveFlags{known: registryFlags{domain: serve.Domain}, replica: replicaFlags{name: name, address: secure.Addr().String()}}
	if err := flags.inCluster(c.t.Context(), &config, &cluster, func() *serve.Plane { return r.Plane }); err != nil {
		c.t.Fatal(err)
	}
	if r.Plane, err = serve.New(config); err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx); err != nil {
			c.t.Error(err)
		}
	})
	r.stop = sync.OnceFunc(func() { cancel(); running.Wait(); _ = os.RemoveAll(dir) })
	c.t.Cleanup(r.stop)
	meshtest.Await(c.t, "the control plane", func() bool { _, err := r.api.Status(c.t.Context()); return err == nil })
	return r
}

// call connects a proxy that calls hosts to a replica, and returns when it has what it needs for them.
func (c *shared) call(i int, r *sharing, hosts ...string) {
	c.t.Helper()
	fake := meshtest.NewFakeProxy(mesh.Node{
		Type: mesh.Sidecar, Address: "127.0.0.1", Name: fmt.Sprint("caller-", i), Namespace: "default", Domain: serve.Domain,
	}, hosts...)
	fake.Refuse = func(typ xds.Type, _ string) string {
		if i == 2 && typ == xds.VirtualHostType && c.refuses.Load() {
			return "I do not like it"
		}
		return ""
	}
	conn, err := grpc.NewClient("unix:"+serve.XDSSocket(r.dir), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	var running sync.WaitGroup
	running.Go(func() { _ = fake.Run(ctx, conn) }) // it fails when the replica is gone
	c.t.Cleanup(func() {
		cancel()
		running.Wait()
		_ = conn.Close()
	})
	for _, h := range hosts {
		if err := fake.Await(c.t.Context(), xds.VirtualHostType, "out/"+h); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *shared) apply(text string) {
	c.t.Helper()
	c.server.Kubectl(c.t, text, "apply", "-n", "default", "-f", "-")
}

// get returns a part of an object.
func (c *shared) get(object, path string) string {
	c.t.Helper()
	return c.server.Kubectl(c.t, "", "get", "-n", "default", object, "-o", "jsonpath="+path)
}

// summary is what people look for first in a status.
const summary = `{.status.observedGeneration} {range .status.conditions[*]}{.type}={.status}/{.reason} {end}{.status.programmed}`

// await waits until an object has a status.
func (c *shared) await(object, want string) {
	c.t.Helper()
	got := ""
	defer func() {
		if got != want {
			c.t.Logf("%s: %q, want %q", object, got, want)
		}
	}()
	meshtest.Await(c.t, fmt.Sprintf("%s: %s", object, want), func() bool { got = c.get(object, summary); return got == want })
}

// events lists what is told of an object.
func (c *shared) events(name string) string {
	c.t.Helper()
	return c.server.Kubectl(c.t, "", "get", "events", "-n", "default", "--field-selector", "involvedObject.name="+name, "-o", `jsonpath={range .items[*]}{.type} {.reason}{"\n"}{end}`)
}

func ruleFor(name, more string) string {
	return "{apiVersion: config.istio.io/v1alpha2, kind: RouteRule, metadata: {name: " + name + "}, spec: {destination: {name: reviews}" + more + "}}\n---\n"
}

// The leader says of every object whether it is applied, what is wrong, and how many of the proxies of all replicas have it; what
// people have to know is an Event too, once. Nothing of that is a change of an object. Another leader goes on with it.
func TestStatus(t *testing.T) {
	t.Parallel()
	c := newShared(t, 4)
	a, b := c.start("a"), c.start("b")
	for _, r := range []*sharing{a, b} {
		meshtest.Await(t, "both replicas know each other", func() bool { return strings.Contains(r.log.String(), "another replica of the control plane is there") })
	}
	c.call(0, a, "reviews:9080")
	c.call(1, a, "reviews:9080", "ratings:9080")
	c.call(2, b, "reviews:9080")
	c.call(3, b, "ratings:9080")
	c.apply(ruleFor("good", "") + ruleFor("bad", ", precedence: high") + ruleFor("doubtful", ", precedence: 2, match: {source: {name: nobody}}"))
	c.await("rr/good", "1 Accepted=True/Accepted Programmed=True/Confirmed 3 of 3")
	c.await("rr/bad", "1 Accepted=False/WrongType Programmed=False/NotAccepted ")
	c.await("rr/doubtful", "1 Accepted=True/Accepted Programmed=True/NobodyConcerned 0 of 0")
	for path, want := range map[string]string{
		`rr/bad {.status.conditions[0].message}`:                                   "spec.precedence: want a whole number, got the text \"high\" (line 9)",
		`rr/bad {range .status.problems[*]}{.severity} {.code} {.field}{end}`:      "error wrong-type spec.precedence",
		`rr/doubtful {range .status.problems[*]}{.severity} {.code} {.field}{end}`: "warning unknown-host spec.match.source",
		`rr/good {.status.problems}`:                                               "",
	} {
		object, part, _ := strings.Cut(path, " ")
		if got := c.get(object, part); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if list := c.server.Kubectl(t, "", "get", "rr", "-n", "default"); !strings.Contains(list, "ACCEPTED   PROGRAMMED   AGE") || !strings.Contains(list, "True       3 of 3") {
		t.Errorf("kubectl get:\n%s", list)
	}
	if got := c.events("bad") + c.events("good"); got != "Warning WrongType\n" {
		t.Errorf("Events of the bad one: %q", got)
	}

	c.apply(ruleFor("bad", ", precedence: 3, match: {request: {headers: {uri: {exact: /x}}}}"))
	c.await("rr/bad", "2 Accepted=True/Accepted Programmed=True/Confirmed 3 of 3")
	if got := c.events("bad"); got != "Warning WrongType\nNormal Accepted\n" {
		t.Errorf("Events of what is mended: %q", got)
	}

	before := [2]int64{c.revision(a), c.revision(b)}
	c.server.Kubectl(t, "", "patch", "rr", "good", "-n", "default", "--subresource=status", "--type=merge", "-p", `{"status": {"programmed": "9 of 9", "conditions": null}}`)
	c.await("rr/good", "1 Accepted=True/Accepted Programmed=True/Confirmed 3 of 3")
	whole := c.server.Kubectl(t, "", "get", "rr", "good", "-n", "default", "-o", "yaml")
	c.server.Kubectl(t, whole, "apply", "-n", "default", "-f", "-") // as whoever edits what he got
	c.server.Kubectl(t, "", "annotate", "rr", "good", "-n", "default", "kubectl.kubernetes.io/last-applied-configuration-")
	c.await("rr/good", "1 Accepted=True/Accepted Programmed=True/Confirmed 3 of 3")
	if after := [2]int64{c.revision(a), c.revision(b)}; after != before {
		t.Errorf("a status makes new snapshots: %v, then %v", before, after)
	}

	whole = c.server.Kubectl(t, "", "get", "rr", "good", "-n", "default", "-o", "yaml")
	c.same(regexp.MustCompile(`(?m)^  resourceVersion: .*\n`).ReplaceAllString(strings.Replace(whole, "3 of 3", "2 of 2", 1), ""))

	c.refuses.Store(true)
	c.apply(ruleFor("good", ", httpReqTimeout: {simpleTimeout: {timeout: 7s}}"))
	c.await("rr/good", "2 Accepted=True/Accepted Programmed=False/RefusedByProxy 2 of 3")
	c.refuses.Store(false)
	c.apply(ruleFor("good", ", httpReqTimeout: {simpleTimeout: {timeout: 8s}}"))
	c.await("rr/good", "3 Accepted=True/Accepted Programmed=True/Confirmed 3 of 3")
	if got := c.events("good"); got != "Warning RefusedByProxy\nNormal Confirmed\n" {
		t.Errorf("Events of what was refused: %q", got)
	}

	c.apply(ruleFor("worse", ", precedence: high"))
	c.await("rr/worse", "1 Accepted=False/WrongType Programmed=False/NotAccepted ")
	was := c.get("rr/worse", "{.metadata.resourceVersion}")
	leader, other := a, b
	if !strings.Contains(a.log.String(), "this replica leads") {
		leader, other = b, a
	}
	leader.stop()
	meshtest.Await(t, "the other replica leads", func() bool { return strings.Contains(other.log.String(), "this replica leads") })
	c.apply(ruleFor("good", ""))
	c.await("rr/good", map[bool]string{
		true: "4 Accepted=True/Accepted Programmed=True/Confirmed 1 of 1", false: "4 Accepted=True/Accepted Programmed=True/Confirmed 2 of 2",
	}[other == b])
	if is := c.get("rr/worse", "{.metadata.resourceVersion}"); is != was || c.events("worse") != "Warning WrongType\n" {
		t.Errorf("the next leader writes again what stands there: version %s, then %s; Events %q", was, is, c.events("worse"))
	}
}

// same wants `lateen diff` to find nothing in an object as somebody has got it, with a status of before.
func (c *shared) same(text string) {
	c.t.Helper()
	cluster, err := kubeclient.Load(kubeclient.Options{Kubeconfig: c.server.Kubeconfig})
	if err != nil {
		c.t.Fatal(err)
	}
	kept, err := kubeobjects.New(cluster, serve.Kinds())
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := kept.Compare(c.t.Context(), api.Compare{Files: []api.File{{Name: "got.yaml", Text: text}}})
	if err != nil || len(out.Differences)+len(out.Problems) > 0 {
		c.t.Errorf("an object as it was got differs: %+v, %v", out, err)
	}
}

// revision returns the number of the snapshot of a replica.
func (c *shared) revision(r *sharing) int64 {
	c.t.Helper()
	s, err := r.api.Status(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return s.Revision
}
