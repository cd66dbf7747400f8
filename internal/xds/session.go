// Package xds speaks the xDS protocol with proxies over gRPC streams: aggregated or for one type, incremental (delta) or
// state of the world (see https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol).
//
// It knows resources as {type, name, version, bytes} and nothing of routes or clusters. A [Session] is the protocol
// without clock, network or goroutine: requests go in, events come out, and answers are made from what the caller
// wants to send. There is one logic: a request in the state-of-the-world form is read as its difference from the one before,
// and a response is written in the form of its stream. [Server] puts a stream around a session and lets a [Client] decide
// what is sent and when; each stream has one goroutine that reads and one that does everything else, so that a slow
// proxy slows nobody.
package xds

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Type is the type URL of a resource.
type Type string

// The types that Lateen sends.
const (
	ListenerType    Type = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteType       Type = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	VirtualHostType Type = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
	ClusterType     Type = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointsType   Type = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	SecretType      Type = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	FilterType      Type = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
	ScopeType       Type = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
)

// Everything is the name by which a client asks for all listeners or clusters that there are for it.
const Everything = "*"

// listed tells whether clients may ask for everything of the type, and whether a response in the state-of-the-world form
// carries all that the client has of it: what is missing is gone.
func (t Type) listed() bool { return t == ListenerType || t == ClusterType }

// Resource is one named, marshalled message. Its version tells its content. It is shared by all streams and never changed.
type Resource struct {
	Type    Type
	Name    string
	Version string
	Body    []byte // nil: the name is answered with nothing
}

// Bounds of what one stream may ask for.
const (
	maxNames = 100_000 // that one request names
	maxTypes = 32      // known or not
	maxName  = 4 << 10 // bytes of a name, in which a cluster has its labels and policies, or of a version
	maxHost  = 64 << 10
)

// longest bounds a name of the type, in bytes. A virtual host is named for what an application calls a host: Envoy takes
// headers of up to 60 KiB, and must not lose its stream because of one.
func (t Type) longest() int {
	if t == VirtualHostType {
		return maxHost
	}
	return maxName
}

// Session is the state of one stream: what its proxy asked for, what it was sent and what it confirmed.
type Session struct {
	world bool // state of the world, else delta
	types map[Type]*state
	nonce int64
}

type state struct {
	flights []*Delivery // sent and not answered, oldest first
	world   *world      // nil: delta
}

// Delivery is one response, until the proxy confirms or refuses it.
type Delivery struct {
	Type    Type
	Nonce   int64             // rises with every response of the session, over all types
	Sent    map[string]string // name to version, of what is new in it; never changed
	Removed []string
}

// Response is one message to a proxy: [Response.Delta] and [Response.World] write it.
type Response struct {
	Type      Type
	Nonce     string
	Resources []*Resource // in the state-of-the-world form of listeners and clusters: all that the proxy has
	Removed   []string
	batch     *Batch // where Resources are those of one
}

// Event is what one request says.
type Event struct {
	Type         Type
	First        bool      // the first request for the type on this stream
	Held         Held      // with First: what the proxy still has from an earlier stream
	Subscribed   []string  // names asked for, sorted; a name may come again, and may be [Everything]
	Unsubscribed []string  // names no longer wanted, sorted
	Acked        *Delivery // what the proxy has taken of a response
	Refused      *Delivery // what it has not
	Reason       string    // with Refused: the proxy's own words, the first 4 KiB of them
}

// NewSession returns the state of a new stream in the delta form.
func NewSession() *Session { return &Session{types: map[Type]*state{}} }

// begin starts reading a request, which names resources and, with their versions, those that the proxy has.
func (s *Session) begin(t Type, held Held, lists ...[]string) (Event, *state, error) {
	e := Event{Type: t}
	switch {
	case t == "":
		return e, nil, errors.New("request without a type")
	case len(t) > maxName:
		return e, nil, fmt.Errorf("request for a type of more than %d bytes", maxName)
	}
	if err := t.check(held, lists); err != nil {
		return e, nil, fmt.Errorf("request for %s with %w", t, err)
	}
	st, ok := s.types[t]
	if !ok {
		if len(s.types) >= maxTypes {
			return e, nil, fmt.Errorf("requests for more than %d types", maxTypes)
		}
		st, e.First = &state{}, true
		if s.world {
			st.world = newWorld()
		}
		s.types[t] = st
	}
	return e, st, nil
}

// check finds out whether a request names too much, or something by too long a name.
func (t Type) check(held Held, lists [][]string) error {
	count := 0
	tooLong := func(name string) bool { return len(name) > t.longest() }
	bad := false
	for name, version := range held.All() {
		count++
		bad = bad || len(name) > t.longest() || len(version) > maxName
	}
	for _, list := range lists {
		count += len(list)
		bad = bad || slices.ContainsFunc(list, tooLong)
	}
	switch {
	case count > maxNames:
		return fmt.Errorf("more than %d names", maxNames)
	case bad:
		return fmt.Errorf("a name of more than %d bytes, or a version of more than %d", t.longest(), maxName)
	}
	return nil
}

var errNonce = errors.New("nonce of a response that was not sent, or was answered before")

// answer finds the delivery that a request answers and takes it off the list.
func (st *state) answer(nonce string) (*Delivery, error) {
	number, err := strconv.ParseInt(nonce, 10, 64)
	if err != nil {
		return nil, errNonce
	}
	i := slices.IndexFunc(st.flights, func(d *Delivery) bool { return d.Nonce == number })
	if i < 0 {
		return nil, errNonce
	}
	d := st.flights[i]
	st.flights = slices.Delete(st.flights, i, i+1)
	return d, nil
}

// Opened tells whether the proxy has asked for the type at all: before that nothing may be sent.
func (s *Session) Opened(t Type) bool { return s.types[t] != nil }

// InFlight counts the responses that the proxy has not answered.
func (s *Session) InFlight() int {
	n := 0
	for t := range s.types {
		n += s.InFlightOf(t)
	}
	return n
}

// Oldest returns the nonce of the oldest response that the proxy has not answered; 0: it has answered all.
func (s *Session) Oldest() int64 {
	oldest := int64(0)
	for _, st := range s.types {
		if len(st.flights) > 0 && (oldest == 0 || st.flights[0].Nonce < oldest) {
			oldest = st.flights[0].Nonce
		}
	}
	return oldest
}

// InFlightOf counts the responses of one type that the proxy has not answered.
func (s *Session) InFlightOf(t Type) int {
	if st := s.types[t]; st != nil {
		return len(st.flights)
	}
	return 0
}

// Deltas tells whether the stream is told differences; else it is told the state of the world, where a type of which nobody asks
// for everything has no word for what is gone.
func (s *Session) Deltas() bool { return !s.world }

// Room tells whether one more response of the type may go to a proxy that is to have so many unanswered at most. In the
// state-of-the-world form it is one: a proxy may leave all but the last unanswered there.
func (s *Session) Room(t Type, most int) bool {
	if s.world {
		most = 1
	}
	return s.InFlightOf(t) < most
}

// Respond makes the response that carries the resources and removals, and remembers it until it is answered. It returns
// nil when the form of the stream has no words for it. The type must have been opened.
func (s *Session) Respond(t Type, resources []*Resource, removed []string) (*Response, *Delivery) {
	return s.respond(t, resources, removed, versions(resources))
}

// RespondBatch is Respond for resources that other streams are sent too.
func (s *Session) RespondBatch(b *Batch, removed []string) (*Response, *Delivery) {
	response, d := s.respond(b.Type, b.Resources, removed, b.versions)
	if response != nil && !s.world {
		response.batch = b
	}
	return response, d
}

// versions returns the versions of resources by name.
func versions(resources []*Resource) map[string]string {
	all := make(map[string]string, len(resources))
	for _, r := range resources {
		all[r.Name] = r.Version
	}
	return all
}

func (s *Session) respond(t Type, resources []*Resource, removed []string, sent map[string]string) (*Response, *Delivery) {
	if s.world && !t.listed() && len(resources) == 0 {
		return nil, nil
	}
	s.nonce++
	st := s.types[t]
	d := &Delivery{Type: t, Nonce: s.nonce, Sent: sent, Removed: removed}
	response := &Response{Type: t, Nonce: strconv.FormatInt(s.nonce, 10), Resources: resources, Removed: removed}
	if st.world != nil {
		st.world.last = response.Nonce
		if t.listed() {
			response.Resources = st.world.put(d, resources)
		}
	}
	st.flights = append(st.flights, d)
	return response, d
}
