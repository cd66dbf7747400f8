package kube_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
	"github.com/lateen-mesh/lateen/internal/kubetest"
)

// authority serves a certificate authority that knows the pods of a cluster.
func authority(t *testing.T, c *cluster) (a *ca.Authority, address string) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	a, err := ca.Open(ca.Config{State: t.TempDir(), TrustDomain: trustDomain, Log: log})
	must(t, err)
	t.Cleanup(func() { must(t, a.Close()) })
	service := ca.NewService(a, a.Attestor(c))
	door := ca.NewDoor(service, "lateen")
	ctx, cancel := context.WithCancel(t.Context())
	server := grpc.NewServer(grpc.Creds(door.Credentials()))
	service.Register(server)
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	must(t, err)
	var running sync.WaitGroup
	running.Go(func() { _ = door.Run(ctx) })
	running.Go(func() { _ = server.Serve(door.Listen(listener)) })
	t.Cleanup(func() { cancel(); server.Stop(); running.Wait() })
	return a, listener.Addr().String()
}

// An agent in a pod gets a certificate for it with the token and by the roots in its files, which are read whenever it asks: until
// both are what they must be it gets none, and says why.
func TestAgent(t *testing.T) {
	t.Parallel()
	c := newCluster(t, kubetest.Start(t), nil)
	a, address := authority(t, c)
	pod, other := c.pod(t, c.namespace, "web-0", "reviews", "10.244.0.7"), c.pod(t, c.namespace, "web-1", "reviews", "10.244.0.8")
	dir := t.TempDir()
	token, roots := filepath.Join(dir, "token"), filepath.Join(dir, "root-cert.pem")
	put := func(path string, text []byte) {
		t.Helper()
		must(t, os.WriteFile(path, text, 0o600))
	}
	put(token, []byte(c.token(t, "reviews", "lateen", boundTo(other))))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := agent.New(agent.Config{
			Proxyless: true, Node: "web-0." + c.namespace, Address: "10.244.0.7", Domain: "cluster.local", Dir: dir, ControlPlane: address,
			ServiceAccountToken: token, RootCert: roots, Log: slog.New(slog.DiscardHandler), Events: io.Discard,
		}).Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	await := func(what string, holds func(agent.Status) bool) {
		t.Helper()
		var s agent.Status
		look := time.NewTicker(10 * time.Millisecond)
		defer look.Stop()
		for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); <-look.C {
			var err error
			if s, err = agent.ReadStatus(dir); err == nil && holds(s) {
				return
			}
		}
		t.Fatalf("%s: the status is %+v", what, s)
	}
	await("without roots", func(s agent.Status) bool { return strings.Contains(s.LastError, roots) })
	put(roots, identitytest.PEM(identitytest.New(t, trustDomain, time.Now()).Cert))
	await("by roots of another mesh", func(s agent.Status) bool { return strings.Contains(s.LastError, "unknown authority") })
	put(roots, a.Bundle().PEM())
	await("with the token of another pod", func(s agent.Status) bool { return strings.Contains(s.LastError, `is not web-1.`+c.namespace) })
	if issued := a.Status().Issued["service-account"]; issued != 0 {
		t.Errorf("%d certificates were issued", issued)
	}
	put(token, []byte(c.token(t, "reviews", "lateen", boundTo(pod))))
	await("with its own", func(s agent.Status) bool { return s.LastError == "" && s.Renewals == 1 })
	s, err := agent.ReadStatus(dir)
	must(t, err)
	if s.Identity != "spiffe://cluster.local/ns/"+c.namespace+"/sa/reviews" || s.Workload != "web-0."+c.namespace || s.Address != "10.244.0.7" {
		t.Errorf("the certificate is of %s %s %s", s.Identity, s.Workload, s.Address)
	}
	if issued := a.Status().Issued["service-account"]; issued != 1 {
		t.Errorf("%d certificates were issued", issued)
	}
}
