package kubewrite

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

func inWordsOf(v verdict) string {
	a, p := v.of(Accepted), v.of(Programmed)
	return fmt.Sprintf("%s %s: %s | %s %s: %s | %s", a.Status, a.Reason, a.Message, p.Status, p.Reason, p.Message, v.Programmed)
}

var (
	wrongType = mesh.Problem{
		Field: "spec.precedence", Position: mesh.Position{File: "kubernetes", Line: 9, Column: 3}, Code: "wrong-type", Severity: mesh.Error,
		Message: "want a whole number", Hint: "write 5",
	}
	unknownHost = mesh.Problem{Field: "spec.destination", Code: "unknown-host", Severity: mesh.Warning, Message: "no source knows x"}
	refusedBy   = mesh.Problem{Code: "refused-by-proxy", Severity: mesh.Error, Message: "a.default refuses the cluster x: too big", Hint: "mend it"}
)

// What stands in a status follows from what there is to say of an object.
func TestVerdict(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		problems []mesh.Problem
		reach    *mesh.Reach
		want     string
	}{
		"good":       {nil, &mesh.Reach{Concerned: 3, Confirmed: 3}, "True Accepted: it is applied | True Confirmed: in 3 of 3 proxies | 3 of 3"},
		"on its way": {nil, &mesh.Reach{Concerned: 3, Confirmed: 1}, "True Accepted: it is applied | False Waiting: in 1 of 3 proxies | 1 of 3"},
		"for nobody": {nil, &mesh.Reach{}, "True Accepted: it is applied | True NobodyConcerned: in 0 of 0 proxies: none that is connected has asked for what it is about | 0 of 0"},
		"not known": {
			nil, &mesh.Reach{Concerned: 2, Confirmed: 2, Unsure: "replica b cannot be asked"},
			"True Accepted: it is applied | Unknown NotAllKnown: in at least 2 of 2 proxies: replica b cannot be asked | 2 of 2 or more",
		},
		"not counted": {nil, nil, "True Accepted: it is applied | Unknown NotAllKnown: nobody has counted yet which proxies have it | "},
		"doubtful": {
			[]mesh.Problem{unknownHost},
			&mesh.Reach{Concerned: 1, Confirmed: 1},
			"True Accepted: it is applied; spec.destination: no source knows x | True Confirmed: in 1 of 1 proxies | 1 of 1",
		},
		"bad": {
			[]mesh.Problem{unknownHost, wrongType, wrongType},
			nil,
			"False WrongType: spec.precedence: want a whole number (line 9); hint: write 5; and 1 more | False NotAccepted: it is not applied | ",
		},
		"refused": {
			[]mesh.Problem{refusedBy},
			&mesh.Reach{Concerned: 2, Confirmed: 1},
			"True Accepted: it is applied | False RefusedByProxy: in 1 of 2 proxies; a.default refuses the cluster x: too big; hint: mend it | 1 of 2",
		},
	} {
		if got := inWordsOf(verdictOf(&mesh.Judged{Problems: c.problems, Reach: c.reach}, "refused-by-proxy", verdict{}, time.Now())); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, c.want)
		}
	}
}

// A status is bounded, whatever there is to say; what reads it back finds that nothing differs, and since when it is so.
func TestVerdictIsBounded(t *testing.T) {
	t.Parallel()
	j := &mesh.Judged{Sight: mesh.Sight{Generation: 7}}
	for range 500 {
		p := wrongType
		p.Message, p.Hint, p.Field = strings.Repeat("ü", 1<<10), strings.Repeat("y", 1<<12), "spec.\xff"+strings.Repeat("z", 1<<12)
		j.Problems = append(j.Problems, p)
	}
	began := time.Now()
	v := verdictOf(j, "refused-by-proxy", verdict{}, began)
	text, err := json.Marshal(v)
	if err != nil || len(text) > 64<<10 || len(v.Problems) != maxProblems {
		t.Errorf("%d bytes, %d problems, %v", len(text), len(v.Problems), err)
	}
	again := verdictOf(j, "refused-by-proxy", readVerdict(text), began.Add(time.Hour))
	if again.compare(readVerdict(text)) != same || !again.of(Accepted).LastTransitionTime.Equal(&v.of(Accepted).LastTransitionTime) {
		t.Errorf("what was read back differs: %v", again.of(Accepted))
	}
	for _, strange := range []string{"", "null", `{"conditions": "x"}`, `{"conditions": [{"type": 5}]}`, `{"conditions": null, "more": 1}`} {
		if v.compare(readVerdict([]byte(strange))) != inMatter {
			t.Errorf("%s is taken for ours", strange)
		}
	}
}

// Events tell what becomes bad, good and refused; each once within a while, and not more than so many.
func TestSayings(t *testing.T) {
	t.Parallel()
	of := func(problems ...mesh.Problem) verdict {
		return verdictOf(&mesh.Judged{Problems: problems, Reach: &mesh.Reach{Concerned: 2, Confirmed: 2}}, "refused-by-proxy", verdict{}, time.Now())
	}
	other := wrongType
	other.Code, other.Hint = "unknown-field", ""
	for name, c := range map[string]struct {
		before, now verdict
		want        string
	}{
		"good from the start": {verdict{}, of(), ""},
		"bad from the start":  {verdict{}, of(wrongType), "Warning WrongType: spec.precedence: want a whole number (line 9); hint: write 5"},
		"bad as before":       {of(wrongType), of(wrongType), ""},
		"bad in another way":  {of(wrongType), of(other), "Warning UnknownField: spec.precedence: want a whole number (line 9)"},
		"good again":          {of(wrongType), of(), "Normal Accepted: it is good again: it is applied"},
		"only doubtful":       {of(), of(unknownHost), ""},
		"refused":             {of(), of(refusedBy), "Warning RefusedByProxy: a.default refuses the cluster x: too big; hint: mend it"},
		"refused as before":   {of(refusedBy), of(refusedBy, unknownHost), ""},
		"taken again":         {of(refusedBy), of(), "Normal Confirmed: no proxy refuses it any more"},
	} {
		var got []string
		for _, s := range sayings(c.before, c.now) {
			got = append(got, s.kind+" "+s.reason+": "+s.note)
		}
		if strings.Join(got, "\n") != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	e, now, told := newEvents(Config{}), time.Now(), 0
	for i := range 1000 {
		s := saying{object: mesh.Ref{Name: fmt.Sprint(i / 2)}, note: "bad"}
		if e.mayTell(s, now) {
			told++
		}
	}
	if told < eventsBurst || told > eventsBurst+5 {
		t.Errorf("%d Events at once", told)
	}
	first := saying{object: mesh.Ref{Name: "0"}, note: "bad"}
	if e.mayTell(first, now.Add(quietFor/2)) {
		t.Error("the same is said again soon")
	}
}
