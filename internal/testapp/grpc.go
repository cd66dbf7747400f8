package testapp

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func (s *server) grpc(l net.Listener) (serve func() error, stop func(context.Context)) {
	g := grpc.NewServer()
	healthv1.RegisterHealthServer(g, &healthService{server: s})
	testgrpc.RegisterTestServiceServer(g, &testService{server: s})
	return func() error { return g.Serve(l) }, func(ctx context.Context) {
		forced := context.AfterFunc(ctx, g.Stop)
		defer forced()
		g.GracefulStop()
	}
}

type healthService struct {
	healthv1.UnimplementedHealthServer
	server *server
}

// Check says whether the server is ready, whatever the service.
func (h *healthService) Check(context.Context, *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	is := healthv1.HealthCheckResponse_SERVING
	if !h.server.ready() {
		is = healthv1.HealthCheckResponse_NOT_SERVING
	}
	return &healthv1.HealthCheckResponse{Status: is}, nil
}

type testService struct {
	testgrpc.UnimplementedTestServiceServer
	server *server
}

// seen tells the caller in the header who answers, and what a proxy has said of the caller.
func (s *testService) seen(ctx context.Context) metadata.MD {
	head := metadata.Pairs("x-name", s.server.Name, "x-version", s.server.Version)
	head.Append("seen-peer", metadata.ValueFromIncomingContext(ctx, "x-forwarded-client-cert")...)
	return head
}

// UnaryCall says who answers, and gives back the payload; or it fails with the status that the request asks for.
func (s *testService) UnaryCall(ctx context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	if err := grpc.SetHeader(ctx, s.seen(ctx)); err != nil {
		return nil, err
	}
	if asked := r.GetResponseStatus(); asked.GetCode() != 0 {
		return nil, status.Error(codes.Code(asked.GetCode()), asked.GetMessage()) //nolint:gosec // a code of gRPC
	}
	return &testgrpc.SimpleResponse{Payload: r.GetPayload(), ServerId: s.server.self(), Hostname: s.server.instance}, nil
}

// FullDuplexCall gives back each payload as it comes.
func (s *testService) FullDuplexCall(stream testgrpc.TestService_FullDuplexCallServer) error {
	if err := stream.SetHeader(s.seen(stream.Context())); err != nil {
		return err
	}
	for {
		request, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // the client has nothing more to say
		}
		if err := stream.Send(&testgrpc.StreamingOutputCallResponse{Payload: request.GetPayload()}); err != nil {
			return err
		}
	}
}
