package agent

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/identity"
)

// keeper keeps a credential: it gets one, has it renewed at half of its life, and keeps the old one until it expires. One
// goroutine runs it.
type keeper struct {
	name        string     // of the proxy, in the log
	workload    string     // that the certificate must be for; "": whichever
	address     netip.Addr // likewise; none: whichever
	trustDomain string
	sign        signer
	tokens      tokenSource                                   // nil: there are none
	lasting     bool                                          // a token is good for any number of certificates, until it ends
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
	stuck    bool          // it could not be used or saved
	key      crypto.Signer // for the next one; nil: not made yet
	token    string        // that was not spent yet; "": none
	spent    string        // the last one that was
	spentBy  error         // why it got no certificate; nil: it did
	turn     bool          // it is a token's, since the certificate has just failed
	failures int           // in a row
	renewAt  moment
	retryAt  time.Time // after a failure; by the steady clock
	status   Status
}

// lookAgain bounds how long a keeper sleeps: the clock may be set, and the machine may sleep too.
const lookAgain = time.Minute

// run keeps the credential until ctx ends.
func (k *keeper) run(ctx context.Context) {
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

// resume takes up the credential of an earlier run and tells whether there is one. It is looked for until there is another: the
// clock may just have been too wrong for it.
func (k *keeper) resume() (bool, error) {
	c, err := k.load(k.trustDomain)
	now := k.now()
	if c != nil {
		if err = c.check(k.workload, now.wall); err == nil {
			err = c.isOf(k.address)
		}
	}
	if err != nil || c == nil {
		return false, err
	}
	c.asked = now
	k.take(c)
	begin, life := c.leaf().NotBefore, c.leaf().NotAfter.Sub(c.leaf().NotBefore)
	k.renewAt = now.after(halfLife(life, k.random()) - now.wall.Sub(begin))
	k.log.Info("certificate of before taken up", "proxy", k.name, "version", version(c))
	return true, nil
}

// version is how a certificate is named in the log.
func version(c *credential) string { return identity.Fingerprint(c.leaf())[:16] }

func (k *keeper) now() moment { return at(k.clock) }

// take makes a credential the present one.
func (k *keeper) take(c *credential) {
	k.current, k.key, k.token, k.failures, k.turn = c, nil, "", 0, false
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
	var before error
	if k.current == nil {
		var there bool
		if there, before = k.resume(); there {
			return
		}
	}
	c, err := k.renew(ctx)
	if err != nil && before != nil {
		err = fmt.Errorf("%w; the certificate of before cannot be used: %w", err, before)
	}
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
	k.log.Info("certificate received", "proxy", k.name, "version", version(c))
}

// renew returns a new credential. Its error holds no token.
func (k *keeper) renew(ctx context.Context) (*credential, error) {
	bound := attemptBound
	if good := k.good(k.now()); good > 0 {
		bound = min(bound, good)
	}
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	r, err := k.ask(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for a certificate: %w", err)
	}
	before := k.now()
	c, now, err := k.sign(ctx, r)
	if err == nil {
		c.key, c.asked, c.skew = r.key, before, now.Sub(before.wall)
		if err = c.check(k.workload, now); err == nil {
			err = c.isOf(k.address)
		}
		if err != nil {
			err = fmt.Errorf("what the authority signed: %w", err)
		}
	}
	code := status.Code(err)
	if err != nil {
		err = hide(innermost(err), r.token)
	}
	k.conclude(r, code, err)
	return c, err
}

// ask says who asks, and with which key: by the present certificate while it is good, else by a token. A certificate that has
// just failed takes turns with tokens, since the authority may trust it no longer, or we no longer the authority.
func (k *keeper) ask(ctx context.Context) (request, error) {
	r := request{current: k.current}
	good := k.good(k.now()) > 0
	if !good || k.turn {
		k.turn = false
		token, err := k.nextToken(ctx)
		if err != nil && !good {
			return r, err
		}
		r.token = token
	}
	if k.key == nil {
		var err error
		if k.key, err = k.nextKey(); err != nil {
			return r, fmt.Errorf("make a private key: %w", err)
		}
	}
	r.key = k.key
	return r, nil
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
	switch {
	case err != nil:
		return "", err
	case token == k.spent && k.spentBy != nil:
		return "", fmt.Errorf("%w but one that was refused: %w", errNoToken, k.spentBy)
	case token == k.spent:
		return "", fmt.Errorf("%w but one that was used", errNoToken)
	}
	k.token = token
	return token, nil
}

// conclude draws conclusions from how an attempt went. A token that came to nobody is still good, together with its key.
func (k *keeper) conclude(r request, code codes.Code, err error) {
	if k.lasting {
		k.token = "" // there may be a newer one by then
	}
	switch {
	case code == codes.ResourceExhausted:
	case r.token == "":
		k.turn = err != nil
	case k.lasting:
	case code == codes.Unavailable, code == codes.DeadlineExceeded, code == codes.Canceled:
	default:
		k.token, k.spent, k.spentBy = "", r.token, err
	}
}

// innermost returns an error of gRPC without what gRPC wraps around it, which says nothing to people. Others stay as they are.
func innermost(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	text := s.Message()
	const wrap = "connection error: desc = "
	if i := strings.LastIndex(text, wrap); i >= 0 {
		if quoted, err := strconv.QuotedPrefix(text[i+len(wrap):]); err == nil {
			text, _ = strconv.Unquote(quoted)
		}
	}
	return errors.New(strings.TrimPrefix(strings.TrimPrefix(text, "transport: "), "Error while dialing: "))
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
