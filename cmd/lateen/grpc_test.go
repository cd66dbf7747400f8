package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/lateen-mesh/lateen/internal/netns"
)

// grpcServe is a gRPC service on PORT that says in a header who it is.
func grpcServe(ctx context.Context, args []string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(
		func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := grpc.SetHeader(ctx, metadata.Pairs("who", args[0])); err != nil {
				return nil, err
			}
			return next(ctx, request)
		}))
	healthv1.RegisterHealthServer(server, health.NewServer())
	context.AfterFunc(ctx, server.Stop)
	return server.Serve(l)
}

// grpcAsk calls a target as every grpc-go program does that knows nothing of a mesh, prints who answered with and
// without a header, and takes connections on PORT.
func grpcAsk(ctx context.Context, args []string) error {
	conn, err := grpc.NewClient(args[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	client := healthv1.NewHealthClient(conn)
	for _, user := range []string{"nobody", "jason"} {
		var header metadata.MD
		for {
			_, err := client.Check(metadata.AppendToOutgoingContext(ctx, "x-user", user),
				&healthv1.HealthCheckRequest{}, grpc.Header(&header), grpc.WaitForReady(true))
			if err == nil {
				break
			}
			if err := wait(ctx); err != nil {
				return err
			}
		}
		fmt.Println(user, "is answered by", strings.Join(header.Get("who"), ","))
	}
	return echo(ctx, []string{"grpc-ask"})
}

const grpcMesh = `apiVersion: lateen.dev/v1alpha1
kind: Mesh
metadata: {name: calling}
spec:
  services:
    greeter:
      ports: [{name: grpc, port: 7070}]
      workloads:
        v1: {command: [lateen, one], env: {LATEEN_TEST_ACT_AS_LATEEN: grpc-serve}}
        v2: {command: [lateen, two], env: {LATEEN_TEST_ACT_AS_LATEEN: grpc-serve}}
    caller:
      ports: [{name: tcp, port: 7000}]
      workloads:
        v1: {command: [lateen, "greeter:7070"], env: {LATEEN_TEST_ACT_AS_LATEEN: grpc-ask}, dependsOn: [greeter]}
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: everybody}
spec: {destination: {name: greeter}, precedence: 1, route: [{labels: {version: v1}}]}
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: jason}
spec:
  destination: {name: greeter}
  precedence: 2
  match: {request: {headers: {x-user: {exact: jason}}}}
  route: [{labels: {version: v2}}]
`

// A program with an unchanged grpc-go finds the proxy by itself, and its calls are steered one by one.
func TestGRPCLibrary(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		p := start(t, dir, "up", "-f", write(t, dir, "mesh.yaml", grpcMesh))
		p.prints(ready)
		p.prints("| nobody is answered by one\n")
		p.prints("| jason is answered by two\n")
		if code := p.interrupt(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}
