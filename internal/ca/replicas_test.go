package ca_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"

	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
)

// Another replica of the control plane comes to who answers replicas, and a workload never does: it goes on to the server behind
// the door.
func TestReplicasHaveADoorOfTheirOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	door := ca.NewDoor(ca.NewService(r.Authority, r.Attestor()), "lateen")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := grpc.NewServer(grpc.Creds(door.Credentials()))
	address := serve(t, server, door)
	ended := make(chan error, 1)
	go func() { ended <- door.Run(ctx) }()
	came := make(chan net.Conn, 4)
	go func() {
		for {
			c, err := door.Replicas().Accept()
			if err != nil {
				close(came)
				return
			}
			_, _ = c.Write([]byte("replica"))
			came <- c
		}
	}()
	dial := func(config *tls.Config) *tls.Conn {
		t.Helper()
		c, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", address)
		must(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c.(*tls.Conn)
	}
	leaf := r.leafFor(t, identitytest.Peer(domain, "reviews", ""))
	workload := r.ReplicaTLS()
	workload.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &leaf, nil }
	first := make([]byte, 7)
	if _, err := io.ReadFull(dial(workload), first); err != nil || string(first) == "replica" {
		t.Errorf("a workload reads %q, %v", first, err) // the settings of HTTP/2, from the server behind the door
	}
	if _, err := io.ReadFull(dial(r.ReplicaTLS()), first); err != nil || string(first) != "replica" {
		t.Errorf("a replica reads %q, %v", first, err)
	}
	cancel()
	must(t, <-ended)
	n := 0
	for c := range came {
		n++
		_ = c.Close()
	}
	if n != 1 {
		t.Errorf("%d came to who answers replicas", n)
	}
	mallory := newRig(t)
	if c, err := (&tls.Dialer{Config: mallory.ReplicaTLS()}).DialContext(t.Context(), "tcp", address); err == nil {
		_ = c.Close()
		t.Error("the control plane of another mesh trusts this one")
	}
}
