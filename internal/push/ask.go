package push

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

const (
	answerWait   = time.Second // bound on waiting for streams to answer
	maxQuestions = 64          // that wait for one stream
)

// ask has the proxy's stream answer a question between two messages. The channel is nil where it cannot.
func ask[Answer any](e *Engine, p *Proxy, question func() Answer) <-chan Answer {
	answer := make(chan Answer, 1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.evicted {
		return nil
	}
	select {
	case p.questions <- func() { answer <- question() }:
	default:
		return nil
	}
	select {
	case p.wake <- struct{}{}:
	default: // it will look anyway
	}
	return answer
}

// await waits for an answer, as long as ctx lets it.
func await[Answer any](ctx context.Context, answers <-chan Answer) (answer Answer, answered bool) {
	if answers == nil {
		return answer, false
	}
	select {
	case answer = <-answers:
		return answer, true
	case <-ctx.Done():
		return answer, false
	}
}

// answer answers the questions that wait.
func (p *Proxy) answer() {
	for {
		select {
		case question := <-p.questions:
			question()
		default:
			return
		}
	}
}

// Sent is a resource that a proxy is to have.
type Sent struct {
	Resource  view.ID
	Type      xds.Type
	Wanted    string // its version now; "": there is none
	Sent      string // version that was sent last, or that the proxy brought when it connected; "": none
	Confirmed string // version that the proxy confirmed last; "": none
	Reason    string // why the proxy refuses the version of now, in its own words; "": it does not
	want      *made
	engine    *Engine
}

// Text returns the version of now as JSON, without what must not be shown; "" where there is none.
func (s *Sent) Text() (string, error) {
	if s.want == nil {
		return "", nil
	}
	r, err := s.engine.whole(s.want)
	if err != nil {
		return "", fmt.Errorf("make %s: %w", s.Resource, err)
	}
	message, err := envoy.Read(string(r.Type), r.Body)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", r.Name, err)
	}
	return envoy.Message{Name: r.Name, Proto: message}.Text()
}

// ErrSilent tells that a proxy's stream did not answer a question in time, as when the proxy takes no messages.
var ErrSilent = errors.New("it takes no messages at the moment, so its stream cannot say what it holds")

// Sent lists what a connected proxy is to have, on all its streams, sorted.
func (e *Engine) Sent(ctx context.Context, proxy mesh.ProxyID) ([]Sent, error) {
	streams := e.streams(proxy)
	if len(streams) == 0 {
		return nil, fmt.Errorf("proxy %s is not connected", proxy)
	}
	answers := make([]<-chan []Sent, len(streams))
	for i, p := range streams {
		answers[i] = ask(e, p, p.holdings)
	}
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	var list []Sent
	some := false
	for _, a := range answers {
		held, answered := await(ctx, a)
		list, some = append(list, held...), some || answered
	}
	if !some {
		return nil, fmt.Errorf("proxy %s: %w", proxy, ErrSilent)
	}
	slices.SortStableFunc(list, func(a, b Sent) int { return compareIDs(a.Resource, b.Resource) })
	return slices.CompactFunc(list, func(a, b Sent) bool { return a.Resource == b.Resource }), nil
}

// streams lists the streams of a proxy, the one that came last first: one that came back may have left an older one, and
// clients without a proxy may have one for each type.
func (e *Engine) streams(id mesh.ProxyID) []*Proxy {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := slices.Collect(maps.Keys(e.byID[id]))
	slices.SortFunc(list, func(a, b *Proxy) int { return b.since.Compare(a.since) })
	return list
}

// holdings lists what the proxy is to have.
func (p *Proxy) holdings() []Sent {
	list := p.heldScopes()
	for id, s := range p.slots {
		if _, own := p.own[id]; own && s.want == nil && s.have == "" {
			continue // it has none now, and has asked for none by name
		}
		h := Sent{Resource: id, Type: typeOf[id.Kind], Sent: s.have, Confirmed: s.acked, want: s.want, engine: p.engine}
		if s.want != nil {
			h.Wanted = s.want.resource.Version
		}
		if s.isRefused() {
			h.Reason = s.rare.reason
		}
		list = append(list, h)
	}
	return list
}
