package ca_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/ca/capb"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
	"github.com/lateen-mesh/lateen/internal/places/placestest"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

// house is a server behind a door with other bounds. Whoever gets in is told so, whatever it asks.
func (r *rig) house(t *testing.T, bound func(*ca.Door)) (*ca.Door, string) {
	t.Helper()
	service := ca.NewService(r.Authority, r.Attestor())
	door := ca.NewDoor(service, "localhost")
	bound(door)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- door.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-ended)
	})
	return door, serve(t, grpc.NewServer(grpc.Creds(door.Credentials()), grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
		return status.Error(codes.Aborted, "you are in")
	})), door)
}

func dial(t *testing.T, address string, client *tls.Certificate) *grpc.ClientConn {
	t.Helper()
	connection, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(clientOf(client, tls.VersionTLS13))))
	must(t, err)
	t.Cleanup(func() { must(t, connection.Close()) })
	return connection
}

// Who shows no certificate can ask for one, in a small message, and for nothing else.
func TestGuests(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, address := r.house(t, func(d *ca.Door) { d.Bound(100, 100, time.Minute) })
	p := identitytest.Peer(domain, "reviews", "")
	held := r.leafFor(t, p)
	const xds = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
	member, guest := dial(t, address, &held), dial(t, address, nil)
	if err := member.Invoke(t.Context(), xds, new(emptypb.Empty), new(emptypb.Empty)); status.Code(err) != codes.Aborted {
		t.Errorf("a workload: %v", err)
	}
	if err := guest.Invoke(t.Context(), xds, new(emptypb.Empty), new(emptypb.Empty)); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a guest: %v", err)
	}
	csr := newCSR(t, identitytest.NewKey(t), x509.CertificateRequest{})
	if _, err := capb.NewCertificateAuthorityClient(guest).Sign(t.Context(), &capb.SignRequest{Csr: csr, Token: r.token(t, p)}); err != nil {
		t.Errorf("a guest with a token: %v", err)
	}
	_, err := capb.NewCertificateAuthorityClient(guest).Sign(t.Context(), &capb.SignRequest{Csr: make([]byte, 1<<20)})
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "larger than max") {
		t.Errorf("a large message of a guest: %v", err)
	}
	if err := guest.Invoke(t.Context(), xds, &capb.SignRequest{Csr: make([]byte, 1<<20)}, new(emptypb.Empty)); err == nil || status.Code(err) == codes.Aborted {
		t.Errorf("a large message of a guest to somebody else: %v", err)
	}
}

// There are only so many guests, they do not stay for ever, and workloads come in all the same.
func TestGuestsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const most = 5
	door, address := r.house(t, func(d *ca.Door) { d.Bound(most, 1, time.Hour) })
	var idle []net.Conn
	shake := func() net.Conn {
		c, err := (&tls.Dialer{Config: clientOf(nil, tls.VersionTLS13)}).DialContext(t.Context(), "tcp", address)
		must(t, err)
		must(t, c.SetDeadline(time.Now().Add(5*time.Minute)))
		return c
	}
	for range most {
		idle = append(idle, shake())
	}
	testkit.Await(t, "they are in", func() bool { return door.Guests() == most })
	last := shake()
	if _, err := last.Read(make([]byte, 1)); err == nil {
		t.Error("one more is let in")
	}
	must(t, last.Close())
	testkit.Await(t, "it is counted", func() bool { return r.Status().Refused[ca.ReasonBusy] == 1 })
	held := r.leafFor(t, identitytest.Peer(domain, "reviews", ""))
	if err := dial(t, address, &held).Invoke(t.Context(), "/a/b", new(emptypb.Empty), new(emptypb.Empty)); status.Code(err) != codes.Aborted {
		t.Errorf("a workload meanwhile: %v", err)
	}
	for _, c := range idle {
		must(t, c.Close())
	}
	testkit.Await(t, "they are gone", func() bool { return door.Guests() == 0 })
}

// A guest that only holds its connection is shown out.
func TestGuestsLeave(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	door, address := r.house(t, func(d *ca.Door) { d.Bound(100, 100, 20*time.Millisecond) })
	c, err := (&tls.Dialer{Config: clientOf(nil, tls.VersionTLS13)}).DialContext(t.Context(), "tcp", address)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(5*time.Minute)))
	for buffer := make([]byte, 1024); err == nil; {
		_, err = c.Read(buffer) // what HTTP/2 begins with
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		t.Error("it is still there after 5 minutes")
	}
	testkit.Await(t, "it is gone", func() bool { return door.Guests() == 0 })
}

// The door of a mesh with an authority that is plugged in shows those between it and the root.
func TestDoorShowsTheWholeChain(t *testing.T) {
	t.Parallel()
	root := identitytest.New(t, domain, time.Now())
	between := root.Below(t, "between")
	r := newRig(t, func(c *ca.Config) { c.Plugged = filesOf(t, root, between, between.Below(t, "signing")).write(t) })
	_, address := r.house(t, func(d *ca.Door) { d.Bound(100, 100, time.Minute) })
	c, err := (&tls.Dialer{Config: clientOf(nil, tls.VersionTLS13)}).DialContext(t.Context(), "tcp", address)
	must(t, err)
	defer c.Close()
	shaken, ok := c.(*tls.Conn)
	if !ok {
		t.Fatal("no TLS")
	}
	shown := shaken.ConnectionState().PeerCertificates
	trust := identity.Bundle{TrustDomain: domain, Roots: []*x509.Certificate{root.Cert}}
	if err := trust.VerifyControlPlane(shown, time.Now()); err != nil || len(shown) != 4 || !shown[3].Equal(root.Cert) {
		t.Errorf("shown are %d certificates: %v", len(shown), err)
	}
}

// from shakes hands from an address.
func from(t *testing.T, host, address string, client *tls.Certificate) net.Conn {
	t.Helper()
	c, err := (&tls.Dialer{NetDialer: placestest.Dialer(host), Config: clientOf(client, tls.VersionTLS13)}).DialContext(t.Context(), "tcp", address)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	must(t, c.SetDeadline(time.Now().Add(5*time.Minute)))
	return c
}

// turnedAway tells whether a connection is closed before it says anything.
func turnedAway(c net.Conn) bool {
	_, err := c.Read(make([]byte, 1))
	timeout, ok := errors.AsType[net.Error](err)
	return err != nil && (!ok || !timeout.Timeout())
}

// A guest takes no more than its share, whatever it tries: from another address one is let in. On this machine all are one, and
// have no share.
func TestGuestsHaveShares(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	door, address := r.house(t, func(d *ca.Door) { d.Bound(100, 3, time.Hour) })
	for range 3 {
		from(t, "127.1.1.1", address, nil)
	}
	testkit.Await(t, "they are in", func() bool { return door.Guests() == 3 })
	for range 5 {
		if !turnedAway(from(t, "127.1.1.1", address, nil)) {
			t.Error("one more is let in")
		}
	}
	if turnedAway(from(t, "127.1.1.2", address, nil)) {
		t.Error("another one is not let in")
	}
	for range 5 {
		if turnedAway(from(t, "127.0.0.1", address, nil)) {
			t.Error("one from this machine is not let in")
		}
	}
	if got := r.Status().Refused[ca.ReasonBusy]; got != 5 {
		t.Errorf("%d are counted", got)
	}
}

// Who connects and says nothing takes no more than its share of those who shake hands either, and its place is given back.
func TestHandshakesHaveShares(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	door, address := r.house(t, func(d *ca.Door) { d.BoundShaking(100, 3) })
	silent := func() net.Conn {
		c, err := placestest.Dialer("127.1.1.1").DialContext(t.Context(), "tcp", address)
		must(t, err)
		t.Cleanup(func() { _ = c.Close() })
		must(t, c.SetDeadline(time.Now().Add(5*time.Minute)))
		return c
	}
	first := silent()
	for range 2 {
		silent()
	}
	testkit.Await(t, "they shake hands", func() bool { return door.Shaking() == 3 })
	if !turnedAway(silent()) {
		t.Error("one more may shake hands")
	}
	if turnedAway(from(t, "127.1.1.2", address, nil)) {
		t.Error("another one may not")
	}
	must(t, first.Close())
	testkit.Await(t, "one has gone", func() bool { return door.Shaking() == 2 })
	if turnedAway(from(t, "127.1.1.1", address, nil)) {
		t.Error("it may not come back")
	}
}

// A workload has so many connections, from wherever; another one has its own, and what is closed can be opened again.
func TestWorkloadsHaveShares(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	door, address := r.house(t, func(d *ca.Door) { d.BoundMembers(2) })
	greedy, other := r.leafFor(t, identitytest.Peer(domain, "greedy", "")), r.leafFor(t, identitytest.Peer(domain, "other", ""))
	first := from(t, "127.1.1.1", address, &greedy)
	from(t, "127.1.1.2", address, &greedy)
	testkit.Await(t, "both are in", func() bool { return door.Members() == 2 })
	if !turnedAway(from(t, "127.1.1.3", address, &greedy)) {
		t.Error("one more is let in")
	}
	if turnedAway(from(t, "127.1.1.1", address, &other)) {
		t.Error("another workload is not let in")
	}
	must(t, first.Close())
	testkit.Await(t, "one has gone", func() bool { return door.Members() == 2 })
	if turnedAway(from(t, "127.1.1.3", address, &greedy)) {
		t.Error("it is not let in again")
	}
}
