package xds

import (
	"context"
	"errors"
	"io"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Client decides what one stream's proxy is sent. The stream calls it from one goroutine.
type Client interface {
	// Handle takes what a request said.
	Handle(*Session, Event)
	// Next returns what is to be sent now, made with [Session.Respond], or nothing; and when it wants to be asked
	// again without an event, or 0.
	Next(*Session) ([]*discoveryv3.DeltaDiscoveryResponse, time.Duration)
	// Wake receives when there may be something to send.
	Wake() <-chan struct{}
	// Close tells that the stream has ended.
	Close()
}

// Open finds the client for the proxy that says it is node. It may wait, until ctx ends, for what it needs to know.
// Its error is a gRPC status for the proxy.
type Open func(ctx context.Context, node *corev3.Node) (Client, error)

// Server is the gRPC service of xDS.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	open Open
	stop <-chan struct{}
}

const (
	maxMessage     = 16 << 20 // bytes; a proxy that holds 100,000 names says so in less
	keepAliveEvery = 30 * time.Second
	keepAliveWait  = 10 * time.Second
)

// NewServer returns a gRPC server that answers xDS; the caller serves listeners with it and stops it. Streams end when stop is
// closed.
func NewServer(open Open, stop <-chan struct{}) *grpc.Server {
	server := grpc.NewServer(
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(16), // per connection; a proxy needs one
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepAliveEvery, Timeout: keepAliveWait}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, &Server{open: open, stop: stop})
	return server
}

// DeltaAggregatedResources serves one proxy.
func (s *Server) DeltaAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	first, err := stream.Recv()
	if err != nil {
		return ended(err)
	}
	client, err := s.open(stream.Context(), first.GetNode())
	if err != nil {
		return err
	}
	defer client.Close()
	requests, broken := receive(stream)
	session := NewSession()
	req := first
	for {
		if req != nil {
			event, err := session.Receive(req)
			if err != nil {
				return status.Error(codes.InvalidArgument, err.Error())
			}
			client.Handle(session, event)
		}
		responses, wait := client.Next(session)
		for _, r := range responses {
			if err := stream.Send(r); err != nil {
				return ended(err)
			}
		}
		var again <-chan time.Time
		if wait > 0 {
			again = time.After(wait)
		}
		select {
		case req = <-requests:
		case err := <-broken:
			return ended(err)
		case <-stream.Context().Done(): // also when a request was read that nobody takes any more
			return nil
		case _, alive := <-client.Wake():
			if !alive {
				return status.Error(codes.Unavailable, "what this proxy is has changed: come again")
			}
			req = nil
		case <-again:
			req = nil
		case <-s.stop:
			return status.Error(codes.Unavailable, "Lateen is stopping")
		}
	}
}

// receive reads the stream until it ends. Its goroutine ends with the stream, whose context the caller's return cancels.
func receive(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) (<-chan *discoveryv3.DeltaDiscoveryRequest, <-chan error) {
	requests, broken := make(chan *discoveryv3.DeltaDiscoveryRequest), make(chan error, 1)
	go func() {
		for {
			req, err := stream.Recv()
			if err != nil {
				broken <- err
				return
			}
			select {
			case requests <- req:
			case <-stream.Context().Done():
				return
			}
		}
	}()
	return requests, broken
}

// ended turns the ordinary end of a stream into none.
func ended(err error) error {
	if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
		return nil
	}
	return err
}
