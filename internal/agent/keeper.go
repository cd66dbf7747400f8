package agent

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/identity"
)

// request is what an authority needs to sign.
type request struct {
	csr     []byte      // DER
	token   string      // "": the present certificate says who asks
	current *credential // what is known of the control plane; nil: nothing yet
}

// signer asks the authority once. It returns a credential without its key, and what the authority's clock shows. The error
// is a gRPC status, or says that nobody answers.
type signer func(context.Context, request) (*credential, time.Time, error)

// keeper keeps a credential: it gets one, has it renewed at half of its life, and keeps the old one until it expires. One
// goroutine runs it.
type keeper struct {
	name        string // of the proxy, in the log
	workload    string // that the certificate must be for; "": whichever
	trustDomain string
	sign        signer
	tokens      tokenSource                                   // nil: there are none
	sameKey     bool                                          // for all certificates
	load        func(trustDomain string) (*credential, error) // the one of an earlier run, or nil
	save        func(*credential) error                       // for a later run
	use         func(*credential) error                       // is given each new one, and nil when there is none that is good
	tell        func(Status)                                  // is told how things are
	clock       func() time.Time                              // on the wall
	random      func() float64                                // of [0, 1)
	log         *slog.Logger

	current  *credential // the last one, which may have expired; nil: none yet
	used     *credential // what use was given last
	unsaved  bool
	stuck    bool   // it could not be used or saved
	token    string // that was not spent yet; "": none
	refused  bool   // the present certificate was not good enough for the authority
	failures int    // in a row
	renewAt  moment
	retryAt  time.Time // after a failure; by the steady clock
	status   Status
}

// lookAgain bounds how long a keeper sleeps: the clock may be set, and the machine may sleep too.
const lookAgain = time.Minute

// run keeps the credential until ctx ends.
func (k *keeper) run(ctx context.Context) {
	k.resume()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if k.due() {
			k.attempt(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		k.handOn()
		timer.Reset(k.wait())
	}
}

// resume takes up the credential of an earlier run.
func (k *keeper) resume() {
	c, err := k.load(k.trustDomain)
	now := k.now()
	if c != nil {
		err = c.check(k.workload, now.wall)
	}
	switch {
	case err != nil:
		k.log.Warn("certificate of before not used", "proxy", k.name, "err", err)
	case c != nil:
		c.received = now
		k.take(c)
		begin, life := c.leaf().NotBefore, c.leaf().NotAfter.Sub(c.leaf().NotBefore)
		k.renewAt = now.after(halfLife(life, k.random()) - now.wall.Sub(begin))
		k.handOn()
	}
}

func (k *keeper) now() moment { return at(k.clock) }

// take makes a credential the present one.
func (k *keeper) take(c *credential) {
	k.current, k.failures, k.refused, k.token = c, 0, false, ""
	k.succeeded()
}

// due tells whether it is time to ask the authority. Setting the clock must not put that off, nor hurry a retry.
func (k *keeper) due() bool {
	now := k.now()
	switch {
	case k.failures > 0:
		return !now.steady.Before(k.retryAt)
	case k.current == nil:
		return true
	default:
		return now.reached(k.renewAt)
	}
}

// wait returns how long there is nothing to do.
func (k *keeper) wait() time.Duration {
	now := k.now()
	next := k.renewAt.steady
	if k.failures > 0 {
		next = k.retryAt
	}
	wait := min(lookAgain, next.Sub(now.steady))
	if good := k.good(now); good > 0 {
		wait = min(wait, good)
	}
	return max(wait, time.Millisecond)
}

// good returns for how long the present credential is good, 0 when it is not.
func (k *keeper) good(now moment) time.Duration {
	if k.current == nil {
		return 0
	}
	return max(0, k.current.remaining(now))
}

// handOn gives the credential to who uses it, withdraws one that has expired, and keeps it for the next run.
func (k *keeper) handOn() {
	c := k.current
	if c != nil && k.good(k.now()) == 0 {
		if k.used == c {
			k.log.Error("certificate expired", "proxy", k.name)
		}
		c = nil
	}
	var problem error
	if c != k.used {
		if err := k.use(c); err != nil {
			problem = fmt.Errorf("hand on the certificate: %w", err)
		} else {
			k.used, k.unsaved = c, c != nil
		}
	}
	if k.unsaved {
		if err := k.save(c); err != nil {
			problem = errors.Join(problem, fmt.Errorf("keep the certificate: %w", err))
		} else {
			k.unsaved = false
		}
	}
	switch {
	case problem != nil:
		k.log.Warn("certificate not handed on", "proxy", k.name, "err", problem)
		k.failed(problem)
	case k.stuck && k.failures == 0:
		k.succeeded()
	}
	k.stuck = problem != nil
	k.status.describe(k.current, k.renewAt.wall)
	k.tell(k.status)
}

// failed remembers an error for who asks.
func (k *keeper) failed(err error) {
	k.status.LastError, k.status.LastErrorAt = cutError(err.Error()), k.now().wall.UTC()
}

func (k *keeper) succeeded() { k.status.LastError, k.status.LastErrorAt = "", time.Time{} }

// attempt asks the authority once, and says when to ask again.
func (k *keeper) attempt(ctx context.Context) {
	c, err := k.renew(ctx)
	if ctx.Err() != nil {
		return // we are to end
	}
	now := k.now()
	if err != nil {
		k.failures++
		k.status.Failures++
		k.retryAt = now.steady.Add(backOff(k.failures, k.good(now), k.random()))
		k.failed(err)
		k.log.Warn("no new certificate", "proxy", k.name, "err", err)
		return
	}
	k.take(c)
	k.status.Renewals++
	k.renewAt = now.after(halfLife(c.remaining(now), k.random()))
	k.log.Info("certificate received", "proxy", k.name, "version", identity.Fingerprint(c.leaf())[:16])
}

// renew returns a new credential. Its error holds no token.
func (k *keeper) renew(ctx context.Context) (*credential, error) {
	bound := attemptBound
	if good := k.good(k.now()); good > 0 {
		bound = min(bound, good)
	}
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	r, key, err := k.ask(ctx)
	if err != nil {
		return nil, err
	}
	before := k.now()
	c, now, err := k.sign(ctx, r)
	if err != nil {
		k.lost(r, err)
		return nil, hide(err, r.token)
	}
	c.key, c.received = key, k.now()
	c.skew = now.Sub(before.wall.Add(c.received.steady.Sub(before.steady) / 2)) // it looked at its clock in the middle
	if err := c.check(k.workload, now); err != nil {
		k.lost(r, err)
		return nil, hide(fmt.Errorf("what the authority signed: %w", err), r.token)
	}
	return c, nil
}

// ask says who asks, and with which key: by the present certificate while it is good, else by a token.
func (k *keeper) ask(ctx context.Context) (request, crypto.Signer, error) {
	r := request{current: k.current}
	good := k.good(k.now()) > 0
	if !good || k.refused {
		token, err := k.nextToken(ctx)
		if err != nil && !good {
			return r, nil, fmt.Errorf("ask for a certificate: %w", err)
		}
		r.token = token
		k.refused = false // the next time again by certificate
	}
	key, err := k.nextKey()
	if err != nil {
		return r, nil, fmt.Errorf("make a private key: %w", err)
	}
	r.csr, err = newRequest(key)
	return r, key, err
}

func (k *keeper) nextKey() (crypto.Signer, error) {
	if k.sameKey && k.current != nil {
		return k.current.key, nil
	}
	return newKey()
}

// nextToken returns the token that is left of an attempt which did not come through, or a new one.
func (k *keeper) nextToken(ctx context.Context) (string, error) {
	if k.token != "" {
		return k.token, nil
	}
	if k.tokens == nil {
		return "", errNoToken
	}
	token, err := k.tokens(ctx)
	if err == nil {
		k.token = token
	}
	return token, err
}

// lost draws conclusions from an error: a token that may have been looked at is spent, and a certificate that was refused
// is tried no longer where there is a token.
func (k *keeper) lost(r request, err error) {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Canceled:
		return
	case codes.Unauthenticated, codes.PermissionDenied:
		k.refused = r.token == ""
	}
	k.token = ""
}

// shortestSecret is what can be a secret in a token, in bytes.
const shortestSecret = 16

// hide takes a token out of an error: others chose its words.
func hide(err error, token string) error {
	text := err.Error()
	for _, part := range append([]string{token}, strings.Split(token, ".")...) {
		if len(part) >= shortestSecret {
			text = strings.ReplaceAll(text, part, "(the token)")
		}
	}
	if text == err.Error() {
		return err
	}
	return errors.New(text)
}
