package agent

import (
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/bootstrap"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

func TestExperiment(t *testing.T) {
	p := newProxy(t, http.NotFoundHandler())
	r := newRoot(t)
	plane := newPlane(t, r, identity.ControlPlane(trustDomain))
	text, err := bootstrap.Config{
		Node:         mesh.Node{Type: mesh.Sidecar, Address: "127.0.0.2", Name: "web-v1-0", Namespace: "default", Domain: "cluster.local"},
		ControlPlane: plane.address, TrustDomain: trustDomain, SDSSocket: p.config.SDSSocket(), AdminSocket: p.config.AdminSocket, BindSource: true,
	}.JSON()
	if err != nil {
		t.Fatal(err)
	}
	p.bootstrap(t, string(text))
	if os.Getenv("SHOW") != "" {
		t.Log(string(text))
	}
	s := newSecrets()
	stop, err := s.serve(t.Context(), p.config.SDSSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	p.config.Log = testLog(t)
	p.run(t)
	select {
	case <-plane.shown:
		t.Fatal("without a certificate")
	case e := <-p.events:
		t.Fatal(e)
	case <-time.After(20 * time.Second):
	}
	start := time.Now()
	if err := s.set(r.credential("web-v1-0.default", time.Hour)); err != nil {
		t.Fatal(err)
	}
	t.Log(await(t, plane.shown, "handshake").SerialNumber, time.Since(start))
	await(t, plane.opened, "stream")
	t.Log(time.Since(start))
	p.await(t, Ready)
	t.Log(time.Since(start))
	if err := s.set(r.credential("web-v1-0.default", time.Hour)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-plane.shown:
		t.Fatal("new handshake")
	case <-plane.ended:
		t.Fatal("stream ended")
	case <-time.After(2 * time.Second):
	}
	plane.cut()
	await(t, plane.ended, "end")
	t.Log(await(t, plane.shown, "handshake").SerialNumber)
	await(t, plane.opened, "stream")
}
