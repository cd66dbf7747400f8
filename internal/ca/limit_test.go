package ca

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/ca/capb"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
)

func TestRates(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	r := newRates(func() time.Time { return now }, 10*time.Second)
	take := func(workload string) int {
		n := 0
		for range 100 {
			if r.take(workload) == nil {
				n++
			}
		}
		return n
	}
	for _, step := range []struct {
		after time.Duration
		want  int
	}{
		{0, 10},
		{9 * time.Second, 0},
		{time.Second, 1},
		{35 * time.Second, 3},
		{5 * time.Second, 1},
		{time.Hour, 10},
		{-24 * time.Hour, 10}, // the clock was set back
	} {
		now = now.Add(step.after)
		if got := take("a"); got != step.want {
			t.Errorf("after %s it gets %d, want %d", step.after, got, step.want)
		}
	}
	if got := take("b"); got != 10 {
		t.Errorf("another one gets %d", got)
	}
	if err := r.take("b"); err == nil || !strings.Contains(err.Error(), "too many certificates for b") || !strings.Contains(err.Error(), "try again in 10s") {
		t.Errorf("the error is %v", err)
	}
}

// However many come, no more than a number are remembered, and none gets more since others came.
func TestRatesAreForgotten(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	r := newRates(func() time.Time { return now }, time.Hour)
	for range burst {
		if err := r.take("busy"); err != nil {
			t.Fatal(err)
		}
	}
	most := 0
	for i := range 3 * mostRates {
		if err := r.take(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		most = max(most, len(r.recent)+len(r.past))
		if i == mostRates/2 && (len(r.past) == 0 || r.take("busy") == nil) {
			t.Error("half as many others make one forgotten")
		}
	}
	if most > mostRates {
		t.Errorf("%d are remembered", most)
	}
	if len(r.recent) == 0 || len(r.past) != mostRates/2 {
		t.Errorf("%d and %d are remembered", len(r.recent), len(r.past))
	}
}

// atOnce believes every token.
type atOnce struct{}

func (atOnce) Attest(_ context.Context, e attest.Evidence) (attest.Attested, error) {
	return attest.Attested{Peer: identitytest.Peer("cluster.local", "w"+e.Token, ""), By: attest.ByToken}, nil
}

// Callers are served in the order in which they came. Who goes away leaves its place, and beyond a bound nobody waits.
func TestCallersAreServedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, time.Now)
		a.slots = semaphore.NewWeighted(1)
		if err := a.slots.Acquire(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		var served []string // one is signed at a time
		a.template = func(o order) (*x509.Certificate, error) {
			served = append(served, o.dns[0])
			return leafTemplate(o)
		}
		s := NewService(a, atOnce{})
		csr := csrOf(t, identitytest.NewKey(t), x509.CertificateRequest{})
		ask := func(ctx context.Context, token string) error {
			_, err := s.Sign(ctx, &capb.SignRequest{Csr: csr, Token: token})
			return err
		}
		var all sync.WaitGroup
		var want []string
		begin := func(ctx context.Context, token string, fails bool) {
			all.Go(func() {
				if err := ask(ctx, token); (err != nil) != fails {
					t.Errorf("%s: %v", token, err)
				}
			})
			synctest.Wait() // it is in its place
		}
		leaving, leave := context.WithCancel(t.Context())
		for i := range 100 {
			if token := fmt.Sprint(i); i == 50 {
				begin(leaving, token, true)
			} else {
				begin(t.Context(), token, false)
				want = append(want, identitytest.Peer("cluster.local", "w"+token, "").Workload)
			}
		}
		if n := a.Status().Waiting; n != 100 {
			t.Errorf("%d wait", n)
		}
		leave()
		synctest.Wait()
		a.slots.Release(1)
		all.Wait()
		if !slices.Equal(served, want) {
			t.Errorf("they are served in the order %v", served)
		}
		if s := a.Status(); s.Waiting != 0 || s.Issued[attest.ByToken] != 99 || s.Refused[ReasonBusy] != 1 {
			t.Errorf("the status is %+v", s)
		}
	})
}

// slow answers for tokens of ServiceAccounts when the gate opens, and for others at once.
type slow struct{ gate chan struct{} }

func (s slow) Attest(ctx context.Context, e attest.Evidence) (attest.Attested, error) {
	if e.ServiceAccount != "" {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return attest.Attested{}, ctx.Err()
		}
	}
	return atOnce{}.Attest(ctx, e)
}

// However many wait for an API server that does not answer, who needs nothing of it gets a certificate.
func TestWhoWaitsForOthersHoldsNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := open(t, time.Now)
		s := NewService(a, slow{make(chan struct{})})
		csr := csrOf(t, identitytest.NewKey(t), x509.CertificateRequest{})
		waiting, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 2 * slots {
			all.Go(func() {
				if _, err := s.Sign(waiting, &capb.SignRequest{Csr: csr, ServiceAccountToken: "x"}); err == nil {
					t.Error("one gets a certificate without an answer")
				}
			})
		}
		synctest.Wait()
		if n := a.Status().Waiting; n != 2*slots {
			t.Errorf("%d wait", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Sign(ctx, &capb.SignRequest{Csr: csr, Token: "y"}); err != nil {
			t.Errorf("another one: %v", err)
		}
		leave()
		all.Wait()
		if s := a.Status(); s.Waiting != 0 || s.Refused[ReasonBusy] != 2*slots || s.Refused[ReasonFailure] != 0 {
			t.Errorf("the status is %+v", s)
		}
	})
}

func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	a := open(t, time.Now)
	for range MostWaiting {
		a.counts.wait()
	}
	_, err := NewService(a, attest.First()).serve(t.Context(), &capb.SignRequest{Csr: csrOf(t, identitytest.NewKey(t), x509.CertificateRequest{})})
	if refused, ok := errors.AsType[*Refusal](err); !ok || refused.Reason != ReasonBusy {
		t.Errorf("the error is %v", err)
	}
	if n := a.Status().Waiting; n != MostWaiting {
		t.Errorf("%d wait", n)
	}
}
