package checkup

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

const (
	shownSources = 3  // in a message
	keptSources  = 20 // in a finding
)

// from collects where connections come from.
type from struct {
	total   int
	sources map[string]*Source
	details map[string]int
}

func (f *facts) add(to *from, c *call) {
	if to.sources == nil {
		to.sources, to.details = map[string]*Source{}, map[string]int{}
	}
	to.total++
	if to.sources[c.Source] == nil {
		to.sources[c.Source] = &Source{Address: c.Source, Workload: f.addresses[c.Source]}
	}
	s := to.sources[c.Source]
	s.Count++
	if c.Time.After(s.Last) {
		s.Last = c.Time.UTC()
	}
	to.details[c.Details]++
}

// list returns the sources, most first.
func (f *from) list() []Source {
	list := []Source{}
	for _, s := range f.sources {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b Source) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Address, b.Address)) })
	return list[:min(len(list), keptSources)]
}

// words names the sources.
func (f *from) words() string {
	var words []string
	for _, s := range f.list() {
		name := s.Address
		if s.Workload != "" {
			name = string(s.Workload)
		}
		words = append(words, name)
	}
	return listed(words, shownSources)
}

// last returns when the last one came.
func (f *from) last() (last time.Time) {
	for _, s := range f.sources {
		if s.Last.After(last) {
			last = s.Last
		}
	}
	return last
}

// why returns the reason that is given most.
func (f *from) why() string {
	best := ""
	for _, d := range slices.Sorted(maps.Keys(f.details)) {
		if f.details[d] > f.details[best] {
			best = d
		}
	}
	return oneLine(best)
}

// calls are what came to one host.
type calls struct {
	plain  from
	open   int          // connections in plain text that are open now
	ever   int          // connections in plain text since the Envoys started
	ports  map[int]bool // that these came to
	turned map[string]*from
	counts map[string]int // of those that were turned away, where there is no access log
}

// callers judges who calls without proving who it is, and who is turned away.
func (f *facts) callers() (string, []Finding) {
	hosts := map[mesh.Host]*calls{}
	for _, s := range f.seen {
		f.collect(s, hosts)
	}
	var findings []Finding
	plain, turned := 0, 0
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		c := hosts[host]
		if n := max(c.plain.total, c.open); n > 0 {
			plain += n
			findings = append(findings, f.plainCallers(host, c))
		}
		for _, rule := range []string{plan.NotProven, noCertificate, plan.NotTrusted, plan.AnotherAddress} {
			if from := c.turned[rule]; from != nil {
				turned += from.total
				findings = append(findings, f.turnedAway(host, rule, from))
			} else if n := c.counts[rule]; n > 0 {
				turned += n
				findings = append(findings, f.turnedAwayEver(host, rule, n))
			}
		}
	}
	if f.away != nil { // how ports are to be called is not known
		return fmt.Sprintf("%d turned away, in the last %s", turned, Span(f.since)), findings
	}
	return fmt.Sprintf("%d without proof, %d turned away, in the last %s", plain, turned, Span(f.since)), findings
}

// collect takes over what one workload's proxy says of its callers.
func (f *facts) collect(s *seen, hosts map[mesh.Host]*calls) {
	at := func(host mesh.Host) *calls {
		if hosts[host] == nil {
			hosts[host] = &calls{ports: map[int]bool{}, turned: map[string]*from{}, counts: map[string]int{}}
		}
		return hosts[host]
	}
	judged := map[mesh.Host]time.Time{} // has a port on which proof is looked for; since when
	for _, p := range s.Serves {
		svc, port, ok := f.port(p.Host, p.Port)
		if !ok || port.Policy == mesh.AuthNone || svc.Excluded {
			continue
		}
		judged[p.Host] = f.judgedFrom(svc)
		c := at(p.Host)
		if n := s.counts.plain[p.Listen]; n > 0 {
			c.ever += n
			c.open += s.counts.plainNow[p.Listen]
			c.ports[p.Port] = true
			if s.noLog {
				c.plain.total += n
			}
		}
		if s.noLog {
			c.counts[plan.NotProven] += s.counts.notProven[p.Listen]
			c.counts[plan.NotTrusted] += s.counts.notTrusted[p.Listen]
			c.counts[plan.AnotherAddress] += s.counts.anotherOrigin[p.Listen]
		}
	}
	for i := range s.log {
		line := &s.log[i]
		switch {
		case line.Rule != inbound:
			c, rule := at(line.Destination), line.why()
			if c.turned[rule] == nil {
				c.turned[rule] = &from{}
			}
			f.add(c.turned[rule], line)
		default:
			from, ok := judged[line.Destination]
			if ok && line.Time.After(from) && len(at(line.Destination).ports) > 0 {
				f.add(&at(line.Destination).plain, line)
			}
		}
	}
}

// judgedFrom returns from when on calls of a service are judged: while its ports were secured otherwise, and until all proxies
// did as they were told, plain text was right.
func (f *facts) judgedFrom(svc *api.Service) time.Time {
	if slices.ContainsFunc(f.handovers, func(h api.Handover) bool { return h.Host == svc.Host }) {
		return f.now
	}
	if svc.Since.IsZero() {
		return svc.Since
	}
	return svc.Since.Add(handoverPatience)
}

// plainCallers tells who has called a host without proving who it is.
func (f *facts) plainCallers(host mesh.Host, c *calls) Finding {
	ports := slices.Sorted(maps.Keys(c.ports))
	finding := Finding{
		Severity: Warning, Code: PlainCallers, Subject: f.portsName(host, ports), Count: max(c.plain.total, c.open), Sources: c.plain.list(),
		Fix: "have the caller call through a sidecar, or from outside through the ingress; when nobody is left, " +
			"the policy MUTUAL_TLS keeps it so",
	}
	switch {
	case len(c.plain.sources) > 0:
		finding.Message = fmt.Sprintf("%s without proof of who calls, from %s, last %s", number(c.plain.total, "call"), c.plain.words(), f.when(c.plain.last()))
	case c.open > 0:
		finding.Message = number(c.open, "connection") + " without proof of who calls, open now"
	default:
		finding.Message = number(c.ever, "connection") + " without proof of who calls since its proxies started; no access log says from where"
	}
	if known := slices.IndexFunc(finding.Sources, func(s Source) bool { return s.Workload != "" }); known >= 0 {
		name := string(finding.Sources[known].Workload)
		finding.Fix = "`lateen ca show " + name + "` tells whether " + name + " has an identity; if so, its program goes past its sidecar: HTTP_PROXY leads through it"
	}
	return finding
}

// portsName returns "reviews.default:9080", or with several ports "orders.default:8000,8001".
func (f *facts) portsName(host mesh.Host, ports []int) string {
	if len(ports) == 0 {
		return shortHost(host)
	}
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = strconv.Itoa(p)
	}
	return shortHost(host) + ":" + strings.Join(words, ",")
}

// onlyPort names the port of a host that has one, and others by the host alone: the log does not say which port it was.
func (f *facts) onlyPort(host mesh.Host) string {
	if i := slices.IndexFunc(f.services, func(s api.Service) bool { return s.Host == host }); i >= 0 && len(f.services[i].Ports) == 1 {
		return f.portName(host, f.services[i].Ports[0].Number)
	}
	return shortHost(host)
}

const (
	// noCertificate is why a connection was turned away that is logged as not trusted: it showed none.
	noCertificate = "no certificate"
	// noneShown stands then in the words of BoringSSL.
	noneShown = "PEER_DID_NOT_RETURN_A_CERTIFICATE"
)

// why returns for what a connection was turned away.
func (c *call) why() string {
	if c.Rule == plan.NotTrusted && strings.Contains(c.Details, noneShown) {
		return noCertificate
	}
	return c.Rule
}

// lastWords returns what BoringSSL says of an error without what is the same of all: "TLS_error:|268435648:SSL_routines:
// OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:…:_certificate_has_expired:TLS_error_end" is "certificate has expired".
func lastWords(reason string) string {
	parts := strings.Split(reason, ":")
	for _, part := range slices.Backward(parts) {
		words := strings.TrimSpace(strings.ReplaceAll(part, "_", " "))
		if words == "" || words == "TLS error end" || strings.HasPrefix(words, "|") {
			continue
		}
		if words == strings.ToUpper(words) {
			words = strings.ToLower(words)
		}
		return words
	}
	return reason
}

// turnedAwayWords say why connections were turned away, and what to do.
var turnedAwayWords = map[string]struct{ message, fix string }{
	plan.NotProven: {
		"turned away without proof of who calls, which MUTUAL_TLS asks for",
		"have the caller call through a sidecar, or from outside through the ingress; or annotate the port as PERMISSIVE",
	},
	noCertificate: {
		"turned away that spoke TLS and showed no certificate",
		"have the caller call through a sidecar, which has one, or from outside through the ingress",
	},
	plan.NotTrusted: {
		"turned away with a certificate that is not good, or of another authority",
		"`lateen ca show` tells whose certificate is not good; a caller of another mesh has another authority",
	},
	plan.AnotherAddress: {
		"turned away with a certificate that was given to a workload with another address",
		"a certificate is for one workload: start the caller's own agent, with --address as it calls, and find out who has copied the key",
	},
}

// turnedAway tells of connections that a host has refused.
func (f *facts) turnedAway(host mesh.Host, rule string, c *from) Finding {
	words := turnedAwayWords[rule]
	message := fmt.Sprintf("%s %s: from %s, last %s", number(c.total, "connection"), words.message, c.words(), f.when(c.last()))
	switch why := c.why(); {
	case why == "":
	case rule == plan.NotTrusted:
		message += " (" + lastWords(why) + ")"
	case rule == plan.AnotherAddress:
		message += " (" + strings.ReplaceAll(why, "_", " ") + ")"
	}
	return Finding{
		Severity: Warning, Code: TurnedAway, Subject: f.onlyPort(host), Count: c.total, Sources: c.list(), Message: message, Fix: words.fix,
	}
}

// turnedAwayEver tells of those that were counted only.
func (f *facts) turnedAwayEver(host mesh.Host, rule string, n int) Finding {
	words := turnedAwayWords[rule]
	return Finding{
		Severity: Warning, Code: TurnedAway, Subject: f.onlyPort(host), Count: n,
		Message: fmt.Sprintf("%s %s, since its proxies started; no access log says from where", number(n, "connection"), words.message), Fix: words.fix,
	}
}
