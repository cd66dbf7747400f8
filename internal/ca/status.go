package ca

import (
	"crypto/x509"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// Reason says why somebody got no certificate, or no connection.
type Reason string

// The reasons.
const (
	ReasonHandshake Reason = "handshake" // the connection speaks no TLS, or shows a certificate that is not accepted
	ReasonRequest   Reason = "request"   // the request for a certificate breaks a rule
	ReasonEvidence  Reason = "evidence"  // there is no proof who asks, or it does not hold
	ReasonOther     Reason = "identity"  // it names somebody else
	ReasonRate      Reason = "rate"      // the workload has asked too often
	ReasonBusy      Reason = "busy"      // too many wait, or who waited went away
	ReasonFailure   Reason = "failure"   // the authority's own: told in its log
)

// Reasons lists the reasons.
func Reasons() []Reason {
	return []Reason{ReasonHandshake, ReasonRequest, ReasonEvidence, ReasonOther, ReasonRate, ReasonBusy, ReasonFailure}
}

// Refusal is the error that a request gets no certificate, by its own fault or for now. Its text is for the caller.
type Refusal struct {
	Reason Reason
	err    error
}

// Error returns what is wrong.
func (r *Refusal) Error() string { return r.err.Error() }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.err }

func refusal(reason Reason, err error) error { return &Refusal{Reason: reason, err: err} }

// Certificate is what people see of an authority's certificate.
type Certificate struct {
	Subject     string
	Fingerprint string // SHA-256, hexadecimal
	NotBefore   time.Time
	NotAfter    time.Time
}

// Status is what people see of an authority. There is no secret in it.
type Status struct {
	TrustDomain string
	PluggedIn   bool
	TTL         time.Duration     // of a workload's certificate
	Roots       []Certificate     // that are trusted
	Issuing     []Certificate     // the one that signs, and those between it and the root
	Issued      map[string]uint64 // certificates since the start, by what proved who asks: "token", "certificate", "service-account"; "own": the control plane's
	Refused     map[Reason]uint64 // likewise, every reason with a number
	Waiting     int               // callers that wait for their turn
	Tokens      int               // join tokens that are out and were not used
	Restored    int               // files that were lost or changed, and were put back
	Problem     string            // what somebody has to do something about; "": nothing
}

// Status returns the status of now.
func (a *Authority) Status() Status {
	s := Status{
		TrustDomain: a.c.TrustDomain, PluggedIn: a.pluggedIn(), TTL: a.c.TTL,
		Roots: describe(a.signer.roots), Issuing: describe(a.signer.chain), Tokens: a.tokens.Outstanding(),
	}
	if len(s.Issuing) == 0 {
		s.Issuing = describe([]*x509.Certificate{a.signer.cert})
	}
	a.counts.read(&s)
	if s.Problem == "" {
		s.Problem = a.ending()
	}
	return s
}

// pluggedIn tells whether somebody else has made the authority.
func (a *Authority) pluggedIn() bool {
	_, plugged := a.keeper.(*pluggedKeeper)
	return plugged
}

// ending says that the authority's time is nearly over: a tenth is left, or less than two certificates.
func (a *Authority) ending() string {
	end := a.signer.ends()
	whole := end.Sub(a.signer.cert.NotBefore)
	if end.Sub(a.c.Now()) > max(whole/10, 2*a.c.TTL) {
		return ""
	}
	return fmt.Sprintf("the authority's own certificate ends at %s: no other will hold longer", end.UTC().Format(time.RFC3339))
}

func describe(all []*x509.Certificate) []Certificate {
	var described []Certificate
	for _, c := range all {
		described = append(described, Certificate{
			Subject: c.Subject.String(), Fingerprint: identity.Fingerprint(c), NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		})
	}
	return described
}

// counts is what has happened since the start.
type counts struct {
	mu       sync.Mutex
	issued   map[string]uint64
	refused  map[Reason]uint64
	waiting  int
	restored int
	problem  string
}

func newCounts() *counts {
	c := &counts{issued: map[string]uint64{attest.ByToken: 0, attest.ByCertificate: 0, attest.ByServiceAccount: 0, ownLeaf: 0}, refused: map[Reason]uint64{}}
	for _, r := range Reasons() {
		c.refused[r] = 0
	}
	return c
}

func (c *counts) issue(by string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.issued[by]++
}

func (c *counts) refuse(r Reason) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused[r]++
}

// wait counts a caller that waits, and tells whether it may.
func (c *counts) wait() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting >= MostWaiting {
		return false
	}
	c.waiting++
	return true
}

func (c *counts) served() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting--
}

// looked notes what became of the files, and tells whether there is something new to say.
func (c *counts) looked(restored int, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.restored += restored
	before := c.problem
	if c.problem = ""; err != nil {
		c.problem = err.Error()
	}
	return c.problem != "" && c.problem != before
}

func (c *counts) read(s *Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Issued, s.Refused = maps.Clone(c.issued), maps.Clone(c.refused)
	s.Waiting, s.Restored, s.Problem = c.waiting, c.restored, c.problem
}
