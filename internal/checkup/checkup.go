// Package checkup looks whether the identities of a mesh are as they should be, and says what to do where they are not.
//
// What comes in: what the control plane tells over its API, and, for each proxy that runs on this machine, what its agent says of
// its certificate, its access log, and what its Envoy says over the socket of its admin interface. What goes out: a [Report]
// with a verdict, and the [Identity] of each workload.
//
// Where no control plane answers, it goes by what is in the state folder, and says what is not known.
//
// Everything is read once and then judged: the judgements read no file and no clock. It promises to change nothing, to show no
// key and no token, and to bound what it reads of each proxy. What it cannot read it says, and goes on without.
package checkup

import (
	"context"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Mesh says where to look.
type Mesh struct {
	Name string
	Dir  string // state folder; "": it is not on this machine
	API  *api.Client
	// Look returns a page of a proxy that is not on this machine, as [agent.Look] does where it is; nil: it cannot be looked at.
	Look  func(ctx context.Context, proxy mesh.ProxyID, page string) ([]byte, error)
	Since time.Duration // how far back access logs are read
}

// Verdict says how something is.
type Verdict string

// The verdicts, from good to bad.
const (
	OK      Verdict = "ok"
	Warning Verdict = "warning"
	Error   Verdict = "error"
	Unknown Verdict = "unknown" // of an area only: it could not be looked at
)

// rank orders verdicts.
func (v Verdict) rank() int { return slices.Index([]Verdict{OK, Warning, Error}, v) }

// Report is what there is to say of a mesh.
type Report struct {
	Mesh     string    `json:"mesh"`
	Verdict  Verdict   `json:"verdict"`  // the worst one
	Areas    []Area    `json:"areas"`    // what was looked at, always the same
	Findings []Finding `json:"findings"` // by area
}

// Area is a part of what was looked at.
type Area struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"` // the worst one of its findings
	Summary string  `json:"summary"` // of what is there
}

// Finding is one thing that is not as it should be.
type Finding struct {
	Area     string       `json:"area"`
	Severity Verdict      `json:"severity"` // warning or error
	Code     Code         `json:"code"`
	Subject  string       `json:"subject"` // what it is about: a proxy, "HOST:PORT", an object
	Message  string       `json:"message"`
	Fix      string       `json:"fix"`               // what to do
	Proxy    mesh.ProxyID `json:"proxy,omitempty"`   // that it is about
	Count    int          `json:"count,omitempty"`   // of connections, endpoints, ports or streams
	Sources  []Source     `json:"sources,omitempty"` // where those come from, most first
}

// Source is an address that connections come from.
type Source struct {
	Address  string       `json:"address"`
	Workload mesh.ProxyID `json:"workload,omitempty"` // whose address it is; missing: nobody's in the mesh
	Count    int          `json:"count"`
	Last     time.Time    `json:"last"`
}

// Code names a kind of finding.
type Code string

// The kinds of findings.
const (
	NoAnswer          Code = "no-answer"
	NotReady          Code = "not-ready"
	StaleSource       Code = "stale-source"
	NoAuthority       Code = "no-authority"
	AuthorityProblem  Code = "authority-problem"
	AuthorityRestored Code = "authority-restored"
	AuthorityExpires  Code = "authority-expires"
	NoCertificate     Code = "no-certificate"
	Expired           Code = "certificate-expired"
	RenewalLate       Code = "renewal-late"
	RenewalFailed     Code = "renewal-failed"
	OtherIdentity     Code = "other-identity"
	TrustDiffers      Code = "trust-differs"
	EnvoyDiffers      Code = "envoy-differs"
	EnvoySilent       Code = "envoy-silent"
	ClockSkew         Code = "clock-skew"
	ProxyAway         Code = "proxy-away"
	ProxySilent       Code = "proxy-silent"
	ProxyBehind       Code = "proxy-behind"
	ProxyRefuses      Code = "proxy-refuses"
	ProxyTwice        Code = "proxy-twice"
	ProxyUnknown      Code = "proxy-unknown"
	OpenPort          Code = "open-port"
	UnprovenEndpoint  Code = "unproven-endpoint"
	PlainCallers      Code = "plain-callers"
	TurnedAway        Code = "turned-away"
	HandoverWaits     Code = "handover-waits"
	ObjectProblem     Code = "object-problem"
)

// Codes lists the kinds of findings.
func Codes() []Code {
	return []Code{
		NoAnswer, NotReady, StaleSource, NoAuthority, AuthorityProblem, AuthorityRestored, AuthorityExpires, NoCertificate, Expired, RenewalLate,
		RenewalFailed, OtherIdentity, TrustDiffers, EnvoyDiffers, EnvoySilent, ClockSkew, ProxyAway, ProxySilent, ProxyBehind, ProxyRefuses, ProxyTwice, ProxyUnknown, OpenPort,
		UnprovenEndpoint, PlainCallers, TurnedAway, HandoverWaits, ObjectProblem,
	}
}

// Run looks at a mesh and judges it.
func Run(ctx context.Context, m Mesh) (Report, error) {
	f, err := look(ctx, m)
	if err != nil {
		return Report{}, err
	}
	return f.report(m.Name), nil
}

// Summaries of areas that could not be looked at.
const (
	notKnown = "not known: the control plane does not answer"
	notYet   = "not known yet: the control plane starts"
)

// starting tells whether the control plane answers and knows nothing yet.
func (f *facts) starting() bool { return f.away == nil && !f.status.Ready }

// areas are the parts of a report, in its order. Each says what there is, and what is not as it should be.
var areas = []struct {
	name  string
	judge func(*facts) (summary string, findings []Finding)
}{
	{"control plane", (*facts).controlPlane},
	{"authority", (*facts).authorityArea},
	{"certificates", (*facts).certificates},
	{"proxies", (*facts).proxiesArea},
	{"ports", (*facts).ports},
	{"callers", (*facts).callers},
	{"handovers", (*facts).handoversArea},
	{"objects", (*facts).objects},
}

// report judges everything.
func (f *facts) report(name string) Report {
	r := Report{Mesh: name, Verdict: OK, Findings: []Finding{}}
	for _, a := range areas {
		summary, findings := a.judge(f)
		if f.starting() && len(findings) == 0 && a.name != "authority" {
			summary = notYet
		}
		area := Area{Name: a.name, Verdict: OK, Summary: summary}
		if summary == notKnown || summary == notYet {
			area.Verdict = Unknown
		}
		slices.SortStableFunc(findings, func(a, b Finding) int { return b.Severity.rank() - a.Severity.rank() })
		for _, finding := range findings {
			finding.Area = a.name
			area.Verdict = Worse(area.Verdict, finding.Severity)
			r.Findings = append(r.Findings, finding)
		}
		r.Verdict = Worse(r.Verdict, area.Verdict)
		r.Areas = append(r.Areas, area)
	}
	return r
}

// Worse returns the worse one of two verdicts. One that is unknown is no worse than any other.
func Worse(a, b Verdict) Verdict {
	if b.rank() > a.rank() {
		return b
	}
	return a
}
