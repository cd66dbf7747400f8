package webhook_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/owners"
	"github.com/lateen-mesh/lateen/internal/webhook"
)

// BenchmarkPods measures answers over HTTPS about a pod that gets its sidecar: one after the other, as many at once as a Deployment
// of a hundred replicas makes, and such pods of 1 MiB.
func BenchmarkPods(b *testing.B) {
	around := around{says: owners.Around{NamespaceLabels: map[string]string{mesh.InjectionLabel: "enabled"}}}
	web := httptest.NewUnstartedServer(newServer(b, around, nil).Handler())
	web.EnableHTTP2 = true
	web.StartTLS()
	b.Cleanup(web.Close)
	large := make([]any, 0, 10000)
	for i := range cap(large) {
		large = append(large, map[string]any{"name": "VARIABLE_" + strconv.Itoa(i), "value": string(bytes.Repeat([]byte{'x'}, 70))})
	}
	for _, c := range []struct {
		name   string
		atOnce int
		spec   map[string]any
	}{
		{"alone", 1, nil},
		{"100 at once", 100, nil},
		{"1 MiB alone", 1, map[string]any{"containers": []any{map[string]any{"name": "app", "image": "app:1", "env": large}}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			body, err := json.Marshal(reviewOf("pods", podOf(b, nil, c.spec)))
			must(b, err)
			var mu sync.Mutex
			var took []time.Duration
			ask := func() {
				began := time.Now()
				r, err := web.Client().Post(web.URL+webhook.MutatePath, "application/json", bytes.NewReader(body))
				if err != nil {
					b.Error(err)
					return
				}
				defer r.Body.Close()
				if answer, err := io.ReadAll(r.Body); err != nil || r.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"patch"`)) {
					b.Errorf("%d %v %.200s", r.StatusCode, err, answer)
				}
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(began))
			}
			ask() // the connection is there
			took = nil
			for b.Loop() {
				var all sync.WaitGroup
				for range c.atOnce {
					all.Go(ask)
				}
				all.Wait()
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2].Seconds()*1000, "p50-ms")
			b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "p99-ms")
		})
	}
}
