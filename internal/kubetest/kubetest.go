// Package kubetest gives tests a real Kubernetes API server, with etcd and without anything else: no kubelet, no
// controllers.
//
// [Start] returns the one that all tests of a test binary share; it is started by the first of them, in about five seconds,
// and ends with the binary. So each test works in a [Server.Namespace] of its own. [StartOwn] starts one for a single test,
// which may stop it and start it again, or change what belongs to no namespace. Both listen on an address of their own in
// 127.0.0.0/8.
//
// Everything that needs a controller does not happen: no Deployment gets pods, no namespace that is deleted goes away, no
// object goes with its owner, and no ServiceAccount is made with a namespace (nor needed by a pod). Tokens, TokenReviews,
// RBAC, CRDs, admission webhooks and policies, and watches work as ever.
//
// The server is the one that `make kubernetes` builds; etcd is Debian's (etcd-server). A test that does not find them fails.
// Only tests import this package. Linux only.
package kubetest

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/process"
	"github.com/lateen-mesh/lateen/internal/testcluster"
)

const (
	patience = 90 * time.Second // bounds a start; a busy machine takes long
	stopTime = 2 * time.Second  // bounds an orderly end: the API server would wait for its watches for long
	tries    = 3                // at addresses
	tail     = 30               // lines of a log that an error shows
)

// Server is a running API server.
type Server struct {
	// URL is where it answers: https://127.X.Y.Z:PORT.
	URL string
	// CA, Cert and Key are PEM files: of the authority of the server, and the certificate and key of an administrator.
	CA, Cert, Key string
	// Kubeconfig is a file that says all of this.
	Kubeconfig string

	config    testcluster.Server
	authority *testcluster.Authority
	etcd      *process.Process
	api       *process.Process
	own       bool
	common    sync.Mutex // one test at a time makes what several need
}

// shared is the server of this test binary. It has to outlive the test that starts it, so no test can hold it.
var shared struct {
	once   sync.Once
	pipe   io.Closer // its end removes the files of the server
	server *Server
	err    error
}

// Start returns the server that the tests of this binary share.
func Start(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() {
		var dir string
		if dir, shared.pipe, shared.err = lastingDir(); shared.err == nil {
			shared.server, shared.err = start(context.WithoutCancel(t.Context()), dir)
		}
	})
	if shared.err != nil {
		t.Fatalf("kubetest: %v", shared.err)
	}
	return shared.server
}

// StartOwn starts a server for this test alone. It ends with the test.
func StartOwn(t testing.TB) *Server {
	t.Helper()
	s, err := start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatalf("kubetest: %v", err)
	}
	s.own = true
	t.Cleanup(func() {
		s.api.Kill()
		s.etcd.Kill()
	})
	return s
}

// start starts a server whose files are in a folder.
func start(ctx context.Context, dir string) (*Server, error) {
	root, err := testcluster.Root(".")
	if err != nil {
		return nil, err
	}
	c := testcluster.Server{Dir: dir, Alone: true}
	if c.Kube, err = testcluster.Binary(root, "kube"); err != nil {
		return nil, err
	}
	if c.Etcd, err = testcluster.Program("etcd"); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		// Fixed ports at one of four million addresses: nobody else listens there.
		c.Address = fmt.Sprintf("127.%d.%d.%d", 64+rand.IntN(64), rand.IntN(256), 1+rand.IntN(254))
		s, err := startAt(ctx, c)
		if err == nil || try == tries {
			return s, err
		}
	}
}

func startAt(ctx context.Context, c testcluster.Server) (*Server, error) {
	authority, err := c.MakePKI()
	if err != nil {
		return nil, err
	}
	pki := filepath.Join(c.Dir, "pki")
	s := &Server{
		URL: c.URL(), CA: authority.File(), Cert: filepath.Join(pki, "admin.crt"), Key: filepath.Join(pki, "admin.key"),
		Kubeconfig: filepath.Join(pki, "admin.kubeconfig"), config: c, authority: authority,
	}
	if s.etcd, err = run(c.Dir, "etcd", c.EtcdCommand()); err != nil {
		return nil, err
	}
	if err := s.startAPI(ctx); err != nil {
		s.etcd.Kill()
		return nil, err
	}
	return s, nil
}

// startAPI starts the API server and returns when it is ready, or when one of the two processes has ended.
func (s *Server) startAPI(ctx context.Context) error {
	var err error
	if s.api, err = run(s.config.Dir, "kube-apiserver", s.config.APIServerCommand()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not ready after %v", patience))
	defer cancel()
	return s.awaitReady(ctx)
}

// awaitReady waits for the server; it gives up when a process ends.
func (s *Server) awaitReady(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	api := s.api
	go func() {
		select {
		case <-api.Done():
			stop(fmt.Errorf("kube-apiserver ended\n%s", logTail(s.config.Dir, "kube-apiserver")))
		case <-s.etcd.Done():
			stop(fmt.Errorf("etcd ended\n%s", logTail(s.config.Dir, "etcd")))
		case <-ctx.Done():
		}
	}()
	err := s.config.AwaitReady(ctx)
	if err != nil {
		s.api.Kill()
	}
	return err
}
