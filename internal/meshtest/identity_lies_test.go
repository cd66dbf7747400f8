package meshtest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/ca/enrol"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// nodeOf is the node id of an instance, as its Envoy says it.
func nodeOf(w *mesh.Workload) mesh.Node {
	return mesh.Node{Type: w.Type, Address: w.Address, Name: w.Name, Namespace: w.Namespace, Domain: meshtest.Domain}
}

// dialPlane connects to where a control plane speaks mutual TLS, with a certificate or, nil, without one.
func dialPlane(t *testing.T, m *meshtest.Mesh, c *tls.Certificate) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+m.Secure, grpc.WithTransportCredentials(credentials.NewTLS(showing(c))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// subscribe opens a stream for resources of a type as a node, on the service for all types.
func subscribe(ctx context.Context, conn *grpc.ClientConn, node string, of xds.Type, names ...string) (discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, error) {
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return nil, err
	}
	return stream, sent(stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{Id: node}, TypeUrl: string(of), ResourceNamesSubscribe: names,
	}))
}

// sent returns the error of sending on a stream, but for that of a stream that the other side has ended already: why it has is
// told by the next that is received.
func sent(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// first returns what comes first on a stream of a node with a certificate: an answer, or why there is none.
func first(t *testing.T, m *meshtest.Mesh, c *tls.Certificate, node string) (*discoveryv3.DeltaDiscoveryResponse, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), meshtest.Patience/2)
	defer cancel()
	stream, err := subscribe(ctx, dialPlane(t, m, c), node, xds.ClusterType)
	if err != nil {
		return nil, err
	}
	return stream.Recv()
}

// enrolled returns the certificate that the mesh gives for a token.
func enrolled(t *testing.T, m *meshtest.Mesh, n api.NewToken) tls.Certificate {
	t.Helper()
	token, err := m.API.NewToken(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	got, err := enrol.Request(t.Context(), enrol.Ask{Address: m.Secure, TrustDomain: meshtest.Domain, Key: key, Token: token.Token})
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Certificate{PrivateKey: key}
	for _, one := range got.Chain {
		c.Certificate = append(c.Certificate, one.Raw)
	}
	return c
}

// Who says on a stream that it is somebody else than it has proven, or something else, is told so and nothing more.
func TestLiesToTheControlPlane(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	victim := m.StartSpec(meshtest.Spec{Service: "victim", Version: "v1", Account: "victim", Ports: []meshtest.SpecPort{
		{Name: "http", Number: meshtest.ServicePort, App: meshtest.Named("victim")},
	}})
	liar := m.Caller("liar", nil)
	own, _ := takenFrom(t, liar)
	lie := func(edit func(*mesh.Node)) string {
		n := nodeOf(liar.Workload)
		edit(&n)
		return n.String()
	}
	truth := lie(func(*mesh.Node) {})
	workload := api.NewToken{Workload: liar.Name, Namespace: liar.Namespace, Account: liar.Account, Address: liar.Address}
	with := func(edit func(*api.NewToken)) *tls.Certificate {
		n := workload
		edit(&n)
		c := enrolled(t, m, n)
		return &c
	}
	for name, c := range map[string]struct {
		cert *tls.Certificate
		node string
		says []string // nil: it is believed
	}{
		"the truth":                   {&own, truth, nil},
		"no address in the certifate": {with(func(n *api.NewToken) { n.Address = "" }), truth, nil},
		"the victim":                  {&own, nodeOf(victim.Workload).String(), []string{string(victim.ID()), string(liar.ID())}},
		"the victim's name":           {&own, lie(func(n *mesh.Node) { n.Name = victim.Name }), []string{string(victim.ID()), string(liar.ID())}},
		"nobody there is":             {&own, lie(func(n *mesh.Node) { n.Name = "nobody" }), []string{"nobody.default", string(liar.ID())}},
		"another namespace":           {&own, lie(func(n *mesh.Node) { n.Namespace = "secret" }), []string{liar.Name + ".secret", string(liar.ID())}},
		"an ingress":                  {&own, lie(func(n *mesh.Node) { n.Type = mesh.Ingress }), []string{string(liar.ID()), "sidecar", "ingress"}},
		"a program":                   {&own, lie(func(n *mesh.Node) { n.Type = mesh.Proxyless }), []string{string(liar.ID()), "sidecar", "proxyless"}},
		"another address":             {&own, lie(func(n *mesh.Node) { n.Address = victim.Address }), []string{liar.Address, victim.Address}},
		"another account": {
			with(func(n *api.NewToken) { n.Account = "victim" }), truth, []string{idOf("victim"), idOf("default")},
		},
		"another address in the certificate": {
			with(func(n *api.NewToken) { n.Address = victim.Address }), truth, []string{liar.Address, victim.Address},
		},
		"another namespace in the certificate": {
			with(func(n *api.NewToken) { n.Namespace = "secret" }), truth, []string{liar.Name + ".secret", string(liar.ID())},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res, err := first(t, m, c.cert, c.node)
			switch {
			case c.says == nil && (err != nil || len(res.GetResources()) == 0):
				t.Errorf("who says the truth gets %v, %v", res, err)
			case c.says != nil && (res != nil || status.Code(err) != codes.PermissionDenied):
				t.Errorf("it gets %v, %v", res, err)
			}
			for _, word := range c.says {
				if !strings.Contains(fmt.Sprint(err), word) {
					t.Errorf("%q does not name %q", err, word)
				}
			}
		})
	}
}

// Without a certificate of a workload of this mesh nobody is answered, by none of the services.
func TestStrangersAtTheControlPlane(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	caller := m.Caller("caller", nil)
	node := nodeOf(caller.Workload).String()
	ours := forgerOf(t, m)
	named := func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = []string{string(caller.ID())}, []net.IP{net.ParseIP(caller.Address)}
	}
	good, foreign, self := ours.leaf("default", named), strangers(t).leaf("default", named), selfSigned(t, "default")
	old := ours.leaf("default", func(c *x509.Certificate) { named(c); c.NotAfter = time.Now().Add(-time.Second) })
	nobody := ours.leaf("default", func(c *x509.Certificate) { c.DNSNames = nil })
	plane := ours.leaf("default", func(c *x509.Certificate) {
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: meshtest.Domain, Path: "/ns/lateen-system/sa/lateen"}}
	})
	for name, c := range map[string]struct {
		cert *tls.Certificate
		want codes.Code
	}{
		"a good one": {&good, codes.OK}, "none": {nil, codes.Unauthenticated}, "foreign": {&foreign, codes.Unavailable},
		"self-signed": {&self, codes.Unavailable}, "expired": {&old, codes.Unavailable}, "no workload's": {&nobody, codes.Unavailable},
		"as the control plane": {&plane, codes.Unavailable},
	} {
		if res, err := first(t, m, c.cert, node); status.Code(err) != c.want || (err == nil) != (res != nil) {
			t.Errorf("%s: %v, %v, want %v", name, res, err, c.want)
		}
	}
	conn := dialPlane(t, m, nil)
	ctx, cancel := context.WithTimeout(t.Context(), meshtest.Patience)
	defer cancel()
	for _, service := range []string{
		"discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources", "discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
		"listener.v3.ListenerDiscoveryService/StreamListeners", "listener.v3.ListenerDiscoveryService/DeltaListeners",
		"route.v3.RouteDiscoveryService/StreamRoutes", "route.v3.RouteDiscoveryService/DeltaRoutes",
		"route.v3.VirtualHostDiscoveryService/DeltaVirtualHosts",
		"cluster.v3.ClusterDiscoveryService/StreamClusters", "cluster.v3.ClusterDiscoveryService/DeltaClusters",
		"endpoint.v3.EndpointDiscoveryService/StreamEndpoints", "endpoint.v3.EndpointDiscoveryService/DeltaEndpoints",
		"secret.v3.SecretDiscoveryService/StreamSecrets", "secret.v3.SecretDiscoveryService/DeltaSecrets",
		"extension.v3.ExtensionConfigDiscoveryService/StreamExtensionConfigs", "extension.v3.ExtensionConfigDiscoveryService/DeltaExtensionConfigs",
	} {
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/envoy.service."+service)
		if err != nil {
			t.Fatal(err)
		}
		var request any = &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: node}}
		if strings.Contains(service, "/Stream") {
			request = &discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: node}}
		}
		if err := sent(stream.SendMsg(request)); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&discoveryv3.DeltaDiscoveryResponse{}); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v, want %v", service, err, codes.Unauthenticated)
		}
	}
}
