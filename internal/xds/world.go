package xds

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv3 "google.golang.org/genproto/googleapis/rpc/status"
)

// world is what the state-of-the-world form needs of one type beside what both forms need.
type world struct {
	last  string              // nonce of the last response
	named bool                // some request has named something: no name means nothing from then on
	asked map[string]struct{} // names, [Everything] among them
	holds map[string]*holding // of listeners and clusters: what the proxy has
}

// holding is one listener or cluster of a proxy.
type holding struct {
	sent      *Resource // last; nil: removed
	nonce     int64     // of the response with it
	confirmed *Resource // last; nil: none
}

func newWorld() *world {
	return &world{asked: map[string]struct{}{}, holds: map[string]*holding{}}
}

// NewWorldSession returns the state of a new stream in the state-of-the-world form.
func NewWorldSession() *Session { return &Session{world: true, types: map[Type]*state{}} }

// ReceiveWorld takes a request in the state-of-the-world form and tells what it says. One that answers another response
// than the last says nothing: the proxy says it again when it answers that one.
func (s *Session) ReceiveWorld(req *discoveryv3.DiscoveryRequest) (Event, error) {
	e, st, err := s.begin(Type(req.GetTypeUrl()), Held{}, req.GetResourceNames())
	if err != nil {
		return e, err
	}
	nonce := req.GetResponseNonce()
	if nonce != "" && !e.First { // a first one can only be of an earlier stream
		if nonce != st.world.last {
			return e, nil
		}
		if d, err := st.answer(nonce); err == nil {
			st.world.answered(&e, d, req.GetErrorDetail())
		}
	}
	e.Subscribed, e.Unsubscribed = st.world.ask(e.Type, req.GetResourceNames())
	return e, nil
}

// ask takes the names of a request and returns how they differ from those before.
func (w *world) ask(t Type, list []string) (more, less []string) {
	list = names(t, list)
	if w.named = w.named || len(list) > 0; !w.named && t.listed() {
		list = []string{Everything}
	}
	now := make(map[string]struct{}, len(list))
	for _, name := range list {
		if _, twice := now[name]; twice {
			continue
		}
		now[name] = struct{}{}
		if _, before := w.asked[name]; !before {
			more = append(more, name)
		}
	}
	_, everything := now[Everything]
	for _, name := range slices.Sorted(maps.Keys(w.asked)) {
		if _, still := now[name]; still {
			continue
		}
		less = append(less, name)
		if !everything {
			delete(w.holds, name)
		}
	}
	w.asked = now
	return more, less
}

// put notes what a delivery carries and returns all that the proxy has with it, sorted by name.
func (w *world) put(d *Delivery, resources []*Resource) []*Resource {
	set := func(name string, r *Resource) {
		if w.holds[name] == nil {
			w.holds[name] = &holding{}
		}
		w.holds[name].sent, w.holds[name].nonce = r, d.Nonce
	}
	for _, name := range d.Removed {
		set(name, nil)
	}
	for _, r := range resources {
		set(r.Name, r)
	}
	whole := make([]*Resource, 0, len(w.holds))
	for _, name := range slices.Sorted(maps.Keys(w.holds)) {
		if r := w.holds[name].sent; r != nil {
			whole = append(whole, r)
		}
	}
	return whole
}

// answered notes an answer. Clients take what is good in a response and refuse the rest by its names (gRFC A46); where the
// reason holds none, all is refused.
func (w *world) answered(e *Event, d *Delivery, refusal *statusv3.Status) {
	if refusal == nil {
		e.Acked = d
		w.settle(d, false)
		return
	}
	bad := &Delivery{Type: d.Type, Nonce: d.Nonce, Sent: map[string]string{}}
	good := &Delivery{Type: d.Type, Nonce: d.Nonce, Sent: maps.Clone(d.Sent), Removed: d.Removed}
	for name := range named(refusal.GetMessage()) {
		if version, sent := good.Sent[name]; sent {
			bad.Sent[name] = version
			delete(good.Sent, name)
		}
	}
	if e.Refused, e.Reason = d, cutReason(refusal.GetMessage()); len(bad.Sent) > 0 {
		e.Acked, e.Refused = good, bad
		w.settle(good, false)
	}
	w.settle(e.Refused, true)
}

// settle takes the answer to a delivery. What was refused is again as it was confirmed before.
func (w *world) settle(d *Delivery, refused bool) {
	for _, name := range append(slices.Collect(maps.Keys(d.Sent)), d.Removed...) {
		h := w.holds[name]
		if h == nil || h.nonce != d.Nonce { // no longer asked for, or asked for anew
			continue
		}
		if refused {
			h.sent = h.confirmed
		} else {
			h.confirmed = h.sent
		}
		if h.sent == nil {
			delete(w.holds, name)
		}
	}
}

// World writes the response in the state-of-the-world form. Its version tells the names and versions in it.
func (r *Response) World() *discoveryv3.DiscoveryResponse {
	wire := &discoveryv3.DiscoveryResponse{TypeUrl: string(r.Type), Nonce: r.Nonce}
	hash := sha256.New()
	for _, x := range r.Resources {
		fmt.Fprintf(hash, "%q %q\n", x.Name, x.Version)
		if body := x.any(); body != nil {
			wire.Resources = append(wire.Resources, body)
		}
	}
	wire.VersionInfo = fmt.Sprintf("%x", hash.Sum(nil)[:8])
	return wire
}
