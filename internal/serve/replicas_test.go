package serve_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/peers"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/testkit"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// fleet is several replicas of a control plane with one root, and proxies that connect to any of them.
type fleet struct {
	t        *testing.T
	root     *disk.Folder
	replicas []*replica
	fakes    []*meshtest.FakeProxy
	leaving  []func() // by proxy; nil: it is not connected

	mu      sync.Mutex
	members map[string]string // name to address, of those whose Lease holds
}

// replica is one of them.
type replica struct {
	fleet *fleet
	name  string
	dir   string
	api   *api.Client
	log   testkit.Output
	stop  func()
}

// Replicas implements [peers.Members].
func (r *replica) Replicas() ([]peers.Replica, bool) {
	r.fleet.mu.Lock()
	defer r.fleet.mu.Unlock()
	var list []peers.Replica
	for name, address := range r.fleet.members {
		if name != r.name {
			list = append(list, peers.Replica{Name: name, Address: address})
		}
	}
	slices.SortFunc(list, func(a, b peers.Replica) int { return strings.Compare(a.Name, b.Name) })
	return list, true
}

// member says where a replica is found; "": its Lease has expired.
func (f *fleet) member(name, address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.members[name] = address; address == "" {
		delete(f.members, name)
	}
}

func newFleet(t *testing.T, replicas, proxies int) *fleet {
	t.Helper()
	root, err := disk.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{t: t, root: root, members: map[string]string{}, leaving: make([]func(), proxies)}
	for i := range proxies {
		f.fakes = append(f.fakes, meshtest.NewFakeProxy(mesh.Node{
			Type: mesh.Sidecar, Address: "127.0.0.1", Name: fmt.Sprintf("caller-%d", i), Namespace: "default", Domain: serve.Domain,
		}, "reviews:9080"))
	}
	t.Cleanup(func() {
		for i := range f.leaving {
			f.leave(i)
		}
		for _, r := range f.replicas {
			r.stop()
			_ = os.RemoveAll(r.dir)
		}
		_ = root.Close()
	})
	for i := range replicas {
		f.start(fmt.Sprint("r", i))
	}
	return f
}

// start starts one more replica.
func (f *fleet) start(name string) *replica {
	f.t.Helper()
	dir, err := os.MkdirTemp("", "plane")
	if err != nil {
		f.t.Fatal(err)
	}
	r := &replica{fleet: f, name: name, dir: dir, api: api.NewClient(filepath.Join(dir, api.SocketName))}
	secure, err := new(net.ListenConfig).Listen(f.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	p, err := serve.New(serve.Config{
		StateDir: dir, PlainXDS: meshtest.PlainXDS(f.t, dir), Secure: secure, Pause: -1, Log: slog.New(slog.NewTextHandler(&r.log, nil)),
		Shared: serve.Shared{Replica: name, Members: r, Root: ca.NewFiles(f.root)},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := p.Run(ctx); err != nil {
			f.t.Error(err)
		}
	})
	r.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	f.replicas = append(f.replicas, r)
	f.member(name, secure.Addr().String())
	meshtest.Await(f.t, "the control plane", func() bool { _, err := r.api.Status(f.t.Context()); return err == nil })
	return r
}

// join connects a proxy to a replica.
func (f *fleet) join(i int, r *replica) {
	f.t.Helper()
	conn, err := grpc.NewClient("unix:"+serve.XDSSocket(r.dir), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		_ = f.fakes[i].Run(ctx, conn) // it fails when the replica is killed
	})
	f.leaving[i] = func() {
		cancel()
		running.Wait()
		_ = conn.Close()
	}
	meshtest.Await(f.t, "proxy that is connected", func() bool { return r.connected(f.t, i) != nil })
}

func (f *fleet) leave(i int) {
	if f.leaving[i] != nil {
		f.leaving[i]()
		f.leaving[i] = nil
	}
}

// connected returns what a replica tells of a proxy; nil: it is not connected to any.
func (r *replica) connected(t *testing.T, i int) *api.Proxy {
	t.Helper()
	list, err := r.api.Proxies(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if p.ID == mesh.ProxyID(fmt.Sprintf("caller-%d.default", i)) && p.Connected && p.Revision >= 0 {
			return &p
		}
	}
	return nil
}

// want says to all replicas, or to some, which policy is wanted of reviews, and returns the revisions.
func (f *fleet) want(policy mesh.AuthPolicy, replicas ...*replica) (revisions []int64) {
	f.t.Helper()
	if len(replicas) == 0 {
		replicas = f.replicas
	}
	settings := mesh.DefaultSettings
	settings.AuthPolicy = policy
	reg := mesh.Registry{
		Services: []*mesh.Service{meshtest.NewService("reviews", "http", 9080)}, Endpoints: []*mesh.EndpointSet{endpoint("127.201.0.1")}, Settings: &settings,
	}
	for _, p := range f.fakes {
		reg.Workloads = append(reg.Workloads, &mesh.Workload{
			Name: p.Node.Name, Namespace: p.Node.Namespace, Type: p.Node.Type, Account: "default", Address: p.Node.Address, Outbound: 15001, Running: true,
		})
	}
	for _, r := range replicas {
		revision, err := r.api.PutRegistry(f.t.Context(), reg)
		if err != nil {
			f.t.Fatal(err)
		}
		revisions = append(revisions, revision)
	}
	return revisions
}

// handover returns what a replica tells of the one port that is on its way; "": none is.
func (r *replica) handover(t *testing.T) string {
	t.Helper()
	list, err := r.api.Handovers(t.Context())
	if err != nil || len(list) > 1 {
		t.Fatal(list, err)
	}
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("%s/%s %s", list[0].Accept, list[0].Speak, list[0].Step)
}

// What one replica reports is about the whole mesh: all proxies, each with the replica that it is connected to, which answers what
// is asked of it. A proxy that is connected elsewhere is missed by nobody.
func TestReplicasReportTheWholeMesh(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, 3)
	revisions := f.want(mesh.AuthPermissive)
	f.join(0, f.replicas[0])
	f.join(1, f.replicas[1])
	for i, r := range f.replicas {
		meshtest.Await(t, "list of all proxies", func() bool {
			list, err := r.api.Proxies(t.Context())
			if err != nil || len(list) != 3 {
				t.Fatalf("%v, %v", list, err)
			}
			return list[0].Connected && list[0].Replica == "r0" && list[1].Connected && list[1].Replica == "r1" && !list[2].Connected
		})
		meshtest.Await(t, "detail of a proxy of the other", func() bool {
			detail, err := r.api.Proxy(t.Context(), "caller-1")
			return err == nil && detail.Connected && len(detail.Names["cluster"]) > 0
		})
		resources, err := r.api.Resources(t.Context(), "caller-1.default", "")
		if err != nil || len(resources.Resources) == 0 {
			t.Errorf("at %s: %d resources, %v", r.name, len(resources.Resources), err)
		}
		meshtest.Await(t, "one that is away, and not those of the other", func() bool {
			p, err := r.api.Progress(t.Context(), revisions[i], 0)
			return err == nil && slices.Equal(p.Away, []string{"caller-2.default"})
		})
		list, err := r.api.Replicas(t.Context())
		if err != nil || len(list) != 2 || list[0].Proxies != 1 || list[1].Proxies != 1 || list[i].Self == list[1-i].Self || list[0].Problem+list[1].Problem != "" {
			t.Errorf("at %s: %+v, %v", r.name, list, err)
		}
	}
}

// A change of policy is in force when the proxies of all replicas have confirmed each step. A replica that cannot be asked, and
// whose Lease holds, stops it and is named; when it is killed and forgotten, and its proxies are back at another one, it goes on.
func TestReplicasHandOver(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3, 3)
	f.want(mesh.AuthNone)
	for i, r := range f.replicas {
		f.join(i, r)
	}
	revisions := f.want(mesh.AuthMutualTLS)
	for i, r := range f.replicas {
		if p, err := r.api.Progress(t.Context(), revisions[i], meshtest.Patience); err != nil || !p.Done() {
			t.Fatalf("at %s: %+v, %v", r.name, p, err)
		}
	}
	a, b, c := f.replicas[0], f.replicas[1], f.replicas[2]
	f.member("r2", "127.0.0.1:1")
	revisions = f.want(mesh.AuthNone)
	for _, r := range []*replica{a, b} {
		meshtest.Await(t, "step that waits", func() bool {
			told := r.handover(t)
			return strings.HasPrefix(told, "both/mtls servers take both; ") && strings.Contains(told, "replica r2 cannot be asked") && strings.Count(told, "caller-2.default away") == 1
		})
		meshtest.Await(t, "one that is named", func() bool {
			list, err := r.api.Replicas(t.Context())
			return err == nil && len(list) == 3 && list[2].Name == "r2" && list[2].Problem != ""
		})
		if n := strings.Count(r.log.String(), "cannot be asked: what is reported here"); n != 1 || !strings.Contains(r.log.String(), "replica=r2") {
			t.Errorf("it is told %d times:\n%s", n, &r.log)
		}
	}
	f.leave(2)
	c.stop()
	f.replicas = f.replicas[:2]
	f.member("r2", "")
	meshtest.Await(t, "its proxy that is missed", func() bool { return strings.Contains(a.handover(t), "caller-2.default away") })
	f.join(2, b)
	for i, r := range f.replicas {
		if p, err := r.api.Progress(t.Context(), revisions[i], meshtest.Patience); err != nil || !p.Done() {
			t.Fatalf("at %s: %+v, %v", r.name, p, err)
		}
	}
}

// One replica that has heard of a change waits for the other to hear of it. What is wanted may be said to any of them first.
func TestReplicasWaitForTheNews(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, 2)
	f.want(mesh.AuthNone)
	a, b := f.replicas[0], f.replicas[1]
	f.join(0, a)
	f.join(1, b)
	for _, first := range []*replica{a, b} {
		second := a
		if first == a {
			second = b
		}
		policy := map[*replica]mesh.AuthPolicy{a: mesh.AuthMutualTLS, b: mesh.AuthNone}[first]
		revision := f.want(policy, first)[0]
		meshtest.Await(t, "step that waits", func() bool { return strings.Contains(first.handover(t), "replica "+second.name+" has not come as far") })
		f.want(policy, second)
		if p, err := first.api.Progress(t.Context(), revision, meshtest.Patience); err != nil || !p.Done() {
			t.Fatalf("%+v, %v", p, err)
		}
	}
}

// A proxy that comes to another replica is sent nothing that it has: versions are hashes of contents.
func TestAnotherReplicaSendsNothingTwice(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2, 1)
	f.want(mesh.AuthPermissive)
	f.join(0, f.replicas[0])
	p := f.fakes[0]
	if err := p.Await(t.Context(), xds.EndpointsType, "outbound|9080||reviews.default.svc.cluster.local"); err != nil {
		t.Fatal(err)
	}
	held := map[xds.Type][]string{}
	for _, kind := range []xds.Type{xds.ClusterType, xds.EndpointsType, xds.ListenerType, xds.RouteType, xds.VirtualHostType} {
		held[kind] = p.Held(kind)
	}
	f.leave(0)
	p.Got()
	f.join(0, f.replicas[1])
	meshtest.Await(t, "proxy that is in sync", func() bool { c := f.replicas[1].connected(t, 0); return c != nil && c.Current })
	if got := p.Got(); len(got) > 0 {
		t.Errorf("sent again: %+v", got)
	}
	for kind, names := range held {
		if !slices.Equal(names, p.Held(kind)) {
			t.Errorf("%s: it holds %v, and held %v", kind, p.Held(kind), names)
		}
	}
}
