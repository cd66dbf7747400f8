package meshtest_test

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// greeterService is a gRPC service: a health check that says in a header which version answers. Of its first calls it
// refuses as many as it is told, and it holds the calls for the service "slow" until they are cancelled.
type greeterService struct {
	healthv1.UnimplementedHealthServer
	version string
	refuse  atomic.Int64
	calls   atomic.Int64
}

func (g *greeterService) Check(ctx context.Context, r *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	g.calls.Add(1)
	if g.refuse.Add(-1) >= 0 {
		return nil, status.Error(codes.Unavailable, "not yet") // trailers only: else a proxy learns of it too late to retry
	}
	if err := grpc.SetHeader(ctx, metadata.Pairs("x-version", g.version)); err != nil {
		return nil, err
	}
	if r.GetService() == "slow" {
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}, nil
}

func (g *greeterService) Watch(_ *healthv1.HealthCheckRequest, stream grpc.ServerStreamingServer[healthv1.HealthCheckResponse]) error {
	for range 3 {
		if err := stream.Send(&healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}); err != nil {
			return err
		}
	}
	return nil
}

func (g *greeterService) serve(t *testing.T) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	healthv1.RegisterHealthServer(server, g)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return l.Addr().String()
}

// grpcClient is a grpc-go client that tunnels through the instance's proxy, as every one does that finds HTTPS_PROXY.
func grpcClient(t *testing.T, i *meshtest.Instance, target string) healthv1.HealthClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority(target),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			code, tunnel, _ := dialTunnel(ctx, t, i, target)
			if code != http.StatusOK {
				return nil, &url.Error{Op: "CONNECT", URL: target, Err: status.Errorf(codes.Unavailable, "status %d", code)}
			}
			return tunnel, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return healthv1.NewHealthClient(conn)
}

// check calls and returns who answered.
func check(t *testing.T, client healthv1.HealthClient, service string, headers ...string) (version string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), headers...), meshtest.Patience)
	defer cancel()
	var header metadata.MD
	_, err = client.Check(ctx, &healthv1.HealthCheckRequest{Service: service}, grpc.Header(&header))
	if v := header.Get("x-version"); len(v) > 0 {
		version = v[0]
	}
	return version, err
}

// A grpc-go client that tunnels with CONNECT is steered by rules, call by call, with their retries, timeouts and faults.
func TestGRPC(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	services := map[string]*greeterService{}
	for _, version := range []string{"v1", "v2"} {
		services[version] = &greeterService{version: version}
		m.StartSpec(meshtest.Spec{Service: "greeter", Version: version, Ports: []meshtest.SpecPort{
			{Name: "grpc-api", Number: 7070, Target: services[version].serve(t)},
		}})
	}
	caller := m.Start("caller", "v1", meshtest.Named("caller"))
	client := grpcClient(t, caller, "greeter:7070")
	m.Apply(ruleFor("greeter", "everybody", "precedence: 1, route: [{labels: {version: v1}}]"))
	m.Apply(ruleFor("greeter", "jason", "precedence: 2, match: {request: {headers: {x-user: {exact: jason}}}}, route: [{labels: {version: v2}}]"))
	for range 5 {
		if version, err := check(t, client, ""); err != nil || version != "v1" {
			t.Errorf("everybody: %s, %v", version, err)
		}
		if version, err := check(t, client, "", "x-user", "jason"); err != nil || version != "v2" {
			t.Errorf("jason: %s, %v", version, err)
		}
	}

	m.Apply(ruleFor("greeter", "everybody", "precedence: 1, route: [{labels: {version: v1}}], "+
		"httpReqRetries: {simpleRetry: {attempts: 3, perTryTimeout: 5s}}"))
	services["v1"].refuse.Store(2)
	before := services["v1"].calls.Load()
	if version, err := check(t, client, ""); err != nil || version != "v1" {
		t.Errorf("refused twice: %s, %v", version, err)
	}
	if n := services["v1"].calls.Load() - before; n != 3 {
		t.Errorf("the service was called %d times, want 3", n)
	}

	m.Apply(ruleFor("greeter", "everybody", "precedence: 1, route: [{labels: {version: v1}}], httpReqTimeout: {simpleTimeout: {timeout: 0.2s}}"))
	start := time.Now()
	if _, err := check(t, client, "slow"); status.Code(err) != codes.DeadlineExceeded && status.Code(err) != codes.Unavailable || time.Since(start) > meshtest.Patience/2 {
		t.Errorf("a slow call ends after %v with %v", time.Since(start), err)
	}

	m.Apply(ruleFor("greeter", "everybody", "precedence: 1, route: [{labels: {version: v1}}], httpFault: {abort: {grpcStatus: RESOURCE_EXHAUSTED}}"))
	if _, err := check(t, client, ""); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("an abort by gRPC status ends with %v", err)
	}
	m.Delete("RouteRule", "everybody")

	stream, err := client.Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; ; n++ {
		if _, err := stream.Recv(); err != nil {
			break
		}
	}
	if n != 3 {
		t.Errorf("a stream brought %d messages, want 3", n)
	}
}

// gRPC comes in through the ingress, steered by the rules of its backend.
func TestGRPCThroughTheIngress(t *testing.T) {
	t.Parallel()
	m := meshtest.New(t)
	for _, version := range []string{"v1", "v2"} {
		m.StartSpec(meshtest.Spec{Service: "greeter", Version: version, Ports: []meshtest.SpecPort{
			{Name: "grpc-api", Number: 7070, Target: (&greeterService{version: version}).serve(t)},
		}})
	}
	door := m.Door()
	m.Apply("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: api}\nspec: {rules: [{host: api.example.com, http: {paths: " +
		"[{path: /grpc.health.v1.Health, pathType: Prefix, backend: {service: {name: greeter, port: {name: grpc-api}}}}]}}]}\n")
	m.Apply(ruleFor("greeter", "to-v2", "route: [{labels: {version: v2}}]"))
	for authority, want := range map[string]codes.Code{"api.example.com": codes.OK, "other.example.com": codes.Unimplemented} {
		conn, err := grpc.NewClient("passthrough:///"+door.Proxy(),
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(authority))
		if err != nil {
			t.Fatal(err)
		}
		version, err := check(t, healthv1.NewHealthClient(conn), "")
		if status.Code(err) != want || (want == codes.OK && version != "v2") {
			t.Errorf("%s: %q, %v, want %v", authority, version, err, want)
		}
		_ = conn.Close()
	}
}
