package checkup

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// proxiesArea judges whether the proxies have what they are to have.
func (f *facts) proxiesArea() (string, []Finding) {
	if f.away != nil {
		return notKnown, nil
	}
	var findings []Finding
	connected, current := 0, 0
	for _, s := range f.seen {
		p := f.proxies[s.ID]
		if p == nil {
			continue // it starts, or its library is not connected
		}
		tell := func(severity Verdict, code Code, fix, format string, args ...any) {
			findings = append(findings, Finding{
				Severity: severity, Code: code, Subject: string(s.ID), Proxy: s.ID, Message: fmt.Sprintf(format, args...), Fix: fix,
			})
		}
		if p.Connected {
			connected++
		}
		if p.Current {
			current++
		}
		switch {
		case !p.Connected:
			tell(Error, ProxyAway, s.agentLog()+" says why; it goes on with what it has, and holds up changes of how ports are secured",
				"it runs and has been away for %s", Span(f.now.Sub(p.Since)))
		case len(p.Refused) > 0:
			tell(Error, ProxyRefuses, "`lateen proxies "+string(s.ID)+"` shows all of it; correct the object, or delete it",
				"it refuses %s: %s", number(len(p.Refused), "resource"), oneLine(p.Refused[0]))
		case p.Silent:
			tell(Warning, ProxySilent, "look at "+s.agentLog(), "it takes no messages")
		case time.Duration(p.UnansweredSeconds)*time.Second >= answerPatience:
			tell(Warning, ProxyBehind, "`lateen proxies "+string(s.ID)+"` shows what; look at "+s.agentLog(),
				"it is out of sync: it has not confirmed %s for %s", number(max(p.Behind, 1), "resource"), Span(time.Duration(p.UnansweredSeconds)*time.Second))
		}
		findings = append(findings, f.twice(s)...)
	}
	findings = append(findings, f.strangers()...)
	return fmt.Sprintf("%d connected, %d in sync", connected, current), findings
}

// answerPatience is how long a proxy may take to answer what it was sent: new clusters wait for their endpoints meanwhile.
const answerPatience = 10 * time.Second

// streamPatience is how long it may be that a proxy has two streams, since it has just lost one, or that a workload is not known
// yet whose proxy is there already.
const streamPatience = 10 * time.Second

// twice finds out whether there are two where there is to be one. A library without a proxy has a stream for each name it calls.
func (f *facts) twice(s *seen) []Finding {
	begun := slices.Clone(f.streams[s.ID])
	if s.Type == mesh.Proxyless || len(begun) < 2 {
		return nil
	}
	slices.SortFunc(begun, time.Time.Compare)
	if f.now.Sub(begun[1]) < streamPatience {
		return nil
	}
	fix := "look which agents run with --node of it, and end all but its own"
	if f.proxies[s.ID].Identity != "" {
		fix += "; if there is no second one, its key was copied, and cannot be called back: give the workload another account, and start it again"
	}
	return []Finding{{
		Severity: Warning, Code: ProxyTwice, Subject: string(s.ID), Proxy: s.ID, Count: len(begun), Fix: fix,
		Message: fmt.Sprintf("%s at a time say that they are it, for %s: a second agent runs for it, or somebody has a copy of its certificate",
			number(len(begun), "proxy"), Span(f.now.Sub(begun[1]))),
	}}
}

// strangers finds the proxies that wait in vain.
func (f *facts) strangers() []Finding {
	var findings []Finding
	for _, w := range f.status.Waiting {
		if !f.status.Ready || f.now.Sub(w.Since) < streamPatience {
			continue
		}
		named := Finding{
			Severity: Warning, Code: ProxyUnknown, Subject: oneLine(string(w.ID)), Proxy: w.ID, Count: w.Streams,
			Message: fmt.Sprintf("it has been connected for %s and gets no configuration: the mesh knows no workload of this name", Span(f.now.Sub(w.Since))),
			Fix:     "add the workload to what runs, or end its agent, if it is not to run; its --node is to say NAME.NAMESPACE as `lateen ca show` lists them",
		}
		if i := slices.IndexFunc(f.seen, func(s *seen) bool { return s.ID == w.ID }); i >= 0 {
			named.Message = fmt.Sprintf("one of type %s of this name has been connected for %s and gets no configuration: the workload is of type %s", w.Type, Span(f.now.Sub(w.Since)), f.seen[i].Type)
			named.Fix = "start its agent as what the workload is, or end it"
		}
		if w.Identity != "" {
			named.Message += "; it has proven to be " + oneLine(w.Identity)
		}
		findings = append(findings, named)
	}
	return findings
}

// handoverPatience is how long a step of a handover takes at most when all is well.
const handoverPatience = 10 * time.Second

// stuck are the ports and hosts whose changes hang at the same step for the same reason.
type stuck struct {
	severity  Verdict
	fix, step string
	since     time.Time
	subjects  []string
}

// handoversArea judges whether changes of how ports are secured go on.
func (f *facts) handoversArea() (string, []Finding) {
	if f.away != nil {
		return notKnown, nil
	}
	var groups []*stuck
	for _, h := range f.handovers {
		if f.now.Sub(h.Since) < handoverPatience && len(h.Refused) == 0 {
			continue
		}
		severity, fix := Warning, "it goes on by itself when they have confirmed; `lateen proxies` shows them"
		switch {
		case len(h.Refused) > 0:
			severity, fix = Error, "`lateen proxies NAME` shows what is refused: "+listed(oneLines(h.Refused), 1)
		case len(h.Away) > 0:
			fix = "bring back, or end, what is away: " + listed(h.Away, shownSources)
		case len(h.WaitingFor) > 0:
			fix = "look why these do not confirm: " + listed(h.WaitingFor, shownSources)
		}
		subject := shortHost(h.Host)
		if h.Port != 0 {
			subject = f.portName(h.Host, h.Port)
		}
		i := slices.IndexFunc(groups, func(g *stuck) bool { return g.severity == severity && g.fix == fix && g.step == h.Step })
		if i < 0 {
			i, groups = len(groups), append(groups, &stuck{severity: severity, fix: fix, step: h.Step, since: h.Since})
		}
		g := groups[i]
		if g.subjects = append(g.subjects, subject); h.Since.Before(g.since) {
			g.since = h.Since
		}
	}
	var findings []Finding
	for _, g := range groups {
		it := "it is"
		if len(g.subjects) > 1 {
			it = "they are"
		}
		findings = append(findings, Finding{
			Severity: g.severity, Code: HandoverWaits, Subject: listed(g.subjects, shownSources), Fix: g.fix, Count: len(g.subjects),
			Message: fmt.Sprintf("how %s secured has been changing for %s: %s", it, Span(f.now.Sub(g.since)), g.step),
		})
	}
	if len(f.handovers) == 0 {
		return "none under way", nil
	}
	return number(len(f.handovers), "handover") + " under way", findings
}

func oneLines(all []string) []string {
	var lines []string
	for _, text := range all {
		lines = append(lines, oneLine(text))
	}
	return lines
}

// objects passes on what is wrong with objects, but for what is told of ports and their endpoints.
func (f *facts) objects() (string, []Finding) {
	if f.away != nil {
		return notKnown, nil
	}
	var findings []Finding
	for i := range f.problems {
		p := &f.problems[i]
		if p.Code == unprovenProblem && f.toldOfPort(p.Field) {
			continue
		}
		severity := Warning
		if p.Severity == mesh.Error {
			severity = Error
		}
		findings = append(findings, Finding{
			Severity: severity, Code: ObjectProblem, Subject: p.Object.String(), Message: f.problemText(p), Fix: cmp.Or(p.Hint, "correct it"),
		})
	}
	return number(len(findings), "problem"), findings
}

// toldOfPort tells whether a field of a Mesh file is of a service of which it is told that it has endpoints without an identity.
func (f *facts) toldOfPort(field string) bool {
	_, rest, _ := strings.Cut(field, "services.")
	name, _, _ := strings.Cut(rest, ".")
	return slices.ContainsFunc(f.services, func(svc api.Service) bool {
		host, _, _ := strings.Cut(string(svc.Host), ".")
		return host == name && !svc.Excluded && slices.ContainsFunc(svc.Endpoints, func(e api.Endpoint) bool { return e.Identity == "" })
	})
}

// problemText says where it is and what, without the object and without the hint.
func (f *facts) problemText(p *mesh.Problem) string {
	text := oneLine(p.Message) + " [" + p.Code + "]"
	if p.Field != "" {
		text = p.Field + ": " + text
	}
	at := p.Position
	at.File = strings.TrimPrefix(at.File, f.dir+string(filepath.Separator))
	if where := at.String(); where != "" {
		text = where + ": " + text
	}
	return text
}
