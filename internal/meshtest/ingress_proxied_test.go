package meshtest_test

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// proxyHeader is what a load balancer writes before the bytes of a client, in version 1 or 2 of the PROXY protocol.
func proxyHeader(version int, client netip.AddrPort) []byte {
	if version == 1 {
		return fmt.Appendf(nil, "PROXY TCP4 %s 192.0.2.1 %d 80\r\n", client.Addr(), client.Port())
	}
	header := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, 0x11, 0, 12)
	header = append(header, client.Addr().AsSlice()...)
	header = append(header, 192, 0, 2, 1)
	header = binary.BigEndian.AppendUint16(header, client.Port())
	return binary.BigEndian.AppendUint16(header, 80)
}

// With the PROXY protocol the application sees the client that the load balancer names, over http and https; who names none gets
// nothing.
func TestIngressProxyProtocol(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	m, door := doorMesh(t, hostsIngress, "shop", "cart", "rest")
	shop, _ := secretOf(t, a, "shop-tls", "shop.example.com")
	m.Apply(shop)
	m.Apply(tlsIngress, config.CodeUnknownSecret)
	client := netip.MustParseAddrPort("203.0.113.9:4711")
	ask := func(header []byte, port int, secure bool) (string, error) {
		connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", net.JoinHostPort(door.Address, strconv.Itoa(port)))
		if err != nil {
			return "", err
		}
		defer connection.Close()
		if err := connection.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			return "", err
		}
		if _, err := connection.Write(header); err != nil {
			return "", err
		}
		if secure {
			connection = tls.Client(connection, &tls.Config{RootCAs: a.pool, ServerName: "shop.example.com"}) //nolint:gosec // the usual versions
		}
		if _, err := io.WriteString(connection, "GET /only HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n"); err != nil {
			return "", err
		}
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return string(body), err
	}
	if got, err := ask(nil, door.Outbound, false); err != nil || !strings.HasPrefix(got, "shop") {
		t.Errorf("without the setting: %q, %v", got, err)
	}
	m.Set(func(s *mesh.Settings) { s.Ingress.ProxyProtocol = true })
	for _, c := range []struct {
		version, port int
		secure        bool
	}{{1, door.Outbound, false}, {2, door.Outbound, false}, {1, door.DoorTLS, true}, {2, door.DoorTLS, true}} {
		got, err := ask(proxyHeader(c.version, client), c.port, c.secure)
		if err != nil || !strings.Contains(got, "for="+client.Addr().String()+" ") {
			t.Errorf("%+v: %q, %v, want for=%s", c, got, err, client.Addr())
		}
	}
	if got, err := ask(nil, door.Outbound, false); err == nil {
		t.Errorf("a connection that names no client is answered: %q", got)
	}
	m.Set(func(s *mesh.Settings) { s.Ingress.ProxyProtocol = false })
	if got, err := ask(nil, door.Outbound, false); err != nil || !strings.HasPrefix(got, "shop") {
		t.Errorf("without the setting again: %q, %v", got, err)
	}
}
