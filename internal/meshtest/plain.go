package meshtest

import (
	"context"
	"net"
	"testing"

	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/unixsocket"
)

// PlainXDS listens for proxies without an identity, such as a [FakeProxy], on the socket of a state folder. A control plane
// that serves on it closes it.
func PlainXDS(t testing.TB, stateDir string) net.Listener {
	t.Helper()
	l, err := unixsocket.Listen(context.WithoutCancel(t.Context()), serve.XDSSocket(stateDir))
	if err != nil {
		t.Fatal(err)
	}
	return l
}
