package meshtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// logEntry is what a proxy's access log says of a request.
type logEntry struct{ Rule, Flags, Details, Path string }

// logged returns the entries of all requests, by their numbers.
func (w *explainMesh) logged() map[int]logEntry {
	w.t.Helper()
	entries := map[int]logEntry{}
	meshtest.Await(w.t, "the access logs", func() bool {
		for _, from := range []way{byA, byB, byDoor} {
			text, err := os.ReadFile(filepath.Join(w.from[from].Dir, "access.log"))
			if err != nil {
				w.t.Fatal(err)
			}
			for line := range strings.Lines(string(text)) {
				var entry logEntry
				if json.Unmarshal([]byte(line), &entry) != nil {
					continue
				}
				_, query, _ := strings.Cut(entry.Path, "?n=")
				if number, err := strconv.Atoi(query); err == nil {
					entries[number] = entry
				}
			}
		}
		return len(entries) >= len(w.all)
	})
	return entries
}

// judge compares what was foretold with what was seen, request by request and then share by share.
func (w *explainMesh) judge() {
	w.t.Helper()
	entries := w.logged()
	shown := 0
	tally := newTally()
	for i, e := range w.all {
		got, err := e.outcome(entries[i])
		if err == nil {
			tally.add(e, got)
			continue
		}
		if shown++; shown <= 10 {
			w.t.Errorf("%s: %v\n%s", e.ask, err, e.story(entries[i]))
		}
	}
	w.t.Logf("%d requests, %d told wrongly; %v", len(w.all), shown, tally)
	for _, kind := range explainKinds {
		if tally.kinds[kind] < 20 {
			w.t.Errorf("%q occurs %d times only", kind, tally.kinds[kind])
		}
	}
	for name, s := range tally.shares {
		if s.of < 1000 && name == "share by weight" {
			w.t.Errorf("%s: %d requests are too few", name, s.of)
		}
		if difference := 100 * (s.got - s.want) / float64(s.of); s.of >= 1000 && (difference < -5 || difference > 5) {
			w.t.Errorf("%s: %+v differ by %.1f points", name, *s, difference)
		}
	}
}

// story returns everything about a request.
func (e *explained) story(entry logEntry) string {
	foretold, _ := json.MarshalIndent(e.decision, "", "  ")
	var yaml strings.Builder
	for _, c := range e.decision.Candidates {
		yaml.WriteString(e.rules[c.Name].yaml)
	}
	return fmt.Sprintf("it is answered with %d %v %q, logged as %+v\nforetold: %s\n%s",
		e.answer.status, e.answer.header, e.answer.body, entry, foretold, yaml.String())
}

// outcome returns which of the foretold outcomes came true.
func (e *explained) outcome(entry logEntry) (api.Outcome, error) {
	var taken string
	for _, c := range e.decision.Candidates {
		if c.Taken {
			taken = c.Name
		}
	}
	if taken != entry.Rule {
		return api.Outcome{}, fmt.Errorf("%q decides, not %q", entry.Rule, taken)
	}
	var reasons []string
	for _, o := range e.decision.Outcomes {
		why := e.differs(o, entry)
		if why == "" {
			return o, nil
		}
		reasons = append(reasons, why)
	}
	return api.Outcome{}, fmt.Errorf("no outcome was foretold: %s", strings.Join(reasons, "; "))
}

// differs says in what a request ended in another way than the outcome; "": in none.
func (e *explained) differs(o api.Outcome, entry logEntry) string {
	if delayed := slices.Contains(strings.Split(entry.Flags, ","), "DI"); delayed != (o.Delay > 0) {
		return fmt.Sprintf("delayed: %t", delayed)
	}
	const early = 5 * time.Millisecond // proxies count from when they last looked at the clock
	if e.answer.took < time.Duration(o.Delay)-early {
		return fmt.Sprintf("it took %v, not %v", e.answer.took, time.Duration(o.Delay))
	}
	if o.Status != 0 {
		grpc := ""
		if o.GRPC != nil {
			grpc = strconv.Itoa(*o.GRPC)
		}
		for _, part := range [][3]string{
			{"status", strconv.Itoa(o.Status), strconv.Itoa(e.answer.status)},
			{"location", o.Location, e.answer.header.Get("Location")},
			{"grpc-status", grpc, e.answer.header.Get("Grpc-Status")},
			{"body", o.Body, e.answer.body},
		} {
			if part[1] != part[2] {
				return fmt.Sprintf("%s: want %q, got %q", part[0], part[1], part[2])
			}
		}
		return ""
	}
	var s seen
	if err := json.Unmarshal([]byte(e.answer.body), &s); err != nil || e.answer.status != http.StatusOK {
		return "no application answers"
	}
	if want := backend(o.Destination); !strings.HasPrefix(s.Version, want) {
		return fmt.Sprintf("%s answers, not %s", s.Version, want)
	}
	if s.Method != e.method || s.URI != o.Path || s.Host != o.Authority {
		return fmt.Sprintf("it arrives as %s %s at %s", s.Method, s.URI, s.Host)
	}
	by := slices.Clone(e.header.Values("X-By"))
	for _, h := range o.Append {
		if h.Name == "x-by" {
			by = append(by, h.Value)
		}
	}
	if got := s.Header.Values("X-By"); !slices.Equal(got, by) {
		return fmt.Sprintf("x-by arrives as %q, not %q", got, by)
	}
	return ""
}

// backend is how the name begins by which applications of a subset answer.
func backend(s *mesh.Subset) string {
	if s == nil || strings.HasSuffix(string(s.Host), ".test") {
		return "outside"
	}
	service, _, _ := strings.Cut(string(s.Host), ".")
	return service + " " + s.Labels["version"]
}

// tally counts what occurred.
type tally struct {
	kinds  map[string]int
	shares map[string]*share
}

// share sums up how much of something was to be expected of requests, and how often it came.
type share struct {
	want, got float64
	of        int
}

func newTally() *tally { return &tally{kinds: map[string]int{}, shares: map[string]*share{}} }

func (t *tally) String() string {
	text := fmt.Sprint(t.kinds)
	for name, s := range t.shares {
		text += fmt.Sprintf(", %s: %+v", name, *s)
	}
	return text
}

// add counts a request with the outcome that came true.
func (t *tally) add(e *explained, got api.Outcome) {
	t.kinds[string(e.way)]++
	outcomes := e.decision.Outcomes
	delays := slices.ContainsFunc(outcomes, func(o api.Outcome) bool { return o.Delay > 0 })
	aborts := slices.ContainsFunc(outcomes, func(o api.Outcome) bool { return o.Status != 0 })
	for _, c := range e.decision.Candidates {
		if !c.Taken {
			continue
		}
		r, generated := e.rules[c.Name]
		if !generated {
			t.kinds[c.Name]++
		}
		for _, kind := range r.kinds {
			switch {
			case strings.HasPrefix(kind, "delay") && !delays, strings.HasPrefix(kind, "abort") && !aborts:
			case kind == "delay by header" && e.header.Get("X-Delay") == "":
			default:
				t.kinds[kind]++
			}
		}
	}
	first := outcomes[0]
	switch {
	case first.GRPC != nil:
		t.kinds["answer to gRPC"]++
	case first.Status == http.StatusOK:
		t.kinds["preflight"]++
	case first.Destination != nil && strings.HasSuffix(string(first.Destination.Host), ".test"):
		t.kinds[strings.TrimPrefix(strings.TrimPrefix(string(first.Destination.Host), "www."), "a.b.")]++
	}
	if len(outcomes) != 2 {
		return
	}
	name := "share by weight"
	switch second := outcomes[1]; {
	case first.Delay != second.Delay:
		name = "share of delays"
	case first.Status != second.Status:
		name = "share of aborts"
	}
	t.kinds[name]++
	s := t.shares[name]
	if s == nil {
		s = &share{}
		t.shares[name] = s
	}
	s.of, s.want = s.of+1, s.want+first.Percent/100
	if cmp.Equal(got, first) {
		s.got++
	}
}
