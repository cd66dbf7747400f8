package meshtest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Load sends requests at a steady rate until it is stopped, over connections of which half are new for each request.
// Every failure counts: an error of the connection, a status other than 200, a body that is cut, and an answer that
// [Load.Expect] does not name.
type Load struct {
	t        testing.TB
	begun    time.Time
	stop     func()
	running  sync.WaitGroup
	sent     atomic.Int64
	failed   atomic.Int64
	expected atomic.Pointer[expectation]
	fresh    atomic.Int64 // times that new connections were asked for
	renewed  atomic.Int64 // clients that have dropped their old ones, each time counted

	mu    sync.Mutex
	first []string // of the failures
}

// expectation says which answers are right, and in which phase of a test.
type expectation struct {
	phase   string
	answers []string // none: any with status 200
}

// Status is how [Load.Expect] is told that an answer with a status other than 200 is right, or with 0 that none is.
func Status(code int) string { return statusPrefix + strconv.Itoa(code) }

const (
	statusPrefix    = "status "
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
	l.expected.Store(&expectation{})
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
	for dropped := int64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if dropped < l.fresh.Load() {
			client.CloseIdleConnections() // of its own transport, with no request under way
			dropped++
			l.renewed.Add(1)
		}
		before := l.expected.Load()
		// A request that was begun is finished: it must not fail because the load ends.
		answer, said := answerOf(context.WithoutCancel(ctx), client, url)
		now := l.expected.Load()
		l.sent.Add(1)
		if !before.takes(answer) && !now.takes(answer) {
			l.fail(fmt.Sprintf("%s: answered %q (%v), want %q or %q", now.phase, answer, said, before.answers, now.answers))
		}
	}
}

// answerOf returns the body of an answer, or its status if that is another one than 200 and its words as an error; 0 for none.
func answerOf(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Status(0), err
	}
	res, err := client.Do(req)
	if err != nil {
		return Status(0), err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return Status(0), err
	case res.StatusCode != http.StatusOK:
		return Status(res.StatusCode), fmt.Errorf("%.200s %v", body, res.Header)
	default:
		return string(body), nil
	}
}

// takes tells whether an answer is right.
func (e *expectation) takes(answer string) bool {
	return slices.Contains(e.answers, answer) || (len(e.answers) == 0 && !strings.HasPrefix(answer, statusPrefix))
}

func (l *Load) fail(what string) {
	l.failed.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.first) < toldFailures {
		l.first = append(l.first, fmt.Sprintf("%v after the start: %s", time.Since(l.begun).Round(time.Millisecond), what))
	}
}

// Expect says which answers are right from now on: bodies, and what [Status] returns. A request that has begun before may
// still be answered as it was right then.
func (l *Load) Expect(phase string, answers ...string) {
	l.expected.Store(&expectation{phase, answers})
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

// Reconnect returns when all requests go over connections that were opened after it was called.
func (l *Load) Reconnect() {
	l.t.Helper()
	want := l.fresh.Add(1) * loadConnections
	Await(l.t, "new connections of the load", func() bool { return l.renewed.Load() >= want })
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
