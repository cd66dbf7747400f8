package peers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// others are replicas that count.
type others []Replica

func (o others) Replicas() ([]Replica, bool) { return o, o != nil }

// What others say of an object is added up where they mean the same words; who cannot be asked, or has not read it, is named.
func TestReachesOfOthers(t *testing.T) {
	t.Parallel()
	b, c := Replica{"b", "b:1"}, Replica{"c", "c:1"}
	p := New(Config{Members: others{b, c}, Log: slog.New(slog.DiscardHandler)})
	ref := mesh.Ref{Kind: "RouteRule", Namespace: "default", Name: "r"}
	say := func(r Replica, epoch string, upto int64, rows ...Reach) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.states[r.Name] == nil {
			p.states[r.Name] = &state{replica: r}
		}
		p.takeReaches(p.states[r.Name], &ReachNews{Epoch: epoch, Upto: upto, Rows: rows})
	}
	expect := func(when, want string) {
		t.Helper()
		sum, refused, late := p.Reach(ref, "v1")
		if got := fmt.Sprintf("%d/%d %q %d %v", sum.Confirmed, sum.Concerned, sum.Unsure, len(refused), late); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	expect("at first", `0/0 "replica c cannot be asked" 0 false`)
	say(b, "e", 1, Reach{Object: ref, Version: "v1", Concerned: 3, Confirmed: 2, Refused: []mesh.Problem{{Code: "x"}}})
	say(c, "e", 1)
	expect("when one has not read it", `2/3 "replica c has not read it yet" 1 true`)
	say(c, "e", 2, Reach{Object: ref, Version: "v0", Concerned: 5, Confirmed: 5})
	expect("when one knows it in other words", `2/8 "replica c has not read it yet" 1 true`)
	say(c, "e", 3, Reach{Object: ref, Version: "v1", Concerned: 5, Confirmed: 5})
	expect("when all know it", `7/8 "" 1 false`)
	p.ReachMoved() // whether it is there here does not matter: they say it once
	say(c, "e", 3)
	expect("when there is nothing new", `7/8 "" 1 false`)
	say(c, "e", 4, Reach{Object: ref})
	expect("when one does not know it any more", `2/3 "replica c has not read it yet" 1 true`)
	if n := len(p.states["c"].reaches); n != 0 {
		t.Errorf("of %d objects that are gone something is kept", n)
	}
	say(c, "e", 5, Reach{Object: ref, Version: "v1", Concerned: 5, Confirmed: 5})
	expect("when it is there again, in the same words", `7/8 "" 1 false`)
	if q := p.reachQuestion(p.states["c"]); q != nil {
		t.Errorf("somebody is asked where nobody counts: %+v", q)
	}
	say(c, "f", 1)
	expect("when one has begun anew", `2/3 "replica c has not read it yet" 1 true`)
	p.ReachMoved()
	p.mu.Lock()
	p.note(context.Background(), p.states["b"], errors.New("it does not answer")) //nolint:forbidigo // it ends nothing
	p.mu.Unlock()
	if moved, all := p.ReachMoved(); !slices.Equal(moved, []mesh.Ref{ref}) || all {
		t.Errorf("one that is silent changes what is said of %v, all: %v", moved, all)
	}
	expect("when one is silent", `0/0 "replica c has not read it yet" 0 true`)
	p.c.Members = others{}
	expect("when there are no others", `0/0 "" 0 false`)
	p.c.Members = others(nil)
	expect("when nobody knows who they are", `0/0 "it is not known yet which other replicas there are" 0 false`)
}

// counts is a replica that wants to know how far objects are.
type counts struct{}

func (counts) News(ReachQuestion) ReachNews { return ReachNews{} }

func (counts) Wanted() bool { return true }

// Whether a member can be asked changes what there is to say of every object: also one that has never said anything, and one that goes
// while it is silent.
func TestWhoIsUnheardChangesAll(t *testing.T) {
	t.Parallel()
	b := Replica{"b", "b:1"}
	p := New(Config{Members: others{b}, Reaches: counts{}, Log: slog.New(slog.DiscardHandler)})
	expect := func(when string, list []Replica, want bool) {
		t.Helper()
		p.elsewhere(list)
		if _, all := p.ReachMoved(); all != want {
			t.Errorf("%s: all %v, want %v", when, all, want)
		}
	}
	expect("when it is known that there are no others", nil, true)
	expect("alone", nil, false)
	expect("one comes that says nothing", []Replica{b}, true)
	expect("it goes on so", []Replica{b}, false)
	p.mu.Lock()
	p.states["b"] = &state{replica: b}
	p.takeReaches(p.states["b"], &ReachNews{Epoch: "e"})
	p.mu.Unlock()
	expect("it speaks", []Replica{b}, true)
	p.mu.Lock()
	p.note(t.Context(), p.states["b"], errors.New("it does not answer"))
	p.mu.Unlock()
	expect("it is silent", []Replica{b}, true)
	expect("it goes", nil, true)
	expect("alone again", nil, false)
	p.mu.Lock()
	p.states["b"] = &state{replica: b}
	p.takeReaches(p.states["b"], &ReachNews{Epoch: "f"})
	p.mu.Unlock()
	expect("it is back", []Replica{b}, false)
	expect("it goes while it can be heard, and lacks what others have", nil, true)
}
