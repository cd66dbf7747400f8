package explain

import (
	"cmp"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

// outcomes returns what may happen to a request that the route takes.
func (q request) outcomes(r *plan.Route) []Outcome {
	switch {
	case r.Answer != nil:
		return []Outcome{q.answer(Outcome{Percent: 100, Status: r.Answer.Status, Body: r.Answer.Body})}
	case r.Redirect != nil:
		return []Outcome{q.answer(Outcome{Percent: 100, Status: 302, Location: q.location(r.Redirect)})}
	case q.isPreflight(r.CORS):
		return []Outcome{{Percent: 100, Status: 200}}
	}
	list := q.destinations(r)
	if f := r.Fault; f != nil {
		list = q.faults(f, list)
	}
	for i := range list {
		list[i].Percent = math.Round(list[i].Percent*1e6) / 1e6
	}
	return list
}

// destinations returns where a request goes, by weight.
func (q request) destinations(r *plan.Route) []Outcome {
	onward := Outcome{Percent: 100, Tunnel: r.Tunnel, Append: r.Append, Mirror: r.Mirror, Authority: q.authority}
	if !q.isConnect() {
		onward.Path = q.rewritten(r)
	}
	if r.Rewrite != nil && r.Rewrite.Authority != "" {
		onward.Authority = r.Rewrite.Authority
	}
	if r.Cluster != "" {
		onward.Cluster = r.Cluster
		return []Outcome{onward}
	}
	total := 0
	for _, s := range r.Shares {
		total += s.Weight
	}
	var list []Outcome
	for _, s := range r.Shares {
		if s.Weight <= 0 {
			continue
		}
		o, subset := onward, s.Subset
		o.Percent, o.Destination = 100*float64(s.Weight)/float64(total), &subset
		list = append(list, o)
	}
	return list
}

// Nobody returns what becomes of an outcome whose destination has no endpoint that may be called: the proxy answers.
func Nobody(r Request, o Outcome) Outcome {
	q, _ := canonical(r)
	return q.answer(Outcome{Percent: o.Percent, Delay: o.Delay, Destination: o.Destination, Status: 503, Body: "no healthy upstream"})
}

// rewritten returns the path and query with which a request goes on.
func (q request) rewritten(r *plan.Route) string {
	switch w := r.Rewrite; {
	case w == nil:
	case w.Prefix != "":
		return w.Prefix + strings.TrimPrefix(q.path, r.Path.Value) + q.query
	case w.Path != "":
		return w.Path + q.query
	}
	return q.path + q.query
}

// location returns where a redirect leads. A query of the new path takes the place of that of the request.
func (q request) location(r *mesh.Redirect) string {
	path := q.path + q.query
	if r.URI != "" {
		path = r.URI
		if !strings.Contains(path, "?") {
			path += q.query
		}
	}
	return q.scheme + "://" + cmp.Or(r.Authority, q.authority) + path
}

// faults returns what a fault makes of outcomes: the delay comes first, then the abort, each by its own chance.
func (q request) faults(f *mesh.Fault, list []Outcome) []Outcome {
	if t := f.Throttle; t != nil {
		list = split(list, t.Percent, func(o *Outcome) { o.KiBPerSecond = t.KiBPerSecond })
	}
	if a := f.Abort; a != nil {
		if aborted, ok := q.aborted(a); ok {
			list = append(share([]Outcome{aborted}, a.Percent), share(list, 100-a.Percent)...)
		}
	}
	if d := f.Delay; d != nil {
		if delay := q.delay(d); delay > 0 {
			list = split(list, d.Percent, func(o *Outcome) { o.Delay = delay })
		}
	}
	return list
}

// share returns what is left of outcomes when they happen in that percentage of the cases.
func share(list []Outcome, percent float64) []Outcome {
	var kept []Outcome
	for _, o := range list {
		if o.Percent *= percent / 100; o.Percent > 0 {
			kept = append(kept, o)
		}
	}
	return kept
}

// split changes outcomes in a percentage of the cases.
func split(list []Outcome, percent float64, change func(*Outcome)) []Outcome {
	changed := share(list, percent)
	for i := range changed {
		change(&changed[i])
	}
	return append(changed, share(list, 100-percent)...)
}

// delay returns for how long a request is held; 0: not at all, as when the header holds no number.
func (q request) delay(d *mesh.Delay) mesh.Duration {
	if d.Header == "" {
		return d.Fixed
	}
	ms, ok := q.number(d.Header)
	if !ok || ms > math.MaxInt64/uint64(time.Millisecond) {
		return 0
	}
	return mesh.Duration(ms) * mesh.Duration(time.Millisecond)
}

// aborted returns the answer of an abort, or false when the header holds no status.
func (q request) aborted(a *mesh.Abort) (Outcome, bool) {
	o := Outcome{Percent: 100, Status: a.Status, Body: abortBody}
	switch {
	case a.Header != "":
		status, ok := q.number(a.Header)
		if !ok || status < 200 || status > 599 {
			return Outcome{}, false
		}
		o.Status = int(status)
	case a.GRPC != nil:
		o.Status, o.GRPC = plan.HTTPStatus(*a.GRPC), a.GRPC
	}
	return q.answer(o), true
}

const abortBody = "fault filter abort"

// number reads the first value of a header.
func (q request) number(name string) (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimPrefix(q.first(name), "+"), 10, 64)
	return n, err == nil
}

// answer gives an answer of the proxy the form that the client expects: one that speaks gRPC gets status 200 and the
// outcome as a status of gRPC, others the closest status of HTTP.
func (q request) answer(o Outcome) Outcome {
	switch {
	case !q.isGRPC():
		o.GRPC = nil
	case o.GRPC == nil:
		code := grpcOf(o.Status)
		o.GRPC = &code
		fallthrough
	default:
		o.Status, o.Body = 200, ""
	}
	return o
}

// grpcOf returns what a status of HTTP means to a client that speaks gRPC and found no gRPC in the answer.
func grpcOf(status int) int {
	const unknown, permissionDenied, unimplemented, internal, unavailable, unauthenticated = 2, 7, 12, 13, 14, 16
	switch status {
	case 400:
		return internal
	case 401:
		return unauthenticated
	case 403:
		return permissionDenied
	case 404:
		return unimplemented
	case 429, 502, 503, 504:
		return unavailable
	default:
		return unknown
	}
}
