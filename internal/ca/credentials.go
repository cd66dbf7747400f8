package ca

import (
	"errors"
	"io"
	"net"

	"google.golang.org/grpc/credentials"
)

// Credentials returns [Authority.ServerTLS] for a server of gRPC. Connections that come to nothing are counted and told: a
// workload whose certificate has expired gets no further than this, and is told little.
func (a *Authority) Credentials(hosts ...string) credentials.TransportCredentials {
	return &listenerCredentials{TransportCredentials: credentials.NewTLS(a.ServerTLS(hosts...)), authority: a, told: newRates(a.c.Now, refill)}
}

type listenerCredentials struct {
	credentials.TransportCredentials
	authority *Authority
	told      *rates // bounds what is logged
}

// ServerHandshake implements [credentials.TransportCredentials].
func (l *listenerCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	connection, info, err := l.TransportCredentials.ServerHandshake(raw)
	if err != nil && !errors.Is(err, io.EOF) { // who only looks whether the port is open has done nothing wrong
		l.authority.counts.refuse(ReasonHandshake)
		if l.told.take("") == nil {
			l.authority.c.Log.Warn("a connection to the control plane is refused", "peer", raw.RemoteAddr().String(), "err", err)
		}
	}
	return connection, info, err
}

// Clone implements [credentials.TransportCredentials].
func (l *listenerCredentials) Clone() credentials.TransportCredentials {
	return &listenerCredentials{TransportCredentials: l.TransportCredentials.Clone(), authority: l.authority, told: l.told}
}
