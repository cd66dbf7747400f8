package kube_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// onTheWay answers lists of Secrets whose names it is asked about in the place of the API server; nil: that answers.
type onTheWay func(ctx context.Context, secret string) (*http.Response, error)

func (f onTheWay) wrap(server http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		named, isOne := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
		if isOne && strings.HasSuffix(r.URL.Path, "/secrets") && r.URL.Query().Get("watch") == "" {
			secret, _, _ := strings.Cut(named, ",")
			if response, err := f(r.Context(), secret); response != nil || err != nil {
				return response, err
			}
		}
		return server.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// unreadSecrets counts the problems of Secrets that cannot be read.
func (r *rig) unreadSecrets(why string) int {
	return strings.Count(r.problems(), "is not good: it cannot be read: "+why)
}

// A Secret that the API server fails to read is told at its Ingress and holds up no other, and counts as soon as it can be read.
func TestSecretsThatFail(t *testing.T) {
	t.Parallel()
	s := kubetest.Start(t)
	install(t, s)
	ns := s.Namespace(t)
	good, key := pair(t, "a.example.com")
	for _, name := range []string{"good", "failing", "busy"} {
		s.Kubectl(t, tlsSecret("kubernetes.io/tls", name, good, key)+tlsIngress(name, "lateen", name), "create", "-n", ns, "-f", "-")
	}
	var mended atomic.Bool
	fails := onTheWay(func(_ context.Context, secret string) (*http.Response, error) {
		status := map[string]int{"failing": http.StatusInternalServerError, "busy": http.StatusTooManyRequests}[secret]
		if status == 0 || mended.Load() {
			return nil, nil //nolint:nilnil // the API server answers
		}
		w := httptest.NewRecorder()
		http.Error(w, "not now", status)
		return w.Result(), nil
	})
	r := watch(t, options{kubeconfig: s.Kubeconfig, namespaces: []string{ns}, patience: 100 * time.Millisecond, through: fails.wrap})
	r.source.TakeSettings(mesh.Settings{})
	r.await("the good one counts", func() bool { return r.Snapshot().Certificate(ns+"/good") != nil })
	r.await("the others are told", func() bool {
		return r.unreadSecrets("an error on the server")+r.unreadSecrets("the server has received too many requests") == 2
	})
	mended.Store(true)
	r.await("they count", func() bool {
		return r.Snapshot().Certificate(ns+"/failing") != nil && r.Snapshot().Certificate(ns+"/busy") != nil && r.unreadSecrets("") == 0
	})
}

// Of Secrets of which the API server says nothing few are asked for at a time, and they are not waited for without end.
func TestSecretsInSilence(t *testing.T) {
	t.Parallel()
	const all, atOnce = 20, 8
	s := kubetest.Start(t)
	install(t, s)
	ns := s.Namespace(t)
	var objects strings.Builder
	for i := range all {
		objects.WriteString(tlsIngress(fmt.Sprintf("a%d", i), "lateen", fmt.Sprintf("s%d", i)))
	}
	s.Kubectl(t, objects.String(), "create", "-n", ns, "-f", "-")
	var under atomic.Int32
	speaks := make(chan struct{})
	hangs := onTheWay(func(ctx context.Context, _ string) (*http.Response, error) {
		under.Add(1)
		defer under.Add(-1)
		select {
		case <-speaks:
			return nil, nil //nolint:nilnil // the API server answers
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	r := watch(t, options{kubeconfig: s.Kubeconfig, namespaces: []string{ns}, patience: 500 * time.Millisecond, through: hangs.wrap})
	r.source.TakeSettings(mesh.Settings{})
	r.await("all are told", func() bool { return r.unreadSecrets("the API server does not tell") == all })
	if got := under.Load(); got != atOnce {
		t.Errorf("%d lists are under way, want %d", got, atOnce)
	}
	close(speaks)
	r.await("all were read", func() bool { return r.unreadSecrets("") == 0 })
}
