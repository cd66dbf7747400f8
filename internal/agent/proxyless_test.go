package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/xds"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/lateen-mesh/lateen/internal/bootstrap"
)

// newProxyless returns an agent of a program without a proxy.
func newProxyless(t *testing.T, from *plane) *proxy {
	t.Helper()
	p := &proxy{events: make(chan Event, 100)}
	p.config = Config{
		Dir: filepath.Join(t.TempDir(), "proxy"), Proxyless: true, Node: web.Workload, Address: web.Address.String(), Domain: "cluster.local",
		ControlPlane: from.address, Events: p, Log: slog.New(slog.DiscardHandler),
		Tokens: func(context.Context) (string, error) { return from.token(web), nil },
	}
	return p
}

// The gRPC library of a program without a proxy takes what its agent has written, and shows the certificate to the control
// plane, which it verifies. After the agent's restart the key is the same, and no token is needed.
func TestProxyless(t *testing.T) {
	t.Parallel()
	from := newPlane(t, 0)
	p := newProxyless(t, from)
	stop, done := p.run(t)
	p.await(t, Ready)
	config, err := os.ReadFile(filepath.Join(p.config.Dir, "bootstrap.json"))
	if err != nil {
		t.Fatal(err)
	}
	builder, err := xds.NewXDSResolverWithConfigForTesting(config)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///nobody:80", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(builder))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	ctx, cancel := context.WithCancel(t.Context())
	var call sync.WaitGroup
	call.Go(func() { _ = conn.Invoke(ctx, "/a.Service/Call", &emptypb.Empty{}, &emptypb.Empty{}) }) // makes it connect
	defer call.Wait()
	defer cancel()
	if shown := await(t, from.opened, "a stream"); len(shown.DNSNames) != 1 || shown.DNSNames[0] != web.Workload {
		t.Errorf("the library shows a certificate of %v", shown.DNSNames)
	}
	awaitFile(t, filepath.Join(p.config.Dir, statusName))
	for _, name := range []string{bootstrap.CertificateFile, bootstrap.KeyFile, bootstrap.RootsFile, "bootstrap.json", statusName} {
		if stat, err := os.Stat(filepath.Join(p.config.Dir, name)); err != nil || stat.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, stat, err)
		}
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(p.config.Dir, name))
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	key, certificate := read(bootstrap.KeyFile), read(bootstrap.CertificateFile)
	stop()
	if err := await(t, done, "the agent"); err != nil {
		t.Error(err)
	}
	p.config.Tokens = nil
	stop, done = p.run(t)
	p.await(t, Ready)
	if read(bootstrap.KeyFile) != key || read(bootstrap.CertificateFile) != certificate {
		t.Error("after a restart there is another certificate")
	}
	stop()
	if err := await(t, done, "the agent"); err != nil {
		t.Error(err)
	}
	p.config.Clock = func() time.Time { return time.Now().Add(14 * time.Hour) }
	p.run(t)
	p.await(t, Ready)
	awaitStatus(t, p.config.Dir, func(s Status) bool { return s.Renewals == 1 })
	if read(bootstrap.KeyFile) != key || read(bootstrap.CertificateFile) == certificate {
		t.Error("with a new certificate there is another key: who reads just now gets two that do not match")
	}
	if tokens, certificates := from.issued("token"), from.issued("certificate"); tokens != 1 || certificates != 1 {
		t.Errorf("%d certificates by token and %d by certificate", tokens, certificates)
	}
}

// When a certificate expires its files stay as they are.
func TestProxylessExpired(t *testing.T) {
	t.Parallel()
	p := &proxy{events: make(chan Event, 100)}
	a, k := New(Config{Dir: t.TempDir(), Events: p}), &keeper{tell: func(Status) {}}
	a.keepFiles(k)
	want := newDirect(t, 0).credential(web)
	for _, c := range []*credential{want, nil, want} {
		if err := k.use(c); err != nil {
			t.Fatal(err)
		}
		k.used = c
		k.tell(Status{})
	}
	if got, err := k.load(trustDomain); err != nil || got == nil || !got.leaf().Equal(want.leaf()) {
		t.Errorf("there is %v, %v", got, err)
	}
	if len(p.events) != 1 {
		t.Errorf("it is ready %d times", len(p.events))
	}
}

// Without a certificate nothing is there to read, and the agent says that it is not ready.
func TestProxylessWaits(t *testing.T) {
	t.Parallel()
	from := newPlane(t, 0)
	p := newProxyless(t, from)
	dir, err := os.MkdirTemp("", "agent") //nolint:usetesting // TempDir holds the test's name, and paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p.config.Dir, p.config.Health = dir, filepath.Join(dir, "health.sock")
	given := make(chan struct{})
	p.config.Tokens = func(ctx context.Context) (string, error) {
		select {
		case <-given:
			return from.token(web), nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	p.run(t)
	awaitFile(t, p.config.Health)
	if got := healthy(t, p.config.Health, "/healthz/ready"); got != "503 not ready\n" {
		t.Errorf("without a certificate: %s", got)
	}
	if len(p.events) > 0 {
		t.Errorf("event %+v without a certificate", <-p.events)
	}
	close(given)
	p.await(t, Ready)
	if got := healthy(t, p.config.Health, "/healthz/ready"); got != "200 ready\n" {
		t.Errorf("with a certificate: %s", got)
	}
	if text := healthy(t, p.config.Health, "/metrics"); !strings.Contains(text, "lateen_agent_certificate_renewals_total 1\n") {
		t.Errorf("the metrics:\n%s", text)
	}
}

// awaitFile waits until there is a file.
func awaitFile(t *testing.T, path string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("there is no %s", path)
		}
	}
}
