package agent

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/bootstrap"
)

// secure makes a proxy's agent one with an identity.
func (p *proxy) secure(t *testing.T, at *plane) {
	p.config.Name, p.config.Bootstrap, p.config.AdminSocket = "", "", ""
	p.config.Node, p.config.Type, p.config.Address, p.config.Domain = web.Workload, "sidecar", web.Address.String(), "cluster.local"
	p.config.ControlPlane = at.address
	p.config.Log = testLog(t)
}

// From the start of an agent to its Envoy's first stream, with a certificate that its agent got by a token.
func TestSecure(t *testing.T) {
	at := newPlane(t, 0)
	p := newProxy(t, http.NotFoundHandler())
	p.secure(t, at)
	p.config.Tokens = func(context.Context) (string, error) { return at.token(web), nil }
	begin := time.Now()
	p.run(t)
	shown := await(t, at.opened, "a stream")
	t.Log("first stream after", time.Since(begin))
	p.await(t, Ready)
	t.Log("ready after", time.Since(begin))
	status, err := ReadStatus(p.config.Dir)
	t.Logf("%v %+v", err, status)
	if shown.DNSNames[0] != web.Workload {
		t.Error(shown.DNSNames)
	}
	_ = bootstrap.UnixPrefix
}
