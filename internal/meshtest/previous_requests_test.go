package meshtest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// replays are the streams of a scene's proxies, as they were recorded.
type replays struct {
	t     *testing.T
	scene scene
	mu    sync.Mutex
	all   map[string]*replay // by the ID of the proxy
}

// agent is in the place of an agent and its Envoy: it asks for a certificate, opens a stream with it, and says what was said then.
func (r *replays) agent(c agent.Config) func(context.Context) error {
	var enrol pastEnrolment
	readRecorded(r.t, "enrolment.json", &enrol)
	p := newReplay(r.t, c.Node, readPast(r.t, r.scene, c.Node))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[string]*replay{}
	}
	r.all[c.Node] = p
	return func(ctx context.Context) error {
		token, err := c.Tokens(ctx)
		if err != nil {
			return err
		}
		held, err := enrolledBy(ctx, enrol, c.ControlPlane, token, nil)
		if err != nil {
			return fmt.Errorf("%s: ask for a certificate: %w", c.Node, err)
		}
		conn, err := dialAsThen(c.ControlPlane, enrol, &held.pair)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		ready := func() { _ = json.NewEncoder(c.Events).Encode(agent.Event{Event: agent.Ready}) }
		prefix := c.ControlPlane[:strings.LastIndexByte(c.ControlPlane, '.')+1]
		if err := p.run(ctx, discoveryv3.NewAggregatedDiscoveryServiceClient(conn), prefix, ready); err != nil && ctx.Err() == nil {
			return fmt.Errorf("%s: %w", c.Node, err)
		}
		return nil
	}
}

// finish waits until each proxy was sent all that it was sent then, and fails where it was sent something else beside.
func (r *replays) finish(m *meshtest.Mesh) {
	r.t.Helper()
	r.mu.Lock()
	all := maps.Clone(r.all)
	r.mu.Unlock()
	for id, p := range all {
		var why string
		meshtest.Await(r.t, id+" to be sent what it was sent then", func() bool {
			why = p.left()
			return why == "" || r.t.Failed()
		})
		if why != "" {
			r.t.Errorf("%s: %s", id, why)
		}
		if more := p.beside(); len(more) > 0 {
			r.t.Errorf("%s: it is sent what sidecars of then have not been seen with: %v", id, more)
		}
	}
	wantProven(r.t, m)
}

// named is a resource by its type and name.
type named struct{ typeURL, name string }

// replay is one stream.
type replay struct {
	t    *testing.T
	node string

	mu      sync.Mutex
	pending []pendingRequest
	want    map[named]bool // what was sent then
	got     map[named]bool
}

// pendingRequest is one that was not sent yet, and what its proxy had been sent when it sent it.
type pendingRequest struct {
	request *discoveryv3.DeltaDiscoveryRequest
	after   map[named]bool
}

// newReplay reads a recording.
func newReplay(t *testing.T, node string, p past) *replay {
	r := &replay{t: t, node: node, want: map[named]bool{}, got: map[named]bool{}}
	for _, m := range p.Messages {
		if m.Response != nil {
			for _, name := range slices.Concat(m.Response.Names, m.Response.Removed) {
				r.want[named{m.Response.Type, name}] = true
			}
			continue
		}
		var req discoveryv3.DeltaDiscoveryRequest
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(m.Request, &req); err != nil {
			t.Errorf("%s: a recorded request: %v", node, err)
			continue
		}
		r.pending = append(r.pending, pendingRequest{&req, maps.Clone(r.want)})
	}
	return r
}

// run speaks until the stream ends.
func (r *replay) run(ctx context.Context, c discoveryv3.AggregatedDiscoveryServiceClient, prefix string, ready func()) error {
	stream, err := c.DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	for _, p := range r.pending {
		if n := p.request.GetNode(); n != nil {
			n.Id = strings.ReplaceAll(n.GetId(), "SUBNET.", prefix)
		}
	}
	if err := r.say(stream, nil); err != nil {
		return err
	}
	tell := sync.OnceFunc(ready)
	for {
		res, err := stream.Recv()
		if err != nil {
			return err
		}
		r.take(res)
		if err := r.say(stream, res); err != nil {
			return err
		}
		if strings.HasSuffix(res.GetTypeUrl(), ".Listener") {
			tell()
		}
	}
}

// take notes what a response holds. Every resource must be a message of a kind that Envoys of then know, and a good one.
func (r *replay) take(res *discoveryv3.DeltaDiscoveryResponse) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range res.GetResources() {
		r.got[named{res.GetTypeUrl(), resource.GetName()}] = true
		body := resource.GetResource()
		if body == nil {
			continue // there is none of this name
		}
		message, err := envoy.Read(body.GetTypeUrl(), body.GetValue())
		if v, ok := message.(interface{ ValidateAll() error }); ok && err == nil {
			err = v.ValidateAll()
		}
		if err != nil {
			r.t.Errorf("%s: %s: %v", r.node, resource.GetName(), err)
		}
	}
	for _, name := range res.GetRemovedResources() {
		r.got[named{res.GetTypeUrl(), name}] = true
	}
}

// say answers a response in the form in which one of its type was answered then, with what was asked in the same breath, and then asks all
// that was asked when as much was known.
func (r *replay) say(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, res *discoveryv3.DeltaDiscoveryResponse) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if res != nil {
		answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: res.GetTypeUrl()}
		i := slices.IndexFunc(r.pending, func(p pendingRequest) bool { return p.request.GetTypeUrl() == res.GetTypeUrl() })
		if i >= 0 && r.pending[i].request.GetResponseNonce() != "" && r.knows(r.pending[i].after) {
			answer = r.pending[i].request
			r.pending = slices.Delete(r.pending, i, i+1)
		}
		answer.ResponseNonce = res.GetNonce()
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
	for len(r.pending) > 0 && r.knows(r.pending[0].after) {
		next := proto.CloneOf(r.pending[0].request)
		if next.GetResponseNonce() != "" {
			// Then it took more responses to send as much: what was answered has been answered.
			if next.ResponseNonce = ""; len(next.GetResourceNamesSubscribe())+len(next.GetResourceNamesUnsubscribe()) == 0 {
				r.pending = r.pending[1:]
				continue
			}
		}
		r.pending = r.pending[1:]
		if err := stream.Send(next); err != nil {
			return err
		}
	}
	return nil
}

// knows tells whether all of it was sent.
func (r *replay) knows(what map[named]bool) bool {
	for n := range what {
		if !r.got[n] {
			return false
		}
	}
	return true
}

// left says what was sent then and is not now; "": nothing.
func (r *replay) left() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var missing []string
	for n := range r.want {
		if !r.got[n] {
			missing = append(missing, n.name+" ("+n.typeURL+")")
		}
	}
	if slices.Sort(missing); len(missing) > 0 {
		return fmt.Sprintf("it is not sent %v, with %d requests to come", missing, len(r.pending))
	}
	return ""
}

// beside returns what is sent now and was not then.
func (r *replay) beside() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var more []string
	for n := range r.got {
		if !r.want[n] {
			more = append(more, n.name+" ("+n.typeURL+")")
		}
	}
	slices.Sort(more)
	return more
}
