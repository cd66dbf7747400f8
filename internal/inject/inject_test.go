package inject

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/edit"
	"github.com/lateen-mesh/lateen/internal/golden"
)

// TestInject shows what comes out, and holds every case against what is promised: nothing but added lines unless the case has
// in.brackets, the meaning and a sidecar if kubectl can read it, the same when done twice, and the way back, which is one to the
// byte unless the case has in.aliases, and none if it has in.injected from before.
func TestInject(t *testing.T) {
	golden.Run(t, filepath.Join("testdata", "inject"), func(t *testing.T, c *golden.Case) {
		file := c.In("in.file")
		_, brackets := c.Lookup("in.brackets")
		_, aliases := c.Lookup("in.aliases")
		_, whole := c.Lookup("in.whole")
		o := options
		if ranges, ok := c.Lookup("in.ranges"); ok {
			o.Ranges = strings.Fields(ranges)
		}
		if excluded, ok := c.Lookup("in.excluded"); ok {
			o.Exclude = strings.Fields(excluded)
		}
		r := Inject("file", []byte(file), o)
		text := string(r.Text)
		if !whole {
			text = abridged(text)
		}
		c.Out("out", text)
		c.Out("told", told(r))

		if !brackets && !aliases {
			checkLines(t, file, string(r.Text))
		}
		if _, unread := c.Lookup("in.unread"); !unread {
			checkMeaning(t, []byte(file), o, r)
			checkTypes(t, []byte(file), r.Text)
		}
		if again := Inject("file", r.Text, o); string(again.Text) != string(r.Text) {
			t.Errorf("done twice, it is something else:\n%s", again.Text)
		}
		_, injected := c.Lookup("in.injected")
		switch back := Uninject("file", r.Text).Text; {
		case injected:
		case aliases:
			if difference := cmp.Diff(read(t, []byte(file)), read(t, back)); difference != "" {
				t.Errorf("the way back ends at another meaning:\n%s", difference)
			}
		case string(back) != file:
			t.Errorf("the way back ends somewhere else:\n%s", back)
		}
	})
}

// told returns what is said about a file.
func told(r Result) string {
	var b strings.Builder
	for _, w := range r.Workloads {
		switch {
		case w.Changed:
			fmt.Fprintf(&b, "%s: %s: injected\n", w.Position, w.Ref)
		case w.Why != "":
			fmt.Fprintf(&b, "%s: %s: left alone: %s\n", w.Position, w.Ref, w.Why)
		}
	}
	for _, p := range r.Problems {
		fmt.Fprintln(&b, p)
	}
	fmt.Fprintf(&b, "%d others\n", r.Others)
	return b.String()
}

var (
	ours       = regexp.MustCompile(`^(\s*)- name: (lateen-capture|lateen-proxy|lateen|lateen-run)\s*$`)
	oursInJSON = regexp.MustCompile(`^(\s*)"name": "(lateen-capture|lateen-proxy|lateen|lateen-run)",$`)
)

// abridged leaves out what is the same in every sidecar.
func abridged(text string) string {
	for _, part := range append(trees(For(options, nil, 0).InitContainers), trees(For(options, nil, 0).Volumes)...) {
		text = strings.ReplaceAll(text, edit.Inline(part), "{"+edit.Inline(part)[1:strings.Index(edit.Inline(part), ",")]+", …}")
	}
	var out []string
	margin := -1 // of a part that is left out
	for line := range strings.SplitSeq(text, "\n") {
		indent := len(line) - len(strings.TrimLeft(line, " \t"))
		if margin >= 0 && indent > margin && strings.TrimSpace(line) != "" {
			continue
		}
		margin = -1
		out = append(out, line)
		if m := ours.FindStringSubmatch(line); m != nil {
			margin = len(m[1])
			out = append(out, m[1]+"  …")
		}
		if m := oursInJSON.FindStringSubmatch(line); m != nil {
			margin = len(m[1]) - 1
			out = append(out, m[1]+"…")
		}
	}
	return strings.Join(out, "\n")
}
