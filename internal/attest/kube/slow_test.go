package kube_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/attest/kube"
	"github.com/lateen-mesh/lateen/internal/kubeapi"
)

// silent is an API server that answers nothing.
type silent struct{ asked, most atomic.Int32 }

func (s *silent) RoundTrip(q *http.Request) (*http.Response, error) {
	s.most.Store(max(s.most.Load(), s.asked.Add(1)))
	defer s.asked.Add(-1)
	<-q.Context().Done()
	return nil, q.Context().Err()
}

// An API server that answers nothing is asked a few things at a time; so many wait for it and no more, and nobody for ever.
func TestServerIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := new(silent)
		client, err := kubeapi.New(&rest.Config{Host: "http://api", Transport: server, QPS: -1})
		must(t, err)
		a := kube.New(kube.Config{Client: client, TrustDomain: trustDomain})
		text, err := json.Marshal(map[string]any{"aud": "lateen", "exp": time.Now().Add(time.Hour).Unix()})
		must(t, err)
		e := attest.Evidence{ServiceAccount: "x." + base64.RawURLEncoding.EncodeToString(text) + ".x"}
		begun := time.Now()
		var all sync.WaitGroup
		for range 1024 {
			all.Go(func() {
				_, err := a.Attest(t.Context(), e)
				if _, refused := errors.AsType[*attest.Refused](err); err == nil || refused || errors.Is(err, attest.ErrBusy) {
					t.Errorf("one who waits: %v", err)
				}
			})
		}
		synctest.Wait()
		if n := server.asked.Load(); n != 16 {
			t.Errorf("it is asked %d things at a time", n)
		}
		if _, err := a.Attest(t.Context(), e); !errors.Is(err, attest.ErrBusy) {
			t.Errorf("one more: %v", err)
		}
		all.Wait()
		if took := time.Since(begun); took > 30*time.Second {
			t.Errorf("the last one has waited for %s", took)
		}
		if n := server.most.Load(); n > 16 {
			t.Errorf("it was asked %d things at a time", n)
		}
	})
}
