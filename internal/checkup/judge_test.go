package checkup

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

// Where all is well nothing is found, and each area says what there is.
func TestAllIsWell(t *testing.T) {
	t.Parallel()
	r := newRig(t).report("town")
	if diff := cmp.Diff([]string{}, said(r)); diff != "" || r.Verdict != OK || r.Mesh != "town" {
		t.Errorf("%s %s", r.Verdict, diff)
	}
	got := map[string]string{}
	for _, a := range r.Areas {
		got[a.Name] = string(a.Verdict) + " " + a.Summary
	}
	if diff := cmp.Diff(map[string]string{
		"control plane": "ok change 7, 2 services, 2 workloads",
		"authority":     "ok cluster.local, a root of its own, holds until 2036-11-23, in 10 years",
		"certificates":  "ok good for 2 of 2 workloads, the first expires in 23 hours",
		"proxies":       "ok 2 connected, 2 in sync",
		"ports":         "ok 2 PERMISSIVE",
		"callers":       "ok 0 without proof, 0 turned away, in the last 10 minutes",
		"handovers":     "ok none under way",
		"objects":       "ok 0 problems",
	}, got); diff != "" {
		t.Error(diff)
	}
}

// Of a control plane that is just starting it is not said that all is well, or that nothing is there.
func TestWhatIsNotKnownYet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.status, r.services, r.seen = api.Status{Missing: []string{"local"}}, nil, nil
	got := map[string]string{}
	for _, a := range r.report("town").Areas {
		got[a.Name] = string(a.Verdict) + " " + a.Summary
	}
	const yet = "unknown not known yet: the control plane starts"
	if diff := cmp.Diff(map[string]string{
		"control plane": "error starts", "authority": "ok cluster.local, a root of its own, holds until 2036-11-23, in 10 years",
		"certificates": yet, "proxies": yet, "ports": yet, "callers": yet, "handovers": yet, "objects": yet,
	}, got); diff != "" {
		t.Error(diff)
	}
}

// cases are meshes in which one thing is not as it should be, and what is said of it.
var cases = map[string]struct {
	edit func(*rig)
	want []string
}{
	"it starts": {
		func(r *rig) { r.status = api.Status{Missing: []string{"local", "files"}} },
		[]string{"error: control plane: it has not started yet: it waits for local, files [not-ready]"},
	},
	"it is away": {
		func(r *rig) { r.leave(fs.ErrNotExist) },
		[]string{"error: control plane: no control plane answers on /state/api.sock: proxies go on with what they have, and what follows is from files [no-answer]"},
	},
	"it is away, and an agent cannot renew": {
		func(r *rig) { r.leave(fs.ErrNotExist); r.holds(12*time.Hour, -time.Minute, "away", 0) },
		[]string{
			"error: control plane: no control plane answers on /state/api.sock: proxies go on with what they have, and what follows is from files [no-answer]",
			"warning: reviews-v1-0.default: the last attempt to renew its certificate failed 30 seconds ago: away; it expires in 12 hours [renewal-failed]",
		},
	},
	"it is away, and so are the proxies": {
		func(r *rig) {
			r.leave(fs.ErrNotExist)
			r.holds(25*time.Hour, -13*time.Hour, "away", 0)
			r.reviews().Running = false
		},
		[]string{"error: control plane: no control plane answers on /state/api.sock: proxies go on with what they have, and what follows is from files [no-answer]"},
	},
	"it hangs, and the root is lost, and a caller was turned away": {
		func(r *rig) {
			r.leave(api.ErrSilent)
			r.authority.Problem, r.fix, r.bundle.Roots = "it is not there", "put it back", nil
			r.calls(1, 1, call{Source: "127.0.0.1", Rule: plan.NotProven}, call{Source: "127.0.0.1", Rule: inbound})
		},
		[]string{
			"error: control plane: the control plane on /state/api.sock does not answer: proxies go on with what they have, and what follows is from files [no-answer]",
			"error: authority: it is not there [authority-problem]",
			"warning: reviews.default: 1 connection turned away without proof of who calls, which MUTUAL_TLS asks for: from 127.0.0.1, last 1 minute ago [turned-away]",
		},
	},
	"a source is silent": {
		func(r *rig) { r.status.Stale = []string{"files"} },
		[]string{"warning: source files: it has said nothing since the control plane started: what it said before counts [stale-source]"},
	},
	"no authority": {
		func(r *rig) { r.authority = nil },
		[]string{"warning: authority: the control plane gives no identities: proxies speak plain text, and believe what others say of themselves [no-authority]"},
	},
	"the root is lost": {
		func(r *rig) { r.authority.Problem = "ca/root.pem is lost" },
		[]string{"error: authority: ca/root.pem is lost [authority-problem]"},
	},
	"the root was put back": {
		func(r *rig) { r.authority.Restored = 2 },
		[]string{"warning: authority: its files were lost or changed 2 times since the control plane started, and were put back [authority-restored]"},
	},
	"the authority ends in 20 days, and says so": {
		func(r *rig) {
			r.authority.Problem, r.authority.Issuing[0].NotAfter = "it ends", noon().Add(20*day)
			r.authority.Issuing[0].NotBefore = noon().Add(-1000 * day)
		},
		[]string{"warning: CN=root: this certificate of the authority ends on 2026-12-16, in 20 days: no other will hold longer [authority-expires]"},
	},
	"the authority ends before a certificate would": {
		func(r *rig) { r.authority.Roots[0].NotAfter = noon().Add(23 * time.Hour) },
		[]string{"error: CN=root: this certificate of the authority ends on 2026-11-27, in 23 hours: no other will hold longer [authority-expires]"},
	},
	"an authority of a short life": {
		func(r *rig) {
			r.authority.Issuing[0].NotBefore, r.authority.Issuing[0].NotAfter = noon().Add(-4*day), noon().Add(4*day)
		}, []string{},
	},
	"no certificate yet": {
		func(r *rig) { r.hold(r.reviews(), agent.Status{LastError: "no\tanswer"}) },
		[]string{"error: reviews-v1-0.default: it has no certificate: no answer [no-certificate]"},
	},
	"no certificate, since it starts": {
		func(r *rig) {
			r.reviews().Running, r.proxies[r.reviews().ID].Connected = false, false
			r.hold(r.reviews(), agent.Status{})
			delete(r.proxies, r.reviews().ID)
		}, []string{},
	},
	"a proxy elsewhere that proves nothing": {
		func(r *rig) {
			r.reviews().identity = Identity{State: Elsewhere, Connected: true}
		},
		[]string{"error: reviews-v1-0.default: it has connected without proving who it is, and speaks plain text [no-certificate]"},
	},
	"a proxy elsewhere": {
		func(r *rig) {
			r.reviews().identity = Identity{State: Elsewhere, Connected: true, Proven: r.reviews().Identity}
		}, []string{},
	},
	"expired": {
		func(r *rig) { r.holds(25*time.Hour, -13*time.Hour, "away", 0) },
		[]string{"error: reviews-v1-0.default: its certificate has expired 1 hour ago: away [certificate-expired]"},
	},
	"renewed late": {
		func(r *rig) { r.holds(13*time.Hour, -time.Hour, "", 0) },
		[]string{"warning: reviews-v1-0.default: its certificate was to be renewed 1 hour ago, and expires in 11 hours: its agent does not run, or hangs [renewal-late]"},
	},
	"renewed very late": {
		func(r *rig) { r.holds(23*time.Hour, -11*time.Hour, "away", 0) },
		[]string{"error: reviews-v1-0.default: its certificate was to be renewed 11 hours ago, and expires in 1 hour: away [renewal-late]"},
	},
	"renewed a minute late": {func(r *rig) { r.holds(12*time.Hour, -time.Minute, "", 0) }, []string{}},
	"not renewed": {
		func(r *rig) { r.holds(12*time.Hour, -time.Minute, "away", 0) },
		[]string{"warning: reviews-v1-0.default: the last attempt to renew its certificate failed 30 seconds ago: away; it expires in 12 hours [renewal-failed]"},
	},
	"slow": {
		func(r *rig) { r.holds(time.Hour, 11*time.Hour, "", 61) },
		[]string{"warning: reviews-v1-0.default: its clock is 61 seconds behind the authority's: certificates are taken for expired, or for not valid yet [clock-skew]"},
	},
	"fast": {
		func(r *rig) { r.holds(time.Hour, 11*time.Hour, "", -301) },
		[]string{"error: reviews-v1-0.default: its clock is 5 minutes ahead of the authority's: certificates are taken for expired, or for not valid yet [clock-skew]"},
	},
	"in time": {func(r *rig) { r.holds(time.Hour, 11*time.Hour, "", 59) }, []string{}},
	"another account": {
		func(r *rig) { r.reviews().Identity = "spiffe://cluster.local/ns/default/sa/other" },
		[]string{"error: reviews-v1-0.default: its certificate is for spiffe://cluster.local/ns/default/sa/reviews, and it is to be spiffe://cluster.local/ns/default/sa/other [other-identity]"},
	},
	"another authority": {
		func(r *rig) {
			r.bundle.Roots = r.bundle.Roots[:0:0]
			r.bundle.Roots = append(r.bundle.Roots, newAuthority(r.t, 900).cert)
		},
		[]string{
			"error: ratings-v1-0.default: its certificate or its roots are of another authority than the one of now: workloads on the two sides refuse each other [trust-differs]",
			"error: reviews-v1-0.default: its certificate or its roots are of another authority than the one of now: workloads on the two sides refuse each other [trust-differs]",
		},
	},
	"Envoy uses another one": {
		func(r *rig) { r.reviews().identity.Envoy, r.reviews().identity.EnvoyWhy = AnotherUse, "number 5" },
		[]string{"error: reviews-v1-0.default: its Envoy does not use what its agent holds: number 5 [envoy-differs]"},
	},
	"Envoy does not answer": {
		func(r *rig) { r.reviews().identity.Envoy, r.reviews().identity.EnvoyWhy = UnknownUse, "nobody" },
		[]string{"warning: reviews-v1-0.default: its Envoy cannot be asked what it uses: nobody [envoy-silent]"},
	},
	"away": {
		func(r *rig) {
			*r.proxies["reviews-v1-0.default"] = api.Proxy{ID: "reviews-v1-0.default", Since: noon().Add(-time.Hour)}
		},
		[]string{"error: reviews-v1-0.default: it runs and has been away for 1 hour [proxy-away]"},
	},
	"silent": {
		func(r *rig) { r.proxies["reviews-v1-0.default"].Silent = true },
		[]string{"warning: reviews-v1-0.default: it takes no messages [proxy-silent]"},
	},
	"behind": {
		func(r *rig) {
			r.proxies["reviews-v1-0.default"].Behind, r.proxies["reviews-v1-0.default"].UnansweredSeconds = 3, 60
		},
		[]string{"warning: reviews-v1-0.default: it is out of sync: it has not confirmed 3 resources for 1 minute [proxy-behind]"},
	},
	"behind for a moment": {
		func(r *rig) {
			r.proxies["reviews-v1-0.default"].Behind, r.proxies["reviews-v1-0.default"].UnansweredSeconds = 3, 9
		},
		[]string{},
	},
	"refusing": {
		func(r *rig) { r.proxies["reviews-v1-0.default"].Refused = []string{"cluster c: no\ngood", "more"} },
		[]string{"error: reviews-v1-0.default: it refuses 2 resources: cluster c: no good [proxy-refuses]"},
	},
	"two of one name": {
		func(r *rig) {
			r.streams["reviews-v1-0.default"] = []time.Time{noon().Add(-time.Minute), noon().Add(-time.Hour)}
		},
		[]string{"warning: reviews-v1-0.default: 2 proxies at a time say that they are it, for 1 minute: a second agent runs for it, or somebody has a copy of its certificate [proxy-twice]"},
	},
	"one that comes back": {
		func(r *rig) {
			r.streams["reviews-v1-0.default"] = []time.Time{noon().Add(-9 * time.Second), noon().Add(-time.Hour)}
		}, []string{},
	},
	"two of a library": {
		func(r *rig) {
			r.streams["reviews-v1-0.default"] = []time.Time{noon().Add(-time.Hour), noon().Add(-time.Hour)}
			r.reviews().Type = mesh.Proxyless
		}, []string{},
	},
	"nobody knows it": {
		func(r *rig) {
			r.status.Waiting = []api.Waiting{
				{ID: "billing.default", Type: mesh.Sidecar, Identity: "spiffe://cluster.local/ns/default/sa/billing", Streams: 1, Since: noon().Add(-time.Minute)},
				{ID: "comes.default", Type: mesh.Sidecar, Streams: 1, Since: noon().Add(-9 * time.Second)},
				{ID: "reviews-v1-0.default", Type: mesh.Ingress, Streams: 1, Since: noon().Add(-time.Hour)},
			}
		},
		[]string{
			"warning: billing.default: it has been connected for 1 minute and gets no configuration: the mesh knows no workload of this name; it has proven to be spiffe://cluster.local/ns/default/sa/billing [proxy-unknown]",
			"warning: reviews-v1-0.default: one of type ingress of this name has been connected for 1 hour and gets no configuration: the workload is of type sidecar [proxy-unknown]",
		},
	},
	"open": {
		func(r *rig) { r.services[1].Ports[0].Policy = mesh.AuthNone },
		[]string{"warning: reviews.default:9080: its policy is NONE: everybody can call it, and nobody proves who it is [open-port]"},
	},
	"all open": {
		func(r *rig) {
			for i := range r.services {
				r.services[i].Ports[0].Policy = mesh.AuthNone
				r.services[i].Ports = append(r.services[i].Ports, api.ServicePort{Number: 7000, Policy: mesh.AuthNone})
			}
		},
		[]string{"warning: ratings.default:9080, ratings.default:7000, reviews.default:9080 and 1 more: the policy of 4 ports is NONE: everybody can call them, and nobody proves who it is [open-port]"},
	},
	"nobody can prove it": {
		func(r *rig) {
			r.services[1].Ports[0].Policy, r.services[1].Endpoints[0].Identity = mesh.AuthMutualTLS, ""
		},
		[]string{"error: reviews.default:9080: its policy is MUTUAL_TLS, and reviews-v1-0 (127.0.9.3) cannot prove who it is, having no sidecar: nobody can call it [unproven-endpoint]"},
	},
	"one cannot prove it": {
		func(r *rig) {
			r.services[1].Ports[0].Policy = mesh.AuthMutualTLS
			r.services[1].Endpoints = append(r.services[1].Endpoints, api.Endpoint{Address: "127.0.0.1"})
			r.problems = []mesh.Problem{{Field: "spec.services.reviews.workloads.v2", Code: "no-identity", Severity: mesh.Warning}} // the same
		},
		[]string{"warning: reviews.default:9080: its policy is MUTUAL_TLS, and 127.0.0.1 cannot prove who it is, having no sidecar: the others get all calls [unproven-endpoint]"},
	},
	"one cannot, and need not": {
		func(r *rig) {
			r.services[1].Excluded, r.services[1].Ports[0].Policy, r.services[1].Endpoints[0].Identity = true, mesh.AuthMutualTLS, ""
		}, []string{},
	},
	"a handover waits": {
		func(r *rig) {
			r.handovers = []api.Handover{{Host: reviews, Port: 9080, Step: "servers take both", Since: noon().Add(-time.Minute), Away: []string{"a.default"}}}
		},
		[]string{"warning: reviews.default:9080: how it is secured has been changing for 1 minute: servers take both [handover-waits]"},
	},
	"handovers wait for the same": {
		func(r *rig) {
			r.handovers = []api.Handover{
				{Host: ratings, Port: 9080, Step: "servers take both", Since: noon().Add(-time.Minute), Away: []string{"a.default"}},
				{Host: reviews, Port: 9080, Step: "servers take both", Since: noon().Add(-2 * time.Minute), Away: []string{"a.default"}},
				{Host: reviews, Port: 7000, Step: "servers take both", Since: noon().Add(-time.Minute), Away: []string{"b.default"}},
			}
		},
		[]string{
			"warning: ratings.default:9080, reviews.default:9080: how they are secured has been changing for 2 minutes: servers take both [handover-waits]",
			"warning: reviews.default:7000: how it is secured has been changing for 1 minute: servers take both [handover-waits]",
		},
	},
	"a handover is refused": {
		func(r *rig) {
			r.handovers = []api.Handover{{Host: reviews, Step: "callers accept both", Since: noon(), Refused: []string{"a.default: no"}}}
		},
		[]string{"error: reviews.default: how it is secured has been changing for 0 seconds: callers accept both [handover-waits]"},
	},
	"a handover goes on": {
		func(r *rig) {
			r.handovers = []api.Handover{{Host: reviews, Port: 9080, Since: noon().Add(-9 * time.Second)}}
		}, []string{},
	},
	"objects": {
		func(r *rig) {
			r.problems = []mesh.Problem{
				{Object: mesh.Ref{Kind: "Mesh", Name: "town"}, Field: "spec.services.reviews.workloads.v1", Message: "no proof", Code: "no-identity", Severity: mesh.Warning},
				{Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "a"}, Position: mesh.Position{File: "/state/objects/a.yaml", Line: 3}, Field: "spec.x", Message: "no", Code: "unknown-field", Severity: mesh.Error},
				{Object: mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "b"}, Message: "hm", Code: "unknown-host", Severity: mesh.Warning},
			}
		},
		[]string{
			"error: RouteRule default/a: objects/a.yaml:3: spec.x: no [unknown-field] [object-problem]",
			"warning: Mesh town: spec.services.reviews.workloads.v1: no proof [no-identity] [object-problem]",
			"warning: RouteRule default/b: hm [unknown-host] [object-problem]",
		},
	},
	"called in plain text": {
		func(r *rig) {
			r.calls(2, 1, call{Source: "127.0.0.1", Rule: inbound}, call{Source: "127.0.9.2", Rule: inbound}, call{Source: "127.0.0.1", Rule: inbound})
		},
		[]string{"warning: reviews.default:9080: 3 calls without proof of who calls, from 127.0.0.1, ratings-v1-0.default, last 1 minute ago [plain-callers]"},
	},
	"called in plain text, while that was right": {
		func(r *rig) {
			r.calls(2, 0, call{Source: "127.0.9.2", Rule: inbound})
			r.services[1].Since = noon().Add(-65 * time.Second) // and it took a moment
		}, []string{},
	},
	"called in plain text, while it changes": {
		func(r *rig) {
			r.calls(2, 0, call{Source: "127.0.9.2", Rule: inbound})
			r.handovers = []api.Handover{{Host: reviews, Port: 9080, Since: noon()}}
		}, []string{},
	},
	"called in plain text, after a change": {
		func(r *rig) {
			r.calls(2, 0, call{Source: "127.0.9.2", Rule: inbound})
			r.services[1].Since = noon().Add(-75 * time.Second)
		},
		[]string{"warning: reviews.default:9080: 1 call without proof of who calls, from ratings-v1-0.default, last 1 minute ago [plain-callers]"},
	},
	"called in plain text, and open": {
		func(r *rig) { r.calls(3, 2) },
		[]string{"warning: reviews.default:9080: 2 connections without proof of who calls, open now [plain-callers]"},
	},
	"called in plain text long ago": {func(r *rig) { r.calls(3, 0) }, []string{}},
	"called in plain text, without a log": {
		func(r *rig) { r.calls(3, 0); r.reviews().noLog = true },
		[]string{"warning: reviews.default:9080: 3 connections without proof of who calls since its proxies started; no access log says from where [plain-callers]"},
	},
	"called in plain text, as it is to be": {
		func(r *rig) {
			r.calls(3, 3, call{Source: "127.0.0.1", Rule: inbound})
			r.services[1].Excluded = true
		}, []string{},
	},
	"turned away": {
		func(r *rig) {
			r.calls(0, 0, call{Source: "127.0.0.1", Rule: plan.NotProven},
				call{Source: "127.0.0.7", Rule: plan.NotTrusted, Details: "TLS_error:|1:EXPIRED"}, call{Source: "127.0.0.8", Rule: plan.AnotherAddress, Details: "given_to_x_at_y"})
		},
		[]string{
			"warning: reviews.default:9080: 1 connection turned away without proof of who calls, which MUTUAL_TLS asks for: from 127.0.0.1, last 1 minute ago [turned-away]",
			"warning: reviews.default:9080: 1 connection turned away with a certificate that is not good, or of another authority: from 127.0.0.7, last 1 minute ago (expired) [turned-away]",
			"warning: reviews.default:9080: 1 connection turned away with a certificate that was given to a workload with another address: from 127.0.0.8, last 1 minute ago (given to x at y) [turned-away]",
		},
	},
	"turned away without a certificate": {
		func(r *rig) {
			r.calls(0, 0,
				call{Source: "127.0.0.1", Rule: plan.NotTrusted, Details: "TLS_error:|268435648:SSL_routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE:TLS_error_end"},
				call{Source: "127.0.0.7", Rule: plan.NotTrusted, Details: "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: X509_verify_cert: certificate has expired:TLS_error_end"},
				call{Source: "127.0.0.7", Rule: plan.NotTrusted, Details: "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: X509_verify_cert: certificate has expired:TLS_error_end"},
				call{Source: "127.0.0.8", Rule: plan.NotTrusted, Details: "TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER"})
		},
		[]string{
			"warning: reviews.default:9080: 1 connection turned away that spoke TLS and showed no certificate: from 127.0.0.1, last 1 minute ago [turned-away]",
			"warning: reviews.default:9080: 3 connections turned away with a certificate that is not good, or of another authority: from 127.0.0.7, 127.0.0.8, last 1 minute ago (certificate has expired) [turned-away]",
		},
	},
	"turned away, without a log": {
		func(r *rig) { r.reviews().noLog = true; r.reviews().counts.anotherOrigin = map[int]int{9080: 4} },
		[]string{"warning: reviews.default:9080: 4 connections turned away with a certificate that was given to a workload with another address, since its proxies started; no access log says from where [turned-away]"},
	},
}

// holds has the agent of reviews hold a certificate of a day, of which so much is over.
func (r *rig) holds(over, renews time.Duration, lastError string, skew float64) {
	s := r.reviews()
	status := agent.Status{
		Chain: pemOf(r.root.leaf(s.ID, "reviews", over)), Roots: pemOf(r.root.cert), RenewAt: noon().Add(renews), SkewSeconds: skew, LastError: lastError,
	}
	if lastError != "" {
		status.LastErrorAt = noon().Add(-30 * time.Second)
	}
	r.hold(s, status)
}

// leave has only files say how the mesh is.
func (r *rig) leave(why error) {
	r.away = &api.Unreachable{Socket: "/state/api.sock", Cause: why}
	r.status, r.services, r.handovers, r.problems, r.proxies = api.Status{}, nil, nil, nil, map[mesh.ProxyID]*api.Proxy{}
	for _, s := range r.seen {
		s.Serves = nil
	}
}

// calls has the Envoy of reviews count connections in plain text, and log calls of a minute ago.
func (r *rig) calls(total, open int, all ...call) {
	s := r.reviews()
	s.counts.plain, s.counts.plainNow = map[int]int{9080: total}, map[int]int{9080: open}
	for _, c := range all {
		c.Time, c.Destination = noon().Add(-time.Minute), reviews
		s.log = append(s.log, c)
	}
}

// What is not as it should be is found, with words and a remedy, and nothing else is. Each kind of finding has its case.
func TestFindings(t *testing.T) {
	t.Parallel()
	shown := map[Code]bool{}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		r := newRig(t)
		cases[name].edit(r)
		report := r.report("town")
		if diff := cmp.Diff(cases[name].want, said(report)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		worst := OK
		for _, f := range report.Findings {
			shown[f.Code] = true
			worst = Worse(worst, f.Severity)
			if f.Fix == "" || strings.Contains(f.Fix, "\n") {
				t.Errorf("%s: the fix is %q", name, f.Fix)
			}
		}
		if report.Verdict != worst {
			t.Errorf("%s: the verdict is %s", name, report.Verdict)
		}
	}
	for _, code := range Codes() {
		if !shown[code] {
			t.Errorf("no case shows %s", code)
		}
	}
}

// Sources are named by workload where an address is one's, most first, and those that are shared by the address.
func TestSources(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.addresses["127.0.0.1"] = "" // of several
	r.calls(3, 0, call{Source: "127.0.9.2", Rule: inbound}, call{Source: "127.0.0.1", Rule: inbound}, call{Source: "127.0.0.1", Rule: inbound})
	f := r.report("town").Findings[0]
	last := noon().Add(-time.Minute)
	if diff := cmp.Diff([]Source{{"127.0.0.1", "", 2, last}, {"127.0.9.2", "ratings-v1-0.default", 1, last}}, f.Sources); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(f.Fix, "lateen ca show ratings-v1-0.default") || f.Count != 3 {
		t.Errorf("%+v", f)
	}
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0 seconds", time.Second: "1 second", 119 * time.Second: "119 seconds", 10*time.Minute - time.Millisecond: "10 minutes",
		-time.Hour: "0 seconds", time.Hour: "1 hour", 90 * time.Minute: "90 minutes", 47 * time.Hour: "47 hours", 59 * day: "59 days", 100 * day: "3 months", 3649 * day: "9 years", 3650 * day: "10 years",
	} {
		if got := Span(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}
