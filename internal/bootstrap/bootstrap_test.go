package bootstrap_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3" // these are read below
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/grpc/xds"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/bootstrap"
	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

func config() bootstrap.Config {
	return bootstrap.Config{
		Node: mesh.Node{
			Type: mesh.Sidecar, Address: "127.1.2.3", Name: "reviews-v1-0", Namespace: "default", Domain: "cluster.local",
		},
		PlainXDS: "unix:/run/xds.sock", AdminSocket: "/run/admin.sock", BindSource: true,
	}
}

// secure is the configuration of an Envoy with an identity.
func secure() bootstrap.Config {
	c := config()
	c.PlainXDS, c.ControlPlane, c.TrustDomain, c.SDSSocket = "", "127.9.8.1:15012", "mesh.example", "/run/sds.sock"
	return c
}

// The file is one of Envoy's messages, within their bounds. Envoy itself takes it, and says of nothing in it that it is
// deprecated or unknown.
func TestEnvoyTakesIt(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*bootstrap.Config){
		"plain, socket":     func(*bootstrap.Config) {},
		"plain, address":    func(c *bootstrap.Config) { c.PlainXDS = "127.0.0.1:15010" },
		"plain, name":       func(c *bootstrap.Config) { c.PlainXDS = "lateen.example:15010" },
		"plain, IPv6":       func(c *bootstrap.Config) { c.PlainXDS = "[::1]:15010" },
		"identity, address": func(c *bootstrap.Config) { *c = secure() },
		"identity, name":    func(c *bootstrap.Config) { *c = secure(); c.ControlPlane = "localhost:15012" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config()
			edit(&c)
			text, err := c.JSON()
			if err != nil {
				t.Fatal(err)
			}
			var b bootstrapv3.Bootstrap
			if err := errors.Join(protojson.Unmarshal(text, &b), b.ValidateAll()); err != nil {
				t.Error(err)
			}
			path := filepath.Join(t.TempDir(), "envoy.json")
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			output, err := exec.CommandContext(t.Context(), meshtest.Envoy(t), "--mode", "validate", "-c", path, "-l", "warning").CombinedOutput()
			if err != nil || !strings.Contains(string(output), "OK") {
				t.Fatalf("envoy --mode validate: %v\n%s", err, output)
			}
			for _, word := range []string{"eprecated", "nknown field"} {
				if strings.Contains(string(output), word) {
					t.Errorf("envoy says:\n%s", output)
				}
			}
		})
	}
}

// An Envoy with an identity takes its secrets from its agent alone, waits for them as long as it takes, and speaks to nobody but
// the control plane of its trust domain, over TLS. One without has nothing of that.
func TestIdentity(t *testing.T) {
	t.Parallel()
	clusters := func(c bootstrap.Config) (map[string]*clusterv3.Cluster, *bootstrapv3.Bootstrap) {
		text, err := c.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var b bootstrapv3.Bootstrap
		if err := protojson.Unmarshal(text, &b); err != nil {
			t.Fatal(err)
		}
		found := map[string]*clusterv3.Cluster{}
		for _, cluster := range b.GetStaticResources().GetClusters() {
			found[cluster.GetName()] = cluster
		}
		return found, &b
	}
	found, b := clusters(secure())
	if len(found) != 2 || found[envoy.SDSCluster] == nil || found["xds"] == nil {
		t.Fatalf("its clusters are %v", found)
	}
	if envoy.SDSCluster > "xds" {
		t.Error("Envoy makes the cluster of its agent after the one that needs it")
	}
	var tls tlsv3.UpstreamTlsContext
	if err := found["xds"].GetTransportSocket().GetTypedConfig().UnmarshalTo(&tls); err != nil {
		t.Fatal(err)
	}
	common := tls.GetCommonTlsContext()
	verify := common.GetCombinedValidationContext()
	names := verify.GetDefaultValidationContext().GetMatchTypedSubjectAltNames()
	if len(names) != 1 || names[0].GetSanType() != tlsv3.SubjectAltNameMatcher_URI ||
		names[0].GetMatcher().GetExact() != "spiffe://mesh.example/ns/lateen-system/sa/lateen" {
		t.Errorf("it speaks to %v", names)
	}
	if v := common.GetTlsParams().GetTlsMinimumProtocolVersion(); v != tlsv3.TlsParameters_TLSv1_2 {
		t.Errorf("it speaks %v", v)
	}
	for name, secret := range map[string]*tlsv3.SdsSecretConfig{
		envoy.IdentitySecret: common.GetTlsCertificateSdsSecretConfigs()[0], envoy.TrustSecret: verify.GetValidationContextSdsSecretConfig(),
	} {
		if secret.GetName() != name || !proto.Equal(secret.GetSdsConfig(), envoy.AgentSecrets()) {
			t.Errorf("secret %s: %v", name, secret)
		}
	}
	if wait := envoy.AgentSecrets().GetInitialFetchTimeout(); wait == nil || wait.AsDuration() != 0 {
		t.Errorf("it waits %v for its certificate", wait)
	}
	dynamic := b.GetDynamicResources()
	for kind, source := range map[string]*corev3.ConfigSource{"listeners": dynamic.GetLdsConfig(), "clusters": dynamic.GetCdsConfig()} {
		if wait := source.GetInitialFetchTimeout(); wait == nil || wait.AsDuration() != 0 {
			t.Errorf("without %s it is ready after %v", kind, wait)
		}
	}
	if agent := endpoint(found[envoy.SDSCluster]); agent.GetPipe().GetPath() != "/run/sds.sock" {
		t.Errorf("its agent is at %v", agent)
	}
	// Lateen may be where the workload's own address does not lead.
	if b.GetClusterManager().GetUpstreamBindConfig().GetSourceAddress().GetAddress() != "127.1.2.3" ||
		found["xds"].GetUpstreamBindConfig().GetSourceAddress().GetAddress() != "0.0.0.0" {
		t.Error("the sources of connections")
	}
	if found, _ = clusters(config()); len(found) != 1 || found["xds"].GetTransportSocket() != nil {
		t.Errorf("without an identity there are %v", found)
	}
}

func endpoint(c *clusterv3.Cluster) *corev3.Address {
	return c.GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress()
}

// Where Lateen cannot be is an error, not an Envoy that never connects.
func TestBadAddress(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*bootstrap.Config){
		"nowhere":              func(c *bootstrap.Config) { c.PlainXDS = "" },
		"no port":              func(c *bootstrap.Config) { c.PlainXDS = "localhost" },
		"no host":              func(c *bootstrap.Config) { c.PlainXDS = ":15010" },
		"port 0":               func(c *bootstrap.Config) { c.PlainXDS = "localhost:0" },
		"port too high":        func(c *bootstrap.Config) { c.PlainXDS = "localhost:65536" },
		"no number":            func(c *bootstrap.Config) { c.PlainXDS = "localhost:xds" },
		"no path":              func(c *bootstrap.Config) { c.PlainXDS = "unix:" },
		"long path":            func(c *bootstrap.Config) { c.PlainXDS = "unix:/" + strings.Repeat("x", 107) },
		"identity, socket":     func(c *bootstrap.Config) { *c = secure(); c.ControlPlane = "unix:/run/xds.sock" },
		"identity, no domain":  func(c *bootstrap.Config) { *c = secure(); c.TrustDomain = "" },
		"identity, bad domain": func(c *bootstrap.Config) { *c = secure(); c.TrustDomain = "a/b" },
		"identity, no agent":   func(c *bootstrap.Config) { *c = secure(); c.SDSSocket = "" },
	} {
		c := config()
		edit(&c)
		if text, err := c.JSON(); err == nil {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}

// The gRPC library gets, with an identity, TLS and nothing weaker to fall back to.
func TestGRPC(t *testing.T) {
	t.Parallel()
	node := config().Node
	node.Type = mesh.Proxyless
	for _, c := range []struct {
		grpc bootstrap.GRPC
		want string
	}{
		{bootstrap.GRPC{Node: node, PlainXDS: "unix:/run/a b.sock"}, `"server_uri": "unix:///run/a%20b.sock"`},
		{bootstrap.GRPC{Node: node, PlainXDS: "127.0.0.1:15010"}, `"type": "insecure"`},
		{bootstrap.GRPC{Node: node, ControlPlane: "localhost:15012", Certificates: "/run/web"}, `"private_key_file": "/run/web/key.pem"`},
		{bootstrap.GRPC{Node: node, ControlPlane: "localhost:15012", Certificates: "/run/web"}, `"server_uri": "localhost:15012"`},
	} {
		text, err := c.grpc.JSON()
		if err != nil || !strings.Contains(string(text), c.want) {
			t.Errorf("%v: %v, %s in\n%s", c.grpc, err, c.want, text)
		}
		if secure := c.grpc.ControlPlane != ""; secure == strings.Contains(string(text), "insecure") || secure != strings.Contains(string(text), `"type": "tls"`) {
			t.Errorf("%v:\n%s", c.grpc, text)
		}
		if _, err := xds.NewXDSResolverWithConfigForTesting(text); err != nil {
			t.Errorf("gRPC: %v", err)
		}
	}
	for _, bad := range []bootstrap.GRPC{{Node: node}, {Node: node, ControlPlane: "unix:/run/xds.sock"}, {Node: node, ControlPlane: "nowhere"}} {
		if text, err := bad.JSON(); err == nil {
			t.Errorf("%v:\n%s", bad, text)
		}
	}
}

// Equal configurations give equal bytes, and the admin socket is for its owner only.
func TestJSON(t *testing.T) {
	t.Parallel()
	one, err := config().JSON()
	if err != nil {
		t.Fatal(err)
	}
	two, _ := config().JSON()
	if string(one) != string(two) {
		t.Error("two bootstraps of one configuration differ")
	}
	for _, want := range []string{
		`"id": "sidecar~127.1.2.3~reviews-v1-0.default~default.svc.cluster.local"`, `"mode": 384`, `"api_type": "DELTA_GRPC"`,
	} {
		if !strings.Contains(strings.ReplaceAll(string(one), "apiType", "api_type"), want) {
			t.Errorf("the bootstrap lacks %s:\n%s", want, one)
		}
	}
	long := config()
	long.AdminSocket = "/" + strings.Repeat("x", 200)
	if _, err := long.JSON(); err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("a socket path of 201 bytes: %v", err)
	}
}
