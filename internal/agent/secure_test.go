package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/bootstrap"
	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// newSecureProxy returns an agent for an Envoy with an identity, which has nothing to do.
func newSecureProxy(t *testing.T, from *plane) *proxy {
	t.Helper()
	p := newProxy(t, http.NotFoundHandler())
	p.config = newSecureConfig(p.config, from)
	p.config.Tokens = func(context.Context) (string, error) { return from.token(web), nil }
	return p
}

// newSecureConfig makes the configuration of an agent one with an identity.
func newSecureConfig(c Config, from *plane) Config {
	c.Name, c.Bootstrap, c.AdminSocket = "", "", ""
	c.Node, c.Type, c.Address, c.Domain = web.Workload, string(mesh.Sidecar), web.Address.String(), "cluster.local"
	c.ControlPlane = from.address
	return c
}

// From nothing to an Envoy that is connected: key, certificate, Envoy and its stream, on which it shows the certificate. The
// key lies nowhere, and no token either.
func TestSecure(t *testing.T) {
	t.Parallel()
	from := newPlane(t, 0)
	p := newSecureProxy(t, from)
	var log strings.Builder
	p.config.Log = slogTo(&log)
	begin := time.Now()
	stop, done := p.run(t)
	shown := await(t, from.opened, "a stream")
	t.Logf("from the start of the agent to Envoy's first stream: %v", time.Since(begin))
	p.await(t, Ready)
	status, err := ReadStatus(p.config.Dir)
	if err != nil || status.Identity != web.ID.String() || status.Workload != web.Workload || status.Address != web.Address.String() ||
		status.Renewals != 1 || status.LastError != "" || !status.NotAfter.Equal(shown.NotAfter) {
		t.Errorf("%+v, %v", status, err)
	}
	if name := shown.DNSNames; len(name) != 1 || name[0] != web.Workload {
		t.Errorf("Envoy shows a certificate of %v", name)
	}
	err = filepath.WalkDir(p.config.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "PRIVATE KEY") || strings.Contains(string(text), "lateen1.") {
			t.Errorf("there is a secret in %s", path)
		}
		if info, err := entry.Info(); err != nil || info.Mode().Perm()&0o077 != 0 && entry.Name() != accessLogName {
			t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	stop()
	if err := await(t, done, "the agent"); err != nil {
		t.Error(err)
	}
	if text := log.String(); strings.Contains(text, "PRIVATE") || strings.Contains(text, "lateen1.") || !strings.Contains(text, "certificate received") {
		t.Errorf("the log:\n%s", text)
	}
}

// An Envoy that is there before its certificate waits for it, and then goes on. It finds its control plane by name.
func TestEnvoyWaits(t *testing.T) {
	t.Parallel()
	from := newPlane(t, 0)
	p := newSecureProxy(t, from)
	p.config.ControlPlane = strings.Replace(from.address, "127.0.0.1", "localhost", 1)
	var given atomic.Bool
	p.config.Tokens = func(context.Context) (string, error) {
		if given.Load() {
			return from.token(web), nil
		}
		return "", errNoToken
	}
	p.run(t)
	admin := newAdmin(filepath.Join(p.config.Dir, "admin.sock"))
	defer admin.close()
	info := awaitAdmin(t, admin, "/clusters", "xds::")
	if !strings.Contains(info, "sds::") {
		t.Errorf("its clusters are\n%s", info)
	}
	if admin.ready(t.Context()) {
		t.Error("it is ready without a certificate")
	}
	select {
	case <-from.opened:
		t.Fatal("it has a stream without a certificate")
	case e := <-p.events:
		t.Fatalf("event %+v without a certificate", e)
	default:
	}
	given.Store(true)
	await(t, from.opened, "a stream")
	p.await(t, Ready)
}

// awaitAdmin returns the answer of an Envoy's admin interface as soon as there is a text in it.
func awaitAdmin(t *testing.T, a *admin, path, want string) string {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		text, err := a.do(t.Context(), http.MethodGet, path)
		if err == nil && strings.Contains(text, want) {
			return text
		}
		if time.Now().After(end) {
			t.Fatalf("%s of Envoy has no %q: %s %v", path, want, text, err)
		}
	}
}

// Certificates are replaced while Envoy runs: it is not started again, neither its stream nor the connections of its clients
// break, and new ones have the new certificate.
func TestRotation(t *testing.T) {
	t.Parallel()
	from := newPlane(t, 10*time.Second)
	p := newSecureProxy(t, from)
	address := freeAddress(t)
	from.resources = map[xds.Type][]*xds.Resource{xds.ListenerType: {mutualListener(t, address)}}
	p.run(t)
	first := await(t, from.opened, "a stream")
	p.await(t, Ready)
	client := newDirect(t, 0) // another authority: the listener takes whoever has a certificate
	caller := client.credential(web).certificate()
	old := dialMutual(t, address, caller)
	was := old.ConnectionState().PeerCertificates[0]
	if !was.Equal(first) {
		t.Error("Envoy has another certificate for its clients than for its control plane")
	}
	for rotation := range 2 {
		next := awaitRotation(t, address, caller, was)
		use(t, old, fmt.Sprint("the old connection after rotation ", rotation))
		was = next
	}
	select {
	case <-from.ended:
		t.Error("the stream has ended")
	case e := <-p.events:
		t.Errorf("event %+v", e)
	default:
	}
	from.cut()
	if again := await(t, from.opened, "a new stream"); again.Equal(first) {
		t.Error("the new stream has the old certificate")
	}
}

// awaitRotation dials until there is another certificate.
func awaitRotation(t *testing.T, address string, caller tls.Certificate, was *x509.Certificate) *x509.Certificate {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		conn := dialMutual(t, address, caller)
		use(t, conn, "a new connection")
		now := conn.ConnectionState().PeerCertificates[0]
		_ = conn.Close()
		if !now.Equal(was) {
			return now
		}
		if time.Now().After(end) {
			t.Fatal("the certificate is not replaced")
		}
	}
}

// mutualListener is a listener that answers every request over mutual TLS.
func mutualListener(t *testing.T, address string) *xds.Resource {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	var l listenerv3.Listener
	if err := protojson.Unmarshal(fmt.Appendf(nil, `{
	  "name": "mutual",
	  "address": {"socket_address": {"address": %q, "port_value": %s}},
	  "filter_chains": [{"filters": [{"name": "hcm", "typed_config": {
	    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
	    "stat_prefix": "in",
	    "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
	      {"match": {"prefix": "/"}, "direct_response": {"status": 204}}]}]},
	    "http_filters": [{"name": "router", "typed_config": {
	      "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]
	  }}]}]
	}`, host, port), &l); err != nil {
		t.Fatal(err)
	}
	config, err := anypb.New(&tlsv3.DownstreamTlsContext{
		RequireClientCertificate: wrapperspb.Bool(true),
		CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{{Name: envoy.IdentitySecret, SdsConfig: envoy.AgentSecrets()}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.FilterChains[0].TransportSocket = &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: config},
	}
	body, err := proto.Marshal(&l)
	if err != nil {
		t.Fatal(err)
	}
	return &xds.Resource{Type: xds.ListenerType, Name: l.GetName(), Version: "1", Body: body}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// dialMutual connects with a certificate.
func dialMutual(t *testing.T, address string, shown tls.Certificate) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{shown}, //nolint:gosec // this is about what it shows
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// use sends a request on an open connection.
func use(t *testing.T, conn *tls.Conn, what string) {
	t.Helper()
	buffer := make([]byte, 1024)
	_, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: web\r\n\r\n"))
	if err == nil {
		err = conn.SetReadDeadline(time.Now().Add(patience))
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	n, err := conn.Read(buffer)
	if err != nil || !strings.HasPrefix(string(buffer[:n]), "HTTP/1.1 204") {
		t.Fatalf("%s: %q, %v", what, buffer[:n], err)
	}
}

// Envoy gives its stream to nobody but the control plane, not even to a workload with a certificate of the same authority.
func TestImpostor(t *testing.T) {
	t.Parallel()
	d := newDirect(t, 0)
	impostor := d.credential(web).certificate()
	genuine := d.authority.ServerTLS("localhost")
	for name, c := range map[string]struct {
		config *tls.Config
		taken  bool
	}{
		"a workload":        {&tls.Config{Certificates: []tls.Certificate{impostor}, NextProtos: []string{"h2"}, ClientAuth: tls.RequireAnyClientCert}, false},
		"the control plane": {genuine, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			spoken := make(chan error, 10)
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					server := tls.Server(conn, c.config)
					_, err = server.Read(make([]byte, 16)) // what begins HTTP/2
					spoken <- err
					conn.Close()
				}
			}()
			defer l.Close()
			p := newProxy(t, http.NotFoundHandler())
			text, err := bootstrap.Config{
				Node:         mesh.Node{Type: mesh.Sidecar, Address: "127.0.0.2", Name: "web-v1-0", Namespace: "default", Domain: "cluster.local"},
				ControlPlane: l.Addr().String(), TrustDomain: trustDomain, SDSSocket: p.config.SDSSocket(), AdminSocket: p.config.AdminSocket,
			}.JSON()
			if err != nil {
				t.Fatal(err)
			}
			p.bootstrap(t, string(text))
			s := newSecrets()
			stop, err := s.serve(t.Context(), p.config.SDSSocket())
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			mustSend(t, s.set(d.credential(web)))
			p.run(t)
			for range 3 {
				if err := await(t, spoken, "a connection"); (err == nil) != c.taken {
					t.Errorf("Envoy speaks to it: %v, want %v (%v)", err == nil, c.taken, err)
				}
			}
		})
	}
}
