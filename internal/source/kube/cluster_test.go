package kube_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/transport"

	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/dialect/ingress"
	"github.com/lateen-mesh/lateen/internal/dialect/v1alpha2"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/source/kube"
	"github.com/lateen-mesh/lateen/internal/store"
)

const domain = "cluster.local"

// rig is a source at work, with a store that takes what it says.
type rig struct {
	*store.Store
	t      *testing.T
	fake   *meshtest.FakeMesh // whose proxies are told what the store publishes
	source *kube.Source
	stop   func()

	mu   sync.Mutex
	keys []mesh.Key // published since it was last asked
	log  bytes.Buffer
}

// Write takes the log.
func (r *rig) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(line)
}

func (r *rig) logged() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// published returns the keys of what was published since it was last asked.
func (r *rig) published() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.SortFunc(r.keys, mesh.Key.Compare)
	var all []string
	for _, k := range slices.Compact(r.keys) {
		if !k.Follows() {
			all = append(all, k.String())
		}
	}
	r.keys = nil
	return strings.Join(all, ", ")
}

type options struct {
	kubeconfig string
	namespaces []string
	cache      *cache.Cache
	patience   time.Duration
	through    transport.WrapperFunc // what its requests go through; nil: nothing
}

// watch runs a source until the test ends or it is stopped.
func watch(t *testing.T, o options) *rig {
	t.Helper()
	cluster, err := kubeclient.Load(kubeclient.Options{Kubeconfig: o.kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	if o.through != nil {
		cluster.Config.Wrap(o.through)
	}
	r := &rig{t: t, fake: meshtest.NewFakeMesh(t, push.Config{})}
	log := slog.New(slog.NewTextHandler(r, nil))
	kinds := append(v1alpha2.Kinds(domain), ingress.Kinds(domain)...)
	r.Store = store.New(store.Config{
		Kinds: kinds, Domain: domain, Sources: []string{kube.RegistryName, kube.ObjectsName}, Last: o.cache, Patience: o.patience, Log: log,
		Publish: func(s *mesh.Snapshot, keys []mesh.Key) {
			r.fake.Engine.Apply(s, keys)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.keys = append(r.keys, keys...)
		},
	})
	r.source, err = kube.New(kube.Config{
		Client: cluster.Config, Namespaces: o.namespaces, Realm: mesh.Realm{Domain: domain, TrustDomain: domain}, Kinds: kinds, Sink: r.Store,
		Cache: o.cache, Patience: o.patience, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("the store ended with %v", err)
		}
	})
	running.Go(func() {
		if err := r.source.Run(ctx); err != nil {
			t.Errorf("the source ended with %v", err)
		}
	})
	r.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(r.stop)
	return r
}

// await waits until something is so.
func (r *rig) await(what string, is func() bool) {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	tooLate := time.After(time.Minute)
	for !is() {
		select {
		case <-tick.C:
		case <-tooLate:
			r.t.Fatalf("never: %s; problems:\n%s\nlog:\n%s", what, r.problems(), r.logged())
		}
	}
}

func (r *rig) ready() bool { return len(r.Missing()) == 0 }

func (r *rig) problems() string {
	var all []string
	for _, p := range r.Problems() {
		all = append(all, p.String())
	}
	return strings.Join(all, "\n")
}

// codes returns the codes of the problems, each once.
func (r *rig) codes() string {
	var all []string
	for _, p := range r.Problems() {
		all = append(all, p.Code)
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}

// endpoints returns the endpoints of a service as "address=health".
func (r *rig) endpoints(service, namespace string) string {
	set := r.Snapshot().Endpoints(mesh.ServiceHost(service, namespace, domain))
	if set == nil {
		return "no service"
	}
	var all []string
	for _, e := range set.Endpoints {
		all = append(all, e.Address+"="+string(e.Health))
	}
	return strings.Join(all, " ")
}

// rules returns the names of the rules of a service.
func (r *rig) rules(service, namespace string) string {
	set := r.Snapshot().Rules(mesh.ServiceHost(service, namespace, domain))
	if set == nil {
		return ""
	}
	var all []string
	for _, rule := range set.Rules {
		all = append(all, rule.Object.Name)
	}
	return strings.Join(all, " ")
}

// crd is a definition that keeps whatever an object says.
func crd(kind, plural string) string {
	return fmt.Sprintf(`{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: %[2]s.config.istio.io},
  spec: {group: config.istio.io, scope: Namespaced, names: {kind: %[1]s, plural: %[2]s, singular: %[3]s},
    versions: [{name: v1alpha2, served: true, storage: true,
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}}
---
`, kind, plural, strings.ToLower(kind))
}

func allCRDs() string {
	return crd("RouteRule", "routerules") + crd("DestinationPolicy", "destinationpolicies") + crd("EgressRule", "egressrules")
}

// install installs the kinds, and returns when objects of them can be made.
func install(t *testing.T, s *kubetest.Server) {
	t.Helper()
	s.Define(t, allCRDs())
}

func rule(name, service string) string {
	return fmt.Sprintf("apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: %s}\nspec: {destination: {name: %s}, route: [{labels: {version: v1}}]}\n---\n",
		name, service)
}

// app is a service with one pod, whose status nobody but the test writes.
func app(name, clusterIP string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {clusterIP: %[2]s, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: %[1]s-0, labels: {app: %[1]s, version: v1}}
spec: {serviceAccountName: default, initContainers: [{name: lateen-proxy, image: a:1, restartPolicy: Always}], containers: [{name: app, image: a:1}]}
---
`, name, clusterIP)
}

// up has the service of an app take its pod for an endpoint, and then gives the pod its address.
func up(t *testing.T, s *kubetest.Server, namespace, name, address string, ready bool) {
	t.Helper()
	uid := s.Kubectl(t, "", "get", "pod", name+"-0", "-n", namespace, "-o", "jsonpath={.metadata.uid}")
	s.Kubectl(t, slice(name, address, uid, ready), "apply", "-n", namespace, "-f", "-")
	s.Kubectl(t, "", "patch", "pod", name+"-0", "-n", namespace, "--subresource=status", "--type=merge", "-p",
		fmt.Sprintf(`{"status":{"podIP":%[1]q,"podIPs":[{"ip":%[1]q}]}}`, address))
}

func slice(name, address, uid string, ready bool) string {
	return fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-1, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [%[2]s], conditions: {ready: %[4]v}, targetRef: {kind: Pod, name: %[1]s-0, uid: %[3]s}}]
`, name, address, uid, ready)
}

// TestCluster follows a namespace of a real API server: what one change of the cluster changes in the mesh, and nothing else.
func TestCluster(t *testing.T) {
	t.Parallel()
	s := kubetest.Start(t)
	install(t, s)
	ns, other := s.Namespace(t), s.Namespace(t)
	s.Kubectl(t, app("web", "10.96.1.1")+app("db", "10.96.1.2")+rule("first", "web"), "create", "-n", ns, "-f", "-")
	up(t, s, ns, "web", "10.244.1.1", true)
	r := watch(t, options{kubeconfig: s.Kubeconfig, namespaces: []string{ns}})
	r.await("everything is known", r.ready)
	if got := r.endpoints("web", ns); got != "10.244.1.1=healthy" {
		t.Errorf("endpoints of web: %s", got)
	}
	if got := r.rules("web", ns); got != "first" {
		t.Errorf("rules of web: %s", got)
	}
	w := r.Snapshot().Workload(mesh.NewProxyID("web-0", ns))
	if w == nil || w.Address != "10.244.1.1" || len(w.Serves) != 1 || !w.Capture {
		t.Errorf("workload: %+v", w)
	}
	if got := r.Snapshot().Settings().ServiceRanges; len(got) > 0 {
		t.Errorf("services of namespaces that are not read are taken for none, in %v", got)
	}
	if got := r.Snapshot().ServiceAddresses(); got == nil || !slices.Equal(got.Networks, []string{"10.96.1.1/32", "10.96.1.2/32"}) {
		t.Errorf("services are at %+v", got)
	}
	web, workload := fmt.Sprintf("web.%s.svc.%s", ns, domain), "web-0."+ns
	r.published()
	for _, step := range []struct {
		what, want string
		do         func()
		is         func() bool
	}{
		{
			"an endpoint is not ready", "endpoints " + web, func() { up(t, s, ns, "web", "10.244.1.1", false) },
			func() bool { return r.endpoints("web", ns) == "" },
		},
		{
			"a rule comes", "rules " + web, func() { s.Kubectl(t, rule("second", "web"), "create", "-n", ns, "-f", "-") },
			func() bool { return r.rules("web", ns) == "first second" },
		},
		{
			"a rule goes", "rules " + web, func() { s.Kubectl(t, "", "delete", "routerule", "first", "-n", ns) },
			func() bool { return r.rules("web", ns) == "second" },
		},
	} {
		step.do()
		r.await(step.what, step.is)
		if got := r.published(); got != step.want {
			t.Errorf("%s: published %s, want %s", step.what, got, step.want)
		}
	}
	s.Kubectl(t, "", "delete", "pod", "web-0", "-n", ns, "--force", "--grace-period=0")
	r.await("a pod goes", func() bool { return r.Snapshot().Workload(mesh.ProxyID(workload)) == nil })
	if got, want := r.published(), "service "+web+", workload "+workload; got != want { // whose account nobody answers with any more
		t.Errorf("a pod goes: published %s, want %s", got, want)
	}
	// What says the same as before, what is of another namespace and what nobody asks for is published by nobody.
	s.Kubectl(t, "", "annotate", "service", "web", "-n", ns, "somebody=else")
	s.Kubectl(t, "", "annotate", "routerule", "second", "-n", ns, "kubectl.kubernetes.io/last-applied-configuration={}")
	s.Kubectl(t, app("web", "10.96.1.3")+rule("elsewhere", "web"), "create", "-n", other, "-f", "-")
	s.Kubectl(t, rule("last", "db"), "create", "-n", ns, "-f", "-")
	r.await("the last rule", func() bool { return r.rules("db", ns) == "last" })
	if got, want := r.published(), fmt.Sprintf("rules db.%s.svc.%s", ns, domain); got != want {
		t.Errorf("published %s, want %s", got, want)
	}
	names := []string{}
	for _, o := range r.source.Objects() {
		names = append(names, o.Name+"@"+o.Origin.File)
		if o.ResourceVersion != s.Kubectl(t, "", "get", "routerule", o.Name, "-n", ns, "-o", "jsonpath={.metadata.resourceVersion}") {
			t.Errorf("%s has the resourceVersion %s", o.Name, o.ResourceVersion)
		}
	}
	if got := strings.Join(names, " "); got != "last@kubernetes second@kubernetes" {
		t.Errorf("objects: %s", got)
	}
}

// A bad object is a problem of its own; others come into force.
func TestBadObjectStallsNothing(t *testing.T) {
	t.Parallel()
	s := kubetest.Start(t)
	install(t, s)
	ns := s.Namespace(t)
	const bad = "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: bad}\nspec: {destination: [7], rout: []}\nmore: 1\n---\n"
	s.Kubectl(t, app("web", "10.96.2.1")+bad+rule("good", "web"), "create", "-n", ns, "-f", "-")
	r := watch(t, options{kubeconfig: s.Kubeconfig, namespaces: []string{ns}})
	r.await("the good rule", func() bool { return r.rules("web", ns) == "good" })
	for _, want := range []string{
		"error: RouteRule " + ns + "/bad: spec.destination: want a mapping", "error: RouteRule " + ns + "/bad: spec.rout: unknown field", ": more: unknown field",
	} {
		if !strings.Contains(r.problems(), want) {
			t.Errorf("not told: %s\n%s", want, r.problems())
		}
	}
	s.Kubectl(t, "", "patch", "routerule", "bad", "-n", ns, "--type=merge", "-p",
		`{"spec":{"destination":{"name":"web"},"rout":null,"route":[{"labels":{"version":"v1"}}]},"more":null}`)
	r.await("it is mended", func() bool { return r.rules("web", ns) == "bad good" })
	if strings.Contains(r.problems(), "error") {
		t.Errorf("still told: %s", r.problems())
	}
}

// A kind that is not installed is a problem and nothing else, and counts as soon as it is there.
func TestKindIsInstalledLater(t *testing.T) {
	t.Parallel()
	s := kubetest.StartOwn(t)
	ns := s.Namespace(t)
	s.Kubectl(t, app("web", "10.96.3.1"), "create", "-n", ns, "-f", "-")
	r := watch(t, options{kubeconfig: s.Kubeconfig})
	r.await("everything else is known", r.ready)
	r.await("it is told", func() bool { return strings.Count(r.problems(), "does not know the kind") == 3 })
	if got := r.codes(); got != kube.CodeNotInstalled {
		t.Errorf("problems: %s", r.problems())
	}
	if r.endpoints("web", ns) == "no service" {
		t.Error("the service is not known")
	}
	install(t, s)
	s.Kubectl(t, rule("late", "web"), "create", "-n", ns, "-f", "-")
	r.await("the rule", func() bool { return r.rules("web", ns) == "late" })
	r.await("the problem is gone", func() bool { return !strings.Contains(r.codes(), kube.CodeNotInstalled) })
	s.Kubectl(t, "", "delete", "crd", "routerules.config.istio.io")
	r.await("the rule is gone", func() bool { return r.rules("web", ns) == "" })
	r.await("it is told again", func() bool { return strings.Contains(r.problems(), "does not know the kind routerules") })
}

// What cannot be read is a problem, and counts as soon as it may be. Without what says what runs nothing is ready.
func TestKindMayBeReadLater(t *testing.T) {
	t.Parallel()
	s := kubetest.Start(t)
	install(t, s)
	ns := s.Namespace(t)
	s.Kubectl(t, app("web", "10.96.4.1")+rule("a", "web"), "create", "-n", ns, "-f", "-")
	r := watch(t, options{kubeconfig: s.User(t, "reader-"+ns), namespaces: []string{ns}})
	r.await("it is told", func() bool {
		return strings.Contains(r.problems(), "error: the pods of namespace "+ns+" cannot be read")
	})
	if got := r.Missing(); !slices.Equal(got, []string{kube.RegistryName}) {
		t.Errorf("missing: %v", got)
	}
	allow := func(role, resources string) {
		s.Kubectl(t, "", "create", "role", role, "--verb=get,list,watch", "--resource="+resources, "-n", ns)
		s.Kubectl(t, "", "create", "rolebinding", role, "--role="+role, "--user=reader-"+ns, "-n", ns)
	}
	allow("core", "services,pods,endpointslices.discovery.k8s.io")
	r.await("what runs is known", r.ready)
	if got := r.rules("web", ns); got != "" {
		t.Errorf("rules that cannot be read: %s", got)
	}
	for _, want := range []string{"the routerules of namespace " + ns + " cannot be read", "the nodes cannot be read"} {
		if !strings.Contains(r.problems(), want) {
			t.Errorf("not told: %s\n%s", want, r.problems())
		}
	}
	allow("rules", "routerules.config.istio.io")
	r.await("the rule", func() bool { return r.rules("web", ns) == "a" })
	r.await("no problem is left with it", func() bool { return !strings.Contains(r.problems(), "routerules") })
	// Rights that are taken away take nothing with them.
	s.Kubectl(t, "", "delete", "rolebinding", "rules", "core", "-n", ns)
	if got := r.rules("web", ns); got != "a" {
		t.Errorf("rules: %q", got)
	}
}

// The proxy of a pod that is not known yet waits, and is given nothing before; of two pods with one address the newest has it.
func TestProxyWaitsForItsPod(t *testing.T) {
	t.Parallel()
	s := kubetest.Start(t)
	install(t, s)
	ns := s.Namespace(t)
	r := watch(t, options{kubeconfig: s.Kubeconfig, namespaces: []string{ns}})
	r.await("everything is known", r.ready)
	proxy := meshtest.NewFakeProxy(mesh.Node{Type: mesh.Sidecar, Address: "10.244.6.1", Name: "late-0", Namespace: ns, Domain: domain})
	disconnect := r.fake.Connect(proxy)
	r.await("it waits", func() bool { return r.fake.Engine.Size().Waiting == 1 })
	s.Kubectl(t, app("late", "10.96.6.1")+app("heir", "10.96.6.2"), "create", "-n", ns, "-f", "-")
	r.await("the service is known", func() bool { return r.endpoints("heir", ns) == "" })
	if got := proxy.Got(); len(got) > 0 || r.fake.Engine.Size().Waiting != 1 {
		t.Errorf("before its pod has an address it was given %v", got)
	}
	up(t, s, ns, "late", "10.244.6.1", true)
	r.await("it is given what it needs", func() bool { return len(proxy.Got()) > 0 })
	disconnect()

	up(t, s, ns, "heir", "10.244.6.1", true) // made in the same second: the first by name has it
	r.await("both have one address", func() bool { return r.Snapshot().Workload(mesh.NewProxyID("heir-0", ns)) != nil })
	if w := r.Snapshot().Workload(mesh.NewProxyID("late-0", ns)); w != nil {
		t.Errorf("the other one is known, too: %+v", w)
	}
	if got := r.endpoints("late", ns) + "," + r.endpoints("heir", ns); got != ",10.244.6.1=healthy" {
		t.Errorf("endpoints: %s", got)
	}
}
