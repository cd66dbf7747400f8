package meshtest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Load sends requests at a steady rate until it is stopped, over connections of which half are new for each request.
// Every failure counts: an error of the connection, a status other than 200, a body that is cut.
type Load struct {
	t       testing.TB
	begun   time.Time
	stop    func()
	running sync.WaitGroup
	sent    atomic.Int64
	failed  atomic.Int64

	mu    sync.Mutex
	first []string // of the failures
}

const (
	loadConnections = 8
	loadRate        = 240 // requests per second
	toldFailures    = 10
)

// FullLoad tells whether load tests run at full length (`make soak`) instead of a tenth of it.
func FullLoad() bool { return os.Getenv("LATEEN_LOAD") == "full" }

// StartLoad starts a load through an instance's Envoy on a URL.
func StartLoad(t testing.TB, from *Instance, url string) *Load {
	t.Helper()
	return StartLoadWith(t, from.Client, url)
}

// StartLoadWith starts a load on a URL. Each client that newClient makes has a transport of its own.
func StartLoadWith(t testing.TB, newClient func() *http.Client, url string) *Load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	l := &Load{t: t, begun: time.Now(), stop: cancel}
	for i := range loadConnections {
		client := newClient()
		client.Timeout = Patience
		client.Transport.(*http.Transport).DisableKeepAlives = i%2 == 0
		l.running.Go(func() { l.send(ctx, client, url) })
	}
	t.Cleanup(func() {
		cancel()
		l.running.Wait()
	})
	return l
}

func (l *Load) send(ctx context.Context, client *http.Client, url string) {
	tick := time.NewTicker(time.Second * loadConnections / loadRate)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// A request that was begun is finished: it must not fail because the load ends.
		_, err := Fetch(context.WithoutCancel(ctx), client, url)
		l.sent.Add(1)
		if err != nil {
			l.failed.Add(1)
			l.mu.Lock()
			if len(l.first) < toldFailures {
				l.first = append(l.first, fmt.Sprintf("%v after the start: %v", time.Since(l.begun).Round(time.Millisecond), err))
			}
			l.mu.Unlock()
		}
	}
}

// More waits until so many more requests were answered, so that a test's steps are spread over the load.
func (l *Load) More(requests int64) {
	l.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(Patience)
	for want := l.sent.Load() + requests; l.sent.Load() < want; <-tick.C {
		if time.Now().After(end) {
			l.t.Fatalf("the load stands still: %d requests answered, %d failed", l.sent.Load(), l.failed.Load())
		}
	}
}

// Stop ends the load. No request may have failed.
func (l *Load) Stop(name string) {
	l.t.Helper()
	l.stop()
	l.running.Wait()
	took := time.Since(l.begun)
	rate := float64(l.sent.Load()) / took.Seconds()
	l.t.Logf("%s: %d requests in %v (%.0f/s), %d failed", name, l.sent.Load(), took.Round(time.Millisecond), rate, l.failed.Load())
	for _, f := range l.first {
		l.t.Errorf("%s: %s", name, f)
	}
	if rate < 200 {
		l.t.Errorf("%s: %.0f requests per second: the machine is too slow for 200, so this shows nothing", name, rate)
	}
}
