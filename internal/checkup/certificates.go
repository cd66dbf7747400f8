package checkup

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

const (
	// late is how long after its time a renewal is late: an agent that is well tries again after a minute at most.
	late      = 2 * time.Minute
	latePart  = 20 // or that part of a certificate's life, where it is short
	shortPart = 10 // of its life: what is left is short
	// Clocks that differ by more than a certificate is dated back break it.
	muchSkew, tooMuchSkew = time.Minute, 5 * time.Minute
)

// certificates judges how the workloads prove who they are.
func (f *facts) certificates() (string, []Finding) {
	if f.authority == nil && f.away == nil {
		return "none", nil
	}
	var findings []Finding
	good, all, elsewhere, ended, without := 0, 0, 0, 0, 0
	var next time.Time
	for _, s := range f.seen {
		if s.Identity == "" && f.away == nil {
			without++
			continue
		}
		all++
		switch s.identity.State {
		case Good:
			good++
			if ends := s.chain.certificates[0].NotAfter; next.IsZero() || ends.Before(next) {
				next = ends
			}
		case Elsewhere:
			elsewhere++
		default:
		}
		if f.away != nil && !s.Running && s.Type != mesh.Proxyless {
			ended++ // nobody renews it
			continue
		}
		findings = append(findings, f.certificate(s)...)
	}
	if f.away != nil && all == 0 {
		return "no proxy has left one", nil
	}
	summary := fmt.Sprintf("good for %d of %s", good, number(all, "workload"))
	if without > 0 {
		summary += fmt.Sprintf(", %d without an identity", without)
	}
	if elsewhere > 0 {
		summary += fmt.Sprintf(", %d not on this machine", elsewhere)
	}
	if ended > 0 {
		summary += fmt.Sprintf(", %d not running", ended)
	}
	if !next.IsZero() {
		summary += ", the first expires " + f.when(next)
	}
	return summary, findings
}

// certificate judges one workload's.
func (f *facts) certificate(s *seen) []Finding {
	id := &s.identity
	tell := func(severity Verdict, code Code, fix, format string, args ...any) Finding {
		return Finding{Severity: severity, Code: code, Subject: string(s.ID), Proxy: s.ID, Message: fmt.Sprintf(format, args...), Fix: fix}
	}
	switch id.State {
	case None, Unreadable:
		if s.Running || id.Connected {
			return []Finding{tell(Error, NoCertificate, f.getCertificate(s), "it has no certificate: %s", id.Why)}
		}
		return nil // it starts
	case Elsewhere:
		if id.Connected && id.Proven == "" { // its agent is away, too
			return []Finding{tell(Error, NoCertificate, f.getCertificate(s), "it has connected without proving who it is, and speaks plain text")}
		}
		return nil
	default:
	}
	findings := f.life(s, tell)
	if named := id.Chain[0].URIs; len(named) != 1 || named[0] != s.Identity {
		findings = append(findings, tell(Error, OtherIdentity, "start it again: it then asks for a certificate of what it is now",
			"its certificate is for %s, and it is to be %s", listed(named, 1), s.Identity))
	}
	if f.distrusts(s) {
		findings = append(findings, tell(Error, TrustDiffers, "start it again: it then gets a certificate and roots of the authority of now",
			"its certificate or its roots are of another authority than the one of now: workloads on the two sides refuse each other"))
	}
	switch id.Envoy {
	case AnotherUse:
		findings = append(findings, tell(Error, EnvoyDiffers, "end its Envoy, which its agent starts again; the agent's log is "+s.agentLog(),
			"its Envoy does not use what its agent holds: %s", id.EnvoyWhy))
	case UnknownUse:
		if s.Running {
			findings = append(findings, tell(Warning, EnvoySilent, "look at "+s.agentLog(), "its Envoy cannot be asked what it uses: %s", id.EnvoyWhy))
		}
	default:
	}
	if skew := time.Duration(math.Abs(id.SkewSeconds) * float64(time.Second)); skew > muchSkew {
		severity := Warning
		if skew > tooMuchSkew {
			severity = Error
		}
		word := "behind"
		if id.SkewSeconds < 0 {
			word = "ahead of"
		}
		findings = append(findings, tell(severity, ClockSkew, "set the clock of its machine, with NTP for instance",
			"its clock is %s %s the authority's: certificates are taken for expired, or for not valid yet", Span(skew), word))
	}
	return findings
}

// life judges whether the certificate is renewed in time.
func (f *facts) life(s *seen, tell func(Verdict, Code, string, string, ...any) Finding) []Finding {
	id, leaf := &s.identity, s.chain.certificates[0]
	whole, left := leaf.NotAfter.Sub(leaf.NotBefore), leaf.NotAfter.Sub(f.now)
	why := ""
	if id.LastError != "" {
		why = ": " + id.LastError
	}
	fix := "its agent goes on trying; " + s.agentLog() + " says more"
	switch {
	case id.State == Past:
		return []Finding{tell(Error, Expired, f.getCertificate(s), "its certificate has expired %s%s", f.when(leaf.NotAfter), why)}
	case f.now.Sub(id.RenewAt) > min(late, whole/latePart):
		severity := Warning
		if left < whole/shortPart {
			severity = Error
		}
		return []Finding{tell(severity, RenewalLate, fix, "its certificate was to be renewed %s, and expires %s%s",
			f.when(id.RenewAt), f.when(leaf.NotAfter), cmp.Or(why, ": its agent does not run, or hangs"))}
	case id.LastError != "":
		return []Finding{tell(Warning, RenewalFailed, fix, "the last attempt to renew its certificate failed %s%s; it expires %s",
			f.when(id.LastErrorAt), why, f.when(leaf.NotAfter))}
	}
	return nil
}

// distrusts tells whether a workload and the authority of now do not trust one another.
func (f *facts) distrusts(s *seen) bool {
	leaf := s.chain.certificates[0]
	if len(f.bundle.Roots) == 0 {
		return false // nobody knows
	}
	if _, err := f.bundle.Verify(s.chain.certificates, leaf.NotAfter.Add(-time.Second)); err != nil {
		return true
	}
	return !slices.ContainsFunc(f.bundle.Roots, func(root *x509.Certificate) bool {
		return slices.ContainsFunc(s.chain.roots, func(own *x509.Certificate) bool { return bytes.Equal(own.Raw, root.Raw) })
	})
}

// getCertificate says how a workload comes by a certificate.
func (f *facts) getCertificate(s *seen) string {
	if s.here {
		return s.agentLog() + " says why; `lateen ca token " + string(s.ID) + "` makes a token for an agent that was started by hand"
	}
	return "give its agent --control-plane and a token that `lateen ca token " + string(s.ID) + "` makes"
}

func (s *seen) agentLog() string { return filepath.Join(s.dir, "agent.log") }
