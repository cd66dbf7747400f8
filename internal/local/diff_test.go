package local

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// What is wanted is spelled "web=1x2": workload web, as its command 1 says, two replicas. What runs is spelled
// "web-0=1!": the instance 0 with the command 1, in force; "?" is not (yet), "-" leaving, "*" in force with other labels.
func TestNext(t *testing.T) {
	for name, c := range map[string]struct{ wanted, running, want string }{
		"nothing":                      {"", "", ""},
		"all":                          {"a=1x2 b=1x1", "", "start a-0 a-1 b-0"},
		"as wanted":                    {"a=1x2", "a-0=1! a-1=1!", ""},
		"not yet ready":                {"a=1x1", "a-0=1?", ""},
		"one more":                     {"a=1x3", "a-0=1! a-1=1!", "start a-2"},
		"one less":                     {"a=1x1", "a-0=1! a-1=1!", "end a-1"},
		"none":                         {"a=1x0", "a-0=1! a-1=1!", "end a-0 a-1"},
		"gone":                         {"b=1x1", "a-0=1! b-0=1!", "end a-0"},
		"gone, and leaving":            {"", "a-0=1-", ""},
		"changed":                      {"a=2x2", "a-0=1! a-1=1!", "start a-2 a-3"},
		"changed, not all in force":    {"a=2x2", "a-0=1! a-1=1! a-2=2! a-3=2?", ""},
		"changed, in force":            {"a=2x2", "a-0=1! a-1=1! a-2=2! a-3=2!", "end a-0 a-1"},
		"changed, old ones leave":      {"a=2x2", "a-0=1- a-1=1- a-2=2! a-3=2!", ""},
		"changed, the old never ready": {"a=2x1", "a-0=1?", "start a-1 end a-0"},
		"changed twice":                {"a=3x1", "a-0=1! a-1=2?", "start a-2 end a-1"},
		"changed back":                 {"a=1x1", "a-0=1! a-1=2?", "end a-1"},
		"numbers are used again":       {"a=3x1", "a-1=2!", "start a-0"},
		"but not too early":            {"a=2x1", "a-0=2-", "start a-1"},
		"changed to none":              {"a=2x0", "a-0=1!", "end a-0"},
		"labels":                       {"a=1x1", "a-0=1*", "adopt a-0"},
		"labels, and one more":         {"a=1x2", "a-0=1*", "start a-1 adopt a-0"},
	} {
		t.Run(name, func(t *testing.T) {
			var wanted []*Workload
			byName := map[string]*Workload{}
			for word := range strings.FieldsSeq(c.wanted) {
				w := &Workload{Type: mesh.Sidecar}
				name, rest, _ := strings.Cut(word, "=")
				var command string
				if _, err := fmt.Sscanf(strings.Replace(rest, "x", " ", 1), "%s %d", &command, &w.Replicas); err != nil {
					t.Fatal(err)
				}
				w.Name, w.Command = name, []string{command}
				wanted = append(wanted, w)
				byName[name+command] = w
			}
			var running []standing
			for word := range strings.FieldsSeq(c.running) {
				name, rest, _ := strings.Cut(word, "=")
				dash := strings.LastIndexByte(name, '-')
				s := standing{instance: &Instance{Name: name}, inForce: strings.ContainsAny(rest, "!*"), leaving: strings.HasSuffix(rest, "-")}
				if _, err := fmt.Sscan(name[dash+1:], &s.instance.Ordinal); err != nil {
					t.Fatal(err)
				}
				w := byName[name[:dash]+rest[:1]]
				if w == nil || strings.HasSuffix(rest, "*") {
					w = &Workload{Type: mesh.Sidecar, Name: name[:dash], Command: []string{rest[:1]}, Labels: mesh.Labels{"old": "yes"}}
				}
				s.instance.Workload = w
				running = append(running, s)
			}
			if got := spell(next(wanted, running)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func spell(c change) string {
	var words []string
	add := func(verb string, names []string) {
		if len(names) > 0 {
			slices.Sort(names)
			words = append(words, verb+" "+strings.Join(names, " "))
		}
	}
	var starts, adopts, ends []string
	for _, s := range c.start {
		starts = append(starts, instanceName(s.workload, s.ordinal))
	}
	for i := range c.adopt {
		adopts = append(adopts, i.Name)
	}
	for _, i := range c.end {
		ends = append(ends, i.Name)
	}
	add("start", starts)
	add("adopt", adopts)
	add("end", ends)
	return strings.Join(words, " ")
}

func TestInstanceName(t *testing.T) {
	door, web := &Workload{Name: "ingress", Type: mesh.Ingress}, &Workload{Name: "web-v1", Type: mesh.Sidecar}
	got := []string{instanceName(door, 0), instanceName(door, 1), instanceName(web, 0), instanceName(web, 1)}
	if want := []string{"ingress", "ingress-1", "web-v1-0", "web-v1-1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
