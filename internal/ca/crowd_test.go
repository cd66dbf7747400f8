package ca_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/ca/capb"
	"github.com/lateen-mesh/lateen/internal/ca/enrol"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

// closed lets nobody through until it is opened.
type closed struct {
	attest.Attestor
	gate chan struct{}
}

func (c *closed) Attest(ctx context.Context, e attest.Evidence) (attest.Attested, error) {
	select {
	case <-c.gate:
		return c.Attestor.Attest(ctx, e)
	case <-ctx.Done():
		return attest.Attested{}, ctx.Err()
	}
}

// A thousand agents that come at the same time, over a thousand connections, each get their own certificate, whatever a greedy
// one and one without a token do meanwhile; and what they need of memory is bounded.
func TestThousandAgents(t *testing.T) {
	const (
		agents  = 1000
		perEach = 512 << 10 // bytes, both ends of the connection
	)
	r := newRig(t)
	door := &closed{Attestor: r.Attestor(), gate: make(chan struct{})}
	address := r.serve(t, door)
	tokens := r.tokens(t, agents)
	greedy := r.leafFor(t, identitytest.Peer(domain, "greedy", ""))
	before := heap()
	var all sync.WaitGroup
	for i := range agents {
		ask := r.ask(t, address)
		ask.Trust, ask.Token = nil, tokens[i]
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			answer, err := enrol.Request(ctx, ask)
			for status.Code(err) == codes.Unavailable && ctx.Err() == nil { // a busy machine: gRPC gives a connection 20 s
				answer, err = enrol.Request(ctx, ask)
			}
			if err != nil || answer.Peer != agent(i) || len(answer.Chain) != 1 {
				t.Errorf("agent %d is %s, %v", i, answer.Peer, err)
			}
		})
	}
	testkit.Await(t, "all agents wait", func() bool { return r.Status().Waiting == agents })
	if used := heap() - before; used > agents*perEach {
		t.Errorf("while all wait, %d KiB are used for each", used/agents>>10)
	} else {
		t.Logf("while all wait, %d KiB are used for each, both ends of its connection together", used/agents>>10)
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	r.beGreedy(t, &others, address, greedy, stop)
	close(door.gate)
	all.Wait()
	close(stop)
	others.Wait()
	if s := r.Status(); s.Issued[attest.ByToken] != agents+1 || s.Waiting != 0 || s.Tokens != 0 || s.Refused[ca.ReasonFailure] != 0 {
		t.Errorf("the status is %+v", s)
	}
}

func agent(i int) identity.Peer {
	return identitytest.Peer(domain, fmt.Sprintf("a%d", i), fmt.Sprintf("127.9.%d.%d", i/250, i%250+1))
}

// tokens returns a token for each agent.
func (r *rig) tokens(t *testing.T, agents int) []string {
	t.Helper()
	tokens := make([]string, agents)
	var all sync.WaitGroup
	for i := range tokens {
		all.Go(func() {
			token, _, err := r.Tokens().Issue(agent(i), time.Hour)
			if err != nil {
				t.Error(err)
			}
			tokens[i] = token.Reveal()
		})
	}
	all.Wait()
	return tokens
}

// beGreedy has one workload renew without pause, and somebody without a token try, until stop is closed. Neither gets more than
// it may.
func (r *rig) beGreedy(t *testing.T, all *sync.WaitGroup, address string, held tls.Certificate, stop <-chan struct{}) {
	t.Helper()
	csr := newCSR(t, identitytest.NewKey(t), x509.CertificateRequest{})
	ask := func(in *capb.SignRequest, want codes.Code) {
		got := 0
		for {
			select {
			case <-stop:
				return
			default:
			}
			client := &held
			if in.GetToken() != "" {
				client = nil
			}
			if _, err := r.call(t, address, client, in); err == nil {
				if got++; got > 9 || in.GetToken() != "" {
					t.Errorf("a greedy one gets certificate %d", got)
				}
			} else if status.Code(err) != want {
				t.Errorf("a greedy one gets %v", err)
			}
		}
	}
	for range 4 {
		all.Go(func() { ask(&capb.SignRequest{Csr: csr, Token: "x"}, codes.Unauthenticated) })
	}
	all.Go(func() { ask(&capb.SignRequest{Csr: csr}, codes.ResourceExhausted) })
}

// heap returns the bytes that are in use, as the collector finds them.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc + stats.StackInuse)
}
