package checkup

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
)

// controlPlane judges whether the control plane knows what runs.
func (f *facts) controlPlane() (string, []Finding) {
	if f.away != nil {
		return "away", []Finding{{
			Severity: Error, Code: NoAnswer, Subject: "control plane",
			Message: oneLine(f.away.Error()) + ": proxies go on with what they have, and what follows is from files",
			Fix:     f.answerFix(),
		}}
	}
	var findings []Finding
	if !f.status.Ready {
		findings = append(findings, Finding{
			Severity: Error, Code: NotReady, Subject: "control plane",
			Message: "it has not started yet: it waits for " + strings.Join(f.status.Missing, ", "),
			Fix:     "look at the terminal of `lateen up`, or at the log of `lateen serve`: they say how to tell it",
		})
	}
	if f.starting() {
		return "starts", findings
	}
	for _, source := range f.status.Stale {
		findings = append(findings, Finding{
			Severity: Warning, Code: StaleSource, Subject: "source " + source,
			Message: "it has said nothing since the control plane started: what it said before counts",
			Fix:     "look at the log of the control plane for what is wrong with it",
		})
	}
	return fmt.Sprintf("change %d, %s, %s", f.status.Revision, number(len(f.services), "service"), number(len(f.seen), "workload")), findings
}

// answerFix says how there is a control plane again.
func (f *facts) answerFix() string {
	if errors.Is(f.away, api.ErrSilent) {
		return "it hangs, is stopped, or has far too much to do: look at its process and its log, and end it if need be: `lateen up` starts another"
	}
	return "start it again, or look at the terminal of `lateen up` or the log of `lateen serve`: they say why it has ended"
}

const (
	soon     = 30 * 24 * time.Hour // before it ends an authority's certificate is to be replaced
	soonPart = 10                  // or that part of its life, where it is short
)

// authorityArea judges the certificate authority.
func (f *facts) authorityArea() (string, []Finding) {
	a := f.authority
	switch {
	case a == nil && f.away != nil:
		return notKnown, nil
	case f.away != nil && a.Problem != "":
		return "its files are not as they were", []Finding{{
			Severity: Error, Code: AuthorityProblem, Subject: "authority", Message: oneLine(a.Problem), Fix: cmp.Or(f.fix, f.mendAuthority(a)),
		}}
	case f.away != nil && a.Plugged:
		return a.TrustDomain + ", plugged in", nil
	case a == nil:
		return "none: nobody in this mesh proves who it is", []Finding{{
			Severity: Warning, Code: NoAuthority, Subject: "authority",
			Message: "the control plane gives no identities: proxies speak plain text, and believe what others say of themselves",
			Fix:     "start `lateen serve` with --secure-address, and agents with --control-plane",
		}}
	}
	var findings []Finding
	ends, ending := f.ends(a)
	switch {
	case ending:
		findings = append(findings, Finding{
			Severity: f.endSeverity(ends, time.Duration(a.CertTTL)), Code: AuthorityExpires, Subject: ends.Subject,
			Message: fmt.Sprintf("this certificate of the authority ends on %s, %s: no other will hold longer", ends.NotAfter.Format(time.DateOnly), f.when(ends.NotAfter)),
			Fix:     f.replaceAuthority(a),
		})
	case a.Problem != "":
		findings = append(findings, Finding{
			Severity: Error, Code: AuthorityProblem, Subject: "authority", Message: oneLine(a.Problem), Fix: f.mendAuthority(a),
		})
	}
	if a.Restored > 0 {
		findings = append(findings, Finding{
			Severity: Warning, Code: AuthorityRestored, Subject: "authority",
			Message: fmt.Sprintf("its files were lost or changed %s since the control plane started, and were put back", times(a.Restored)),
			Fix:     "find out who touches " + filepath.Join(f.dir, "ca") + ", and keep a copy of root.pem: when it is lost before a start, the mesh does not start",
		})
	}
	whose := "a root of its own"
	if a.Plugged {
		whose = "plugged in"
	}
	return fmt.Sprintf("%s, %s, holds until %s, %s", a.TrustDomain, whose, ends.NotAfter.Format(time.DateOnly), f.when(ends.NotAfter)), findings
}

// ends returns the certificate of the authority that ends first, and whether that is soon.
func (f *facts) ends(a *api.Authority) (first api.AuthorityCertificate, ending bool) {
	for _, list := range [][]api.AuthorityCertificate{a.Issuing, a.Roots} {
		for _, c := range list {
			if first.NotAfter.IsZero() || c.NotAfter.Before(first.NotAfter) {
				first = c
			}
		}
	}
	left, life := first.NotAfter.Sub(f.now), first.NotAfter.Sub(first.NotBefore)
	return first, left < min(soon, life/soonPart) || left < 2*time.Duration(a.CertTTL)
}

func (f *facts) endSeverity(c api.AuthorityCertificate, ttl time.Duration) Verdict {
	if c.NotAfter.Sub(f.now) < ttl {
		return Error
	}
	return Warning
}

func (f *facts) replaceAuthority(a *api.Authority) string {
	if a.Plugged {
		return "put a new certificate in the files that --signing-cert and --cert-chain name, and start the control plane again"
	}
	return "stop the mesh, remove " + filepath.Join(f.dir, "ca", "root.pem") + " and " + filepath.Join(f.dir, "ca.made") +
		", and start it again: it makes a new root"
}

func (f *facts) mendAuthority(a *api.Authority) string {
	if a.Plugged {
		return "put the files right that --signing-cert, --signing-key, --cert-chain and --root-cert name, then start the control plane again"
	}
	return "see that " + filepath.Join(f.dir, "ca") + " can be written to: it signs on from memory, but would not start again"
}

// when says how far away a time is.
func (f *facts) when(t time.Time) string {
	if d := t.Sub(f.now); d >= 0 {
		return "in " + Span(d)
	}
	return Span(f.now.Sub(t)) + " ago"
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
