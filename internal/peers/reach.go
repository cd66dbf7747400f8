package peers

import (
	"fmt"
	"maps"
	"slices"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Reach is what a replica says of an object of the cluster: in which words it knows it, and how far that is among its proxies.
type Reach struct {
	Object    mesh.Ref       `json:"object"`
	Version   string         `json:"version"` // of its words; "": it does not know it, or not any more
	Concerned int            `json:"concerned,omitempty"`
	Confirmed int            `json:"confirmed,omitempty"`
	Refused   []mesh.Problem `json:"refused,omitempty"` // what its proxies say of it
}

// ReachQuestion asks for what is new after a number of an epoch of the one who is asked; zero: for everything.
type ReachQuestion struct {
	Epoch string `json:"epoch,omitempty"`
	After int64  `json:"after,omitempty"`
}

// ReachNews is the answer, up to a number.
type ReachNews struct {
	Epoch string  `json:"epoch"`
	Upto  int64   `json:"upto"`
	Rows  []Reach `json:"rows,omitempty"`
}

// Reaches knows how far objects are among the proxies of this replica.
type Reaches interface {
	// News answers a question.
	News(q ReachQuestion) ReachNews
	// Wanted tells whether this replica wants to know it of the others.
	Wanted() bool
}

// reachQuestion returns what a replica is asked, or nil. The lock is held.
func (p *Peers) reachQuestion(s *state) *ReachQuestion {
	switch {
	case p.c.Reaches == nil || !p.c.Reaches.Wanted():
		return nil
	case s == nil:
		return &ReachQuestion{}
	default:
		q := s.reached
		return &q
	}
}

// takeReaches notes what a replica has said. The lock is held.
func (p *Peers) takeReaches(s *state, news *ReachNews) {
	if news == nil {
		return
	}
	if news.Epoch != s.reached.Epoch {
		p.loseReaches(s)
		s.reaches = map[mesh.Ref]Reach{}
	}
	s.reached = ReachQuestion{news.Epoch, news.Upto}
	for _, r := range news.Rows {
		if s.reaches[r.Object] = r; r.Version == "" {
			delete(s.reaches, r.Object)
		}
		p.moved[r.Object] = true
	}
}

// loseReaches forgets what a replica has said. The lock is held.
func (p *Peers) loseReaches(s *state) {
	for ref := range s.reaches {
		p.moved[ref] = true
	}
	s.reaches, s.reached = nil, ReachQuestion{}
}

// noteUnheard notes whether other members than before say nothing of objects. The lock is held.
func (p *Peers) noteUnheard(list []Replica) {
	var unheard []string
	if p.c.Reaches != nil && p.c.Reaches.Wanted() {
		for _, r := range list {
			if !p.isHeard(r) {
				unheard = append(unheard, r.Name)
			}
		}
	}
	slices.Sort(unheard)
	if unheard == nil {
		unheard = []string{} // which is known now
	}
	if p.unheard == nil || !slices.Equal(unheard, p.unheard) {
		p.unheard, p.all = unheard, true
	}
}

// isHeard tells whether a member says how far objects are there. The lock is held.
func (p *Peers) isHeard(r Replica) bool {
	s := p.states[r.Name]
	return s != nil && s.replica == r && s.reaches != nil
}

// ReachMoved returns the objects of which the others have said something else since it was last called, in no order. All: it may be any,
// since others can be asked than before.
func (p *Peers) ReachMoved() (moved []mesh.Ref, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	moved, all = slices.Collect(maps.Keys(p.moved)), p.all
	clear(p.moved)
	p.all = false
	return moved, all
}

// Reach adds up what the others say of an object in some words. Late: one of them does not know it in these words, and may soon.
func (p *Peers) Reach(ref mesh.Ref, version string) (sum mesh.Reach, refused []mesh.Problem, late bool) {
	list, err := p.members()
	if err != nil {
		return mesh.Reach{Unsure: err.Error()}, nil, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range list {
		if !p.isHeard(r) {
			sum.Unsure = fmt.Sprintf("replica %s cannot be asked", r.Name)
			continue
		}
		said, known := p.states[r.Name].reaches[ref]
		sum.Concerned += said.Concerned
		if !known || said.Version != version {
			sum.Unsure, late = fmt.Sprintf("replica %s has not read it yet", r.Name), true
			continue
		}
		sum.Confirmed += said.Confirmed
		refused = append(refused, said.Refused...)
	}
	return sum, refused, late
}
