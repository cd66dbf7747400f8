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
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/places"
)

// Client decides what one stream's proxy is sent. The stream calls it from one goroutine.
type Client interface {
	// Handle takes what a request said.
	Handle(*Session, Event)
	// Next returns what is to be sent now, made with [Session.Respond], or nothing; and when it wants to be asked
	// again without an event, or 0.
	Next(*Session) ([]*Response, time.Duration)
	// Wake receives when there may be something to send.
	Wake() <-chan struct{}
	// Close tells that the stream has ended.
	Close()
}

// Peer is who has opened a stream.
type Peer struct {
	Node *corev3.Node // as it says
	Only Type         // the one type that the stream is for; "": all, aggregated
	// Identity is whom its certificate speaks for, on a connection with mutual TLS; nil on one without TLS.
	Identity *identity.Peer
}

// Open finds the client for a peer. It may wait, until ctx ends, for what it needs to know. Its error is a gRPC status for
// the proxy.
type Open func(context.Context, Peer) (Client, error)

// Server answers the streams of all xDS services.
type Server struct {
	open    Open
	stop    <-chan struct{}
	streams *places.Places // of each identity
}

const (
	maxMessage     = 16 << 20 // bytes; a proxy that holds 100,000 names says so in less
	keepAliveEvery = 30 * time.Second
	keepAliveWait  = 10 * time.Second
	ageGrace       = 5 * time.Second // from saying that a connection is old to its end
	mostStreams    = 16              // of a connection; a proxy needs one, or one per type
	// eachStreams bounds those of one workload: a program without a proxy may have one for each service that it calls.
	eachStreams = 256
)

// MaxBodies bounds the bytes of the resources in one response, unless a single one is larger: clients refuse messages
// beyond a bound of their own, those of gRPC for Go beyond 4 MiB. A response that must carry a whole set is as large as it.
const MaxBodies = 1 << 20

// NewServer returns a gRPC server that answers xDS; the caller serves listeners with it and stops it. Streams end when stop is
// closed.
//
// On connections with TLS, which an option brings, streams are for peers with a verified certificate only. Connections end
// maxAge after they began, with a moment to spare, whenever the certificate of the peer ends, so that none goes on for ever
// under an old one; 0: they do not. A workload may have so many streams, over however many connections.
func NewServer(open Open, stop <-chan struct{}, maxAge time.Duration, options ...grpc.ServerOption) *grpc.Server {
	params := keepalive.ServerParameters{Time: keepAliveEvery, Timeout: keepAliveWait}
	if maxAge > 0 {
		params.MaxConnectionAge, params.MaxConnectionAgeGrace = maxAge, ageGrace
	}
	server := grpc.NewServer(append(options,
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(mostStreams),
		grpc.KeepaliveParams(params),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)...)
	register(server, &Server{open: open, stop: stop, streams: places.New(0, eachStreams)})
	return server
}

// stream is one stream in one of the two forms of the protocol.
type stream[Req, Res any] interface {
	Recv() (*Req, error)
	Send(*Res) error
	Context() context.Context
}

// form reads and writes the messages of one of the two forms.
type form[Req, Res any] struct {
	session func() *Session
	node    func(*Req) *corev3.Node
	typed   func(*Req) *string // the type URL
	receive func(*Session, *Req) (Event, error)
	write   func(*Response) *Res
}

var deltaForm = form[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]{
	session: NewSession,
	node:    (*discoveryv3.DeltaDiscoveryRequest).GetNode,
	typed:   func(r *discoveryv3.DeltaDiscoveryRequest) *string { return &r.TypeUrl },
	receive: (*Session).Receive,
	write:   (*Response).Delta,
}

var worldForm = form[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]{
	session: NewWorldSession,
	node:    (*discoveryv3.DiscoveryRequest).GetNode,
	typed:   func(r *discoveryv3.DiscoveryRequest) *string { return &r.TypeUrl },
	receive: (*Session).ReceiveWorld,
	write:   (*Response).World,
}

// delta serves a stream in the delta form, for one type or for all ("").
func (s *Server) delta(str stream[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse], only Type) error {
	return serve(s, str, only, deltaForm)
}

// world serves a stream in the state-of-the-world form, for one type or for all ("").
func (s *Server) world(str stream[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse], only Type) error {
	return serve(s, str, only, worldForm)
}

// serve serves one proxy.
func serve[Req, Res any](s *Server, str stream[Req, Res], only Type, f form[Req, Res]) error {
	req, err := str.Recv()
	if err != nil {
		return ended(err)
	}
	id, err := identityOf(str.Context())
	if err != nil {
		return err
	}
	leave, ok := s.streams.Take(nameOf(id))
	if !ok {
		return status.Errorf(codes.ResourceExhausted, "%s has %d streams already", id, eachStreams)
	}
	defer leave()
	client, err := s.open(str.Context(), Peer{Node: f.node(req), Only: only, Identity: id})
	if err != nil {
		return err
	}
	defer client.Close()
	requests, broken := receive(str)
	session := f.session()
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		if req != nil {
			event, err := f.take(session, req, only)
			if err != nil {
				return status.Error(codes.InvalidArgument, err.Error())
			}
			client.Handle(session, event)
			req = nil // it may be large, and the next one far away
		}
		responses, wait := client.Next(session)
		for _, r := range responses {
			if err := str.Send(f.write(r)); err != nil {
				return ended(err)
			}
		}
		if again.Stop(); wait > 0 {
			again.Reset(wait)
		}
		select {
		case req = <-requests:
		case err := <-broken:
			return ended(err)
		case <-str.Context().Done(): // also when a request was read that nobody takes any more
			return nil
		case _, alive := <-client.Wake():
			if !alive {
				return status.Error(codes.Unavailable, "what this proxy is has changed: come again")
			}
		case <-again.C:
		case <-s.stop:
			return status.Error(codes.Unavailable, "Lateen is stopping")
		}
	}
}

// identityOf returns whom the certificate of a stream's connection speaks for, nil on one without TLS. Nothing that the peer
// says counts, and no certificate that was not verified.
func identityOf(ctx context.Context) (*identity.Peer, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, status.Error(codes.Internal, "nothing is known of the connection")
	}
	if p.AuthInfo == nil || p.AuthInfo.AuthType() == "insecure" {
		return nil, nil
	}
	tls, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(tls.State.VerifiedChains) == 0 {
		return nil, status.Error(codes.Unauthenticated, "show the certificate of a workload: what a proxy is told depends on who it is")
	}
	id, err := identity.PeerOf(tls.State.PeerCertificates[0])
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	return &id, nil
}

// nameOf names whose streams are counted together; "": nobody's, on a connection without TLS.
func nameOf(id *identity.Peer) string {
	if id == nil {
		return ""
	}
	return id.ID.String() + " " + id.Workload
}

// take reads a request of a stream, which need not name the type when there is only one.
func (f form[Req, Res]) take(session *Session, req *Req, only Type) (Event, error) {
	if t := f.typed(req); only != "" {
		if *t != "" && Type(*t) != only {
			return Event{}, errors.New("request for " + *t + " on a stream for " + string(only))
		}
		*t = string(only)
	}
	return f.receive(session, req)
}

// receive reads the stream until it ends. Its goroutine ends with the stream, whose context the caller's return cancels.
func receive[Req, Res any](str stream[Req, Res]) (<-chan *Req, <-chan error) {
	requests, broken := make(chan *Req), make(chan error, 1)
	go func() {
		for {
			req, err := str.Recv()
			if err != nil {
				broken <- err
				return
			}
			select {
			case requests <- req:
			case <-str.Context().Done():
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
