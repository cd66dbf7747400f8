// Package xds speaks the incremental xDS protocol with proxies over one aggregated gRPC stream each (delta ADS, see
// https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol).
//
// It knows resources as {type, name, version, bytes} and nothing of routes or clusters. A [Session] is the protocol
// without clock, network or goroutine: requests go in, events come out, and answers are made from what the caller
// wants to send. [Server] puts a stream around it and lets a [Client] decide what is sent and when; each stream has
// one goroutine that reads and one that does everything else, so that a slow proxy slows nobody.
package xds

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"
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
)

// Resource is one named, marshalled message. Its version tells its content. It is shared by all streams and never changed.
type Resource struct {
	Type    Type
	Name    string
	Version string
	Body    []byte // nil: the name is answered with nothing
}

// maxNames bounds the names that one request may name.
const maxNames = 100_000

// Session is the state of one stream: what its proxy asked for, what it was sent and what it confirmed.
type Session struct {
	types map[Type]*state
	nonce int64
}

type state struct {
	flights []*Delivery // sent and not answered, oldest first
}

// Delivery is one response, until the proxy confirms or refuses it.
type Delivery struct {
	Type    Type
	Nonce   int64             // rises with every response of the session, over all types
	Sent    map[string]string // name to version
	Removed []string
}

// Event is what one request says.
type Event struct {
	Type         Type
	First        bool              // the first request for the type on this stream
	Held         map[string]string // with First: what the proxy still has from an earlier stream, name to version
	Subscribed   []string          // names asked for, sorted; a name may come again
	Unsubscribed []string          // names no longer wanted, sorted
	Acked        *Delivery
	Refused      *Delivery
	Reason       string // with Refused: the proxy's own words
}

// NewSession returns the state of a new stream.
func NewSession() *Session { return &Session{types: map[Type]*state{}} }

// Receive takes a request and tells what it says. An error means that the proxy does not keep to the protocol.
func (s *Session) Receive(req *discoveryv3.DeltaDiscoveryRequest) (Event, error) {
	e := Event{Type: Type(req.GetTypeUrl())}
	if len(req.GetResourceNamesSubscribe())+len(req.GetResourceNamesUnsubscribe())+len(req.GetInitialResourceVersions()) > maxNames {
		return e, fmt.Errorf("request for %s with more than %d names", e.Type, maxNames)
	}
	st, ok := s.types[e.Type]
	if !ok {
		st = &state{}
		s.types[e.Type] = st
		e.First, e.Held = true, req.GetInitialResourceVersions()
	}
	if req.GetResponseNonce() != "" {
		d, err := st.answer(req.GetResponseNonce())
		if err != nil {
			return e, fmt.Errorf("%s: %w", e.Type, err)
		}
		if req.GetErrorDetail() != nil {
			e.Refused, e.Reason = d, req.GetErrorDetail().GetMessage()
		} else {
			e.Acked = d
		}
	}
	for _, name := range req.GetResourceNamesSubscribe() {
		if name != "*" { // everything: said again on each new stream, beside the names that are meant
			e.Subscribed = append(e.Subscribed, name)
		}
	}
	e.Unsubscribed = append(e.Unsubscribed, req.GetResourceNamesUnsubscribe()...)
	slices.Sort(e.Subscribed)
	slices.Sort(e.Unsubscribed)
	return e, nil
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

// InFlightOf counts the responses of one type that the proxy has not answered.
func (s *Session) InFlightOf(t Type) int {
	if st := s.types[t]; st != nil {
		return len(st.flights)
	}
	return 0
}

// Respond makes the response that carries the resources and removals, and remembers it until it is answered. The
// type must have been opened.
func (s *Session) Respond(t Type, resources []*Resource, removed []string) (*discoveryv3.DeltaDiscoveryResponse, *Delivery) {
	s.nonce++
	d := &Delivery{Type: t, Nonce: s.nonce, Sent: make(map[string]string, len(resources)), Removed: removed}
	res := &discoveryv3.DeltaDiscoveryResponse{
		TypeUrl:          string(t),
		Nonce:            strconv.FormatInt(s.nonce, 10),
		RemovedResources: removed,
	}
	for _, r := range resources {
		d.Sent[r.Name] = r.Version
		wire := &discoveryv3.Resource{Name: r.Name, Version: r.Version}
		if r.Body != nil {
			wire.Resource = &anypb.Any{TypeUrl: string(t), Value: r.Body}
		}
		if t == VirtualHostType {
			wire.Aliases = []string{r.Name} // Envoy looks for the name that it asked for among the aliases
		}
		res.Resources = append(res.Resources, wire)
	}
	st := s.types[t]
	st.flights = append(st.flights, d)
	return res, d
}
