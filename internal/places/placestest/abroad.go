// Package placestest has connections within this machine come from others.
package placestest

import "net"

// Abroad returns a listener to which whoever comes from 127.X.Y.Z seems to come from 10.X.Y.Z, unless it is 127.0.0.1.
func Abroad(l net.Listener) net.Listener { return abroad{l} }

// Dialer returns what dials from an address of this machine.
func Dialer(host string) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
}

type abroad struct{ net.Listener }

// Accept implements [net.Listener].
func (a abroad) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	at, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok || at.IP.Equal(net.IPv4(127, 0, 0, 1)) {
		return c, nil
	}
	host := at.IP.To4()
	return foreign{c, &net.TCPAddr{IP: net.IPv4(10, host[1], host[2], host[3]), Port: at.Port}}, nil
}

type foreign struct {
	net.Conn
	at net.Addr
}

// RemoteAddr implements [net.Conn].
func (f foreign) RemoteAddr() net.Addr { return f.at }
