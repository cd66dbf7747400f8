package meshtest

import (
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/xds"

	"github.com/lateen-mesh/lateen/internal/bootstrap"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// Proxyless makes a workload known that has no proxy: its gRPC library asks Lateen itself. See [Instance.Dial].
func (m *Mesh) Proxyless(name string, labels mesh.Labels) *Instance {
	m.t.Helper()
	w := m.workload(name, mesh.Proxyless, labels)
	m.Edit(func(r *mesh.Registry) { r.Workloads = append(r.Workloads, w) })
	return &Instance{Workload: w, mesh: m}
}

// Dial returns what a program without a proxy gets when it dials "xds:///TARGET".
func (i *Instance) Dial(target string) *grpc.ClientConn {
	i.mesh.t.Helper()
	config, err := bootstrap.GRPC{
		Node:     mesh.Node{Type: i.Type, Address: i.Address, Name: i.Name, Namespace: i.Namespace, Domain: Domain},
		PlainXDS: "unix:" + serve.XDSSocket(i.mesh.Dir),
	}.JSON()
	if err != nil {
		i.mesh.t.Fatal(err)
	}
	builder, err := xds.NewXDSResolverWithConfigForTesting(config)
	if err != nil {
		i.mesh.t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///"+target,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(builder))
	if err != nil {
		i.mesh.t.Fatal(err)
	}
	i.mesh.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Refused returns what proxies refuse now, in their own words.
func (m *Mesh) Refused() []string {
	m.t.Helper()
	var refused []string
	for _, p := range m.plane.Engine().Connected() {
		for _, r := range p.Refusals {
			refused = append(refused, string(p.ID)+": "+r.Resource.String()+": "+r.Reason)
		}
	}
	slices.Sort(refused)
	return refused
}

// Connected waits until an instance is connected and has confirmed everything.
func (m *Mesh) Connected(i *Instance) {
	m.t.Helper()
	Await(m.t, string(i.ID()), func() bool {
		return slices.ContainsFunc(m.plane.Engine().Connected(), func(c push.Connected) bool { return c.ID == i.ID() && c.Settled >= 0 })
	})
}
