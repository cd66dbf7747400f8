package meshtest_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3" // messages in the bootstrap
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/bootstrap"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/plan"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/store"
	"github.com/lateen-mesh/lateen/internal/view"
)

// A real Envoy finds nothing wrong with any message of any golden case of the pipeline: all that the case's proxies are
// given, and all that this leads to.
func TestEnvoyValidatesEveryMessage(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join(meshtest.Root(t), "internal", "serve", "testdata", "*.txtar"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden cases: %v", err)
	}
	s := newStatic(t)
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sections := map[string]string{}
		for _, f := range archive.Files {
			sections[f.Name] = string(f.Data)
		}
		before := s.made
		if s.addCase(strings.TrimSuffix(filepath.Base(path), ".txtar"), sections); s.made == before {
			t.Errorf("%s has no message", path)
		}
	}
	s.validate()
}

// static gathers messages as the static part of one bootstrap, under names that tell where they are from.
type static struct {
	t     *testing.T
	chain string // of a certificate that is good
	trust string // path of a file with it
	key   mesh.Secret
	boot  *bootstrapv3.Bootstrap
	seen  map[string]bool // the bytes of messages that are there
	made  int             // messages, also those that were there
	ports uint32
}

func newStatic(t *testing.T) *static {
	t.Helper()
	text, err := bootstrap.Config{
		Node:     mesh.Node{Type: mesh.Sidecar, Address: "127.0.0.1", Name: "valid", Namespace: "default", Domain: serve.Domain},
		PlainXDS: "unix:xds.sock", AdminSocket: "admin.sock",
	}.JSON()
	if err != nil {
		t.Fatal(err)
	}
	s := &static{t: t, boot: &bootstrapv3.Bootstrap{}, seen: map[string]bool{}, ports: 10_000}
	if err := protojson.Unmarshal(text, s.boot); err != nil {
		t.Fatal(err)
	}
	issued := newAuthority(t).issue("shop.example.com")
	key, err := x509.MarshalPKCS8PrivateKey(issued.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	s.chain = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issued.Certificate[0]}))
	s.trust = filepath.Join(t.TempDir(), "trust.pem")
	if err := os.WriteFile(s.trust, []byte(s.chain), 0o600); err != nil {
		t.Fatal(err)
	}
	s.key = mesh.NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	return s
}

// addCase adds every message for the proxies of a case.
func (s *static) addCase(name string, sections map[string]string) {
	s.t.Helper()
	snapshot, registry := s.snapshot(name, sections)
	for _, w := range registry.Workloads {
		if w.Type == mesh.Proxyless {
			continue // what it is told is not for Envoys: see TestGRPCTakesEveryMessage
		}
		ids := view.Own(w)
		if w.Type == mesh.Ingress {
			ids = append(ids, view.ID{Kind: view.KindRoutes, Name: view.DoorRoutes})
			for _, c := range registry.Certificates {
				ids = append(ids, view.ID{Kind: view.KindSecret, Name: c.Namespace + "/" + c.Name})
			}
		} else {
			ids = append(ids, view.InitHost())
			for _, svc := range registry.Services {
				for _, p := range append(svc.Ports, mesh.Port{Number: 1}) {
					ids = append(ids, view.VirtualHostOf(fmt.Sprintf("%s:%d", svc.Host, p.Number)))
				}
			}
		}
		for line := range strings.Lines(sections["in.ask"]) {
			if fields := strings.Fields(line); fields[0] == string(w.ID()) {
				ids = append(ids, view.ID{Kind: view.Kind(fields[2]), Name: strings.Join(fields[3:], " ")})
			}
		}
		for _, id := range ids {
			s.addResource(name, snapshot, w, id)
		}
	}
}

// snapshot returns what is known in a case.
func (s *static) snapshot(name string, sections map[string]string) (*mesh.Snapshot, mesh.Registry) {
	s.t.Helper()
	var registry mesh.Registry
	if err := json.Unmarshal([]byte(sections["in.registry.json"]), &registry); err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	settings := mesh.DefaultSettings
	if registry.Settings != nil {
		settings = *registry.Settings
	}
	settings.CABundle, registry.Settings = s.trust, &settings // an Envoy reads it
	for i := range registry.Certificates {
		c := &registry.Certificates[i]
		c.Chain, c.Key = s.chain, mesh.Sealed{Secret: s.key}
	}
	var snapshot *mesh.Snapshot
	st := store.New(store.Config{
		Kinds: serve.Kinds(), Domain: serve.Domain, Sources: []string{"case", "registry"}, Log: slog.New(slog.DiscardHandler),
		Publish: func(next *mesh.Snapshot, _ []mesh.Key) { snapshot = next },
	})
	ctx, cancel := context.WithCancel(s.t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = st.Run(ctx) })
	objects, problems := config.Parse("case.yaml", []byte(sections["in.objects.yaml"]), meshtest.Namespace)
	if _, err := st.SetObjects(ctx, "case", objects, problems); err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	if _, err := st.SetRegistry(ctx, "registry", registry); err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	cancel()
	running.Wait()
	return snapshot, registry
}

// addResource adds the message for a resource, and those that it needs.
func (s *static) addResource(name string, snapshot *mesh.Snapshot, w *mesh.Workload, id view.ID) {
	s.t.Helper()
	v, _ := view.Cut(snapshot, view.CallerOf(w).Project(id), id)
	if v == nil {
		return // a case may ask for what is not there
	}
	p := plan.Of(v)
	message, err := envoy.Of(p)
	if err != nil {
		s.t.Errorf("%s: %v", name, err)
		return
	}
	text, err := message.Bytes()
	if err != nil {
		s.t.Fatalf("%s: %v", name, err)
	}
	s.made++
	if key := message.TypeURL + string(text); !s.seen[key] {
		s.seen[key] = true
		s.add(fmt.Sprintf("%s/%s/%s", name, w.Name, id), message.Proto)
	}
	for _, subset := range p.Needs() {
		s.addResource(name, snapshot, w, view.ClusterOf(subset))
		s.addResource(name, snapshot, w, view.ID{Kind: view.KindEndpoints, Name: subset.String()})
	}
}

// add puts a message where an Envoy reads it at its start.
func (s *static) add(name string, message proto.Message) {
	s.t.Helper()
	resources := s.boot.StaticResources
	switch m := proto.Clone(message).(type) {
	case *listenerv3.Listener:
		s.addListener(name, m)
	case *clusterv3.Cluster:
		m.Name = name
		resources.Clusters = append(resources.Clusters, m)
	case *endpointv3.ClusterLoadAssignment:
		m.ClusterName = name
		resources.Clusters = append(resources.Clusters, &clusterv3.Cluster{
			Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
			ConnectTimeout: durationpb.New(meshtest.Patience), LoadAssignment: m,
		})
	case *routev3.RouteConfiguration:
		s.addRoutes(name, m)
	case *routev3.VirtualHost:
		s.addRoutes(name, &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{m}, ValidateClusters: wrapperspb.Bool(false)})
	case *tlsv3.Secret:
		m.Name = name
		resources.Secrets = append(resources.Secrets, m)
	case *corev3.TypedExtensionConfig:
		s.addListener(name, &listenerv3.Listener{FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: m.GetName(), ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: m.GetTypedConfig()},
		}}}}})
	case *routev3.ScopedRouteConfiguration: // the static part has no place for it: Envoys take it in TestCaptured
		if err := m.ValidateAll(); err != nil {
			s.t.Errorf("%s: %v", name, err)
		}
	default:
		s.t.Errorf("%s: nothing is known of %T", name, m)
	}
}

// addListener adds a listener on an address of its own.
func (s *static) addListener(name string, l *listenerv3.Listener) {
	l.Name = name
	if l.GetInternalListener() == nil {
		s.ports++
		l.Address = &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: s.ports},
		}}}
		for _, further := range l.AdditionalAddresses { // two of them may have the same, which belong to different pods
			further.Address.GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: s.ports}
		}
	}
	s.boot.StaticResources.Listeners = append(s.boot.StaticResources.Listeners, l)
}

// addRoutes adds routes behind a listener that has the filters of those that ask for routes.
func (s *static) addRoutes(name string, routes *routev3.RouteConfiguration) {
	s.t.Helper()
	message, err := envoy.Of(plan.OutboundListener{Name: "outbound", Address: "127.0.0.1", Port: 1, Routes: "out", WaitTimeout: 1, NoLog: true})
	if err != nil {
		s.t.Fatal(err)
	}
	l := message.Proto.(*listenerv3.Listener)
	filters := l.GetFilterChains()[0].GetFilters()
	last := filters[len(filters)-1]
	hcm := &hcmv3.HttpConnectionManager{}
	if err := last.GetTypedConfig().UnmarshalTo(hcm); err != nil {
		s.t.Fatal(err)
	}
	hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes}
	config, err := anypb.New(hcm)
	if err != nil {
		s.t.Fatal(err)
	}
	last.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: config}
	s.addListener(name, l)
}

// validate lets an Envoy read it all.
func (s *static) validate() {
	s.t.Helper()
	text, err := protojson.Marshal(s.boot)
	if err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(s.t.TempDir(), "envoy.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*meshtest.Patience)
	defer cancel()
	validate := exec.CommandContext(ctx, meshtest.Envoy(s.t), "--mode", "validate", "-c", path, "-l", "error")
	validate.Dir = filepath.Dir(path) // it opens the access log there
	if said, err := validate.CombinedOutput(); err != nil {
		s.t.Errorf("envoy refuses the messages: %v\n%s", err, said)
	}
}
