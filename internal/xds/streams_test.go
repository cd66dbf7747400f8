package xds

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
)

// proven has each connection be one of a workload, the next one of those that the test names.
type proven struct {
	credentials.TransportCredentials
	next <-chan *x509.Certificate
}

func (p proven) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c := <-p.next
	return raw, credentials.TLSInfo{State: tls.ConnectionState{
		HandshakeComplete: true, PeerCertificates: []*x509.Certificate{c}, VerifiedChains: [][]*x509.Certificate{{c}},
	}, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
}

func (p proven) Clone() credentials.TransportCredentials { return p }

// A workload has so many streams, over however many connections; another one has its own, and one that ends makes room for one.
func TestStreamsOfAWorkload(t *testing.T) {
	t.Parallel()
	root := identitytest.New(t, "cluster.local", time.Now())
	leaf := func(name string) *x509.Certificate {
		return root.LeafFor(t, identitytest.Peer("cluster.local", name, ""), identitytest.NewKey(t).Public())
	}
	next := make(chan *x509.Certificate, 1)
	dial := serveEcho(t, nil, grpc.Creds(proven{insecure.NewCredentials(), next}))
	stream := func(ctx context.Context, to discoveryv3.AggregatedDiscoveryServiceClient) error {
		s, err := to.StreamAggregatedResources(ctx)
		if err == nil {
			err = s.Send(&discoveryv3.DiscoveryRequest{TypeUrl: string(ClusterType), ResourceNames: []string{"x"}})
		}
		if err == nil || errors.Is(err, io.EOF) { // a stream that is refused already: the reason is what is received
			_, err = s.Recv()
		}
		return err
	}
	greedy := leaf("greedy")
	connect := func(c *x509.Certificate) discoveryv3.AggregatedDiscoveryServiceClient {
		next <- c
		return discoveryv3.NewAggregatedDiscoveryServiceClient(dial())
	}
	one, end := context.WithCancel(t.Context())
	defer end()
	for i := range eachStreams / mostStreams {
		to := connect(greedy)
		for j := range mostStreams {
			ctx := t.Context()
			if i+j == 0 {
				ctx = one
			}
			if err := stream(ctx, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	more := connect(greedy)
	if err := stream(t.Context(), more); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one more: %v", err)
	}
	if err := stream(t.Context(), connect(leaf("other"))); err != nil {
		t.Errorf("another workload: %v", err)
	}
	end()
	for {
		err := stream(t.Context(), more)
		if err == nil {
			break
		}
		if status.Code(err) != codes.ResourceExhausted {
			t.Fatal(err)
		}
	}
}
