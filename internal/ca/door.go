package ca

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/places"
)

// Bounds of what somebody can do who has not proven anything.
const (
	mostGuests   = 4096            // connections at a time
	eachGuests   = 256             // of them from one address: behind that of a node may be all of its pods
	guestMessage = 64 << 10        // bytes
	guestLife    = 5 * time.Minute // of a connection
	guestIdle    = 30 * time.Second
	eachShaking  = 256 // connections from one address that shake hands; a bound for all would let some lock out everybody
)

// Bounds of the connections of those who have proven who they are.
const (
	eachMember   = 128 // of one workload: a program without a proxy may have one for each service that it calls
	mostReplicas = 256 // other replicas of the control plane
	replicaLife  = time.Hour
)

// HandshakeBound is for how long the server behind a door should let somebody shake hands.
const HandshakeBound = 20 * time.Second

var errFull = errors.New("too many connections of this kind")

// Door lets callers in to the control plane's TLS port. Those who show the certificate of a workload go to the server that has
// the door's credentials. Those who show none are guests: all they can do is ask for a certificate, of a server of the door's
// own that takes small messages only. Those who are the control plane themselves, another replica of it, go to [Door.Replicas] and
// nowhere else. A certificate that does not hold ends the connection, which is counted and told.
//
// What one caller can take of the port is bounded: connections that shake hands by the address that they come from, guests by that
// and in all, those with a certificate by the workload. Who comes from this machine has no share of its own.
type Door struct {
	authority *Authority
	tls       credentials.TransportCredentials
	server    *grpc.Server
	shaking   *places.Places
	members   *places.Places // of workloads
	guests    *guestListener
	replicas  *guestListener
	told      *rates // bounds what is logged
}

// NewDoor returns a door before which guests find the service. Hosts are as for [Authority.ServerTLS].
func NewDoor(s *Service, hosts ...string) *Door {
	a := s.authority
	d := &Door{
		authority: a, tls: credentials.NewTLS(a.serverTLS(a.verifyCaller, hosts...)), told: newRates(a.c.Now, refill),
		shaking: places.New(0, eachShaking), members: places.New(0, eachMember),
		guests:   newGuestListener(mostGuests, eachGuests, guestLife),
		replicas: newGuestListener(mostReplicas, 0, replicaLife),
		server: grpc.NewServer(
			grpc.Creds(guestCredentials{}), grpc.MaxRecvMsgSize(guestMessage), grpc.MaxConcurrentStreams(1),
			grpc.ReadBufferSize(4<<10), grpc.WriteBufferSize(4<<10),
			grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: guestIdle}), grpc.ConnectionTimeout(HandshakeBound),
			grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
				return status.Error(codes.Unauthenticated, "show the certificate of a workload: without one there is nothing here but certificates")
			}),
		),
	}
	s.Register(d.server)
	return d
}

// Run serves guests until ctx ends.
func (d *Door) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, d.server.Stop)()
	defer context.AfterFunc(ctx, func() { _ = d.replicas.Close() })() // it does not fail
	if err := d.server.Serve(d.guests); err != nil && ctx.Err() == nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	return nil
}

// Replicas hands over the connections of other replicas, which have shaken hands and speak HTTP/2. Without somebody who takes them
// they wait until they give up.
func (d *Door) Replicas() net.Listener { return d.replicas }

// Credentials returns those of the server behind the door. It serves listeners of [Door.Listen].
func (d *Door) Credentials() credentials.TransportCredentials {
	return &doorCredentials{TransportCredentials: d.tls, door: d}
}

type doorCredentials struct {
	credentials.TransportCredentials
	door *Door
}

// Clone implements [credentials.TransportCredentials].
func (c *doorCredentials) Clone() credentials.TransportCredentials {
	return &doorCredentials{TransportCredentials: c.TransportCredentials.Clone(), door: c.door}
}

// ServerHandshake implements [credentials.TransportCredentials].
func (c *doorCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	from, ok := raw.(*caller)
	if !ok {
		return nil, nil, errors.New("the connection came through no door")
	}
	connection, info, err := c.TransportCredentials.ServerHandshake(shaken{from})
	if err != nil {
		if !errors.Is(err, io.EOF) { // who only looks whether the port is open has done nothing wrong
			c.door.refuse(raw, ReasonHandshake, err)
		}
		return nil, nil, err
	}
	among, who, to := c.door.place(raw, info)
	if !from.move(among, who) {
		c.door.refuse(raw, ReasonBusy, errFull)
		return nil, nil, errFull
	}
	if to == nil {
		return connection, info, nil
	}
	from.handOver()
	to.admit(connection, info)
	return nil, nil, credentials.ErrConnDispatched
}

// place tells among whom somebody who has shaken hands is to have a place, as whom, and where it goes; nil: to the server behind the
// door.
func (d *Door) place(raw net.Conn, info credentials.AuthInfo) (among *places.Places, who string, to *guestListener) {
	shaken, ok := info.(credentials.TLSInfo)
	switch {
	case !ok || len(shaken.State.PeerCertificates) == 0:
		return d.guests.places, places.From(raw.RemoteAddr()), d.guests
	case d.authority.isReplica(shaken.State):
		return d.replicas.places, "", d.replicas
	}
	id, err := identity.PeerOf(shaken.State.PeerCertificates[0])
	if err != nil { // the handshake has refused it
		return d.guests.places, places.From(raw.RemoteAddr()), d.guests
	}
	return d.members, id.ID.String() + " " + id.Workload, nil
}

func (d *Door) refuse(raw net.Conn, reason Reason, err error) {
	d.authority.counts.refuse(reason)
	if d.told.take(string(reason)) == nil {
		d.authority.c.Log.Warn("a connection to the control plane is refused", "peer", raw.RemoteAddr().String(), "err", err)
	}
}

// guest is a connection that has shaken hands and shown no certificate.
type guest struct {
	net.Conn
	info credentials.AuthInfo
	end  *time.Timer // closes the connection, whatever becomes of it
}

// Close implements [net.Conn].
func (g *guest) Close() error {
	g.end.Stop()
	return g.Conn.Close()
}

// guestListener hands over the connections of guests.
type guestListener struct {
	come   chan *guest
	closed chan struct{}
	places *places.Places
	life   time.Duration
	shut   atomic.Bool
}

func newGuestListener(most, each int, life time.Duration) *guestListener {
	return &guestListener{come: make(chan *guest), closed: make(chan struct{}), places: places.New(most, each), life: life}
}

// admit hands a connection over.
func (l *guestListener) admit(connection net.Conn, info credentials.AuthInfo) {
	g := &guest{Conn: connection, info: info}
	g.end = time.AfterFunc(l.life, func() {
		_ = connection.Close() // nobody is left to tell
	})
	select {
	case l.come <- g:
	case <-l.closed:
		_ = g.Close() // likewise
	}
}

// Accept implements [net.Listener].
func (l *guestListener) Accept() (net.Conn, error) {
	select {
	case g := <-l.come:
		return g, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (l *guestListener) Close() error {
	if l.shut.CompareAndSwap(false, true) {
		close(l.closed)
	}
	return nil
}

// Addr implements [net.Listener].
func (l *guestListener) Addr() net.Addr { return guestAddress{} }

type guestAddress struct{}

func (guestAddress) Network() string { return "guests" }
func (guestAddress) String() string  { return "guests" }

// guestCredentials takes connections that have shaken hands already.
type guestCredentials struct{}

// ServerHandshake implements [credentials.TransportCredentials].
func (guestCredentials) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	g, ok := c.(*guest)
	if !ok {
		return nil, nil, errors.New("no guest")
	}
	return g, g.info, nil
}

// ClientHandshake implements [credentials.TransportCredentials]: nobody dials here.
func (guestCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("guests do not dial")
}

// Info implements [credentials.TransportCredentials].
func (guestCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements [credentials.TransportCredentials].
func (guestCredentials) Clone() credentials.TransportCredentials { return guestCredentials{} }

// OverrideServerName implements [credentials.TransportCredentials]: there is none.
func (guestCredentials) OverrideServerName(string) error { return nil }
