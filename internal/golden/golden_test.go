package golden

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestRun is also the example to copy: it upper-cases words.
func TestRun(t *testing.T) {
	Run(t, "testdata", func(_ *testing.T, c *Case) {
		var all strings.Builder
		for _, name := range c.Inputs() {
			all.WriteString(strings.ToUpper(c.In(name)))
		}
		c.Out("upper", all.String())
		c.Out("count", fmt.Sprintln(len(strings.Fields(all.String()))))
	})
}

const good = "A word becomes upper case.\nMore is said here.\n-- in.words --\nsail\n-- upper --\nSAIL\n"

func upper(c *Case) { c.Out("upper", strings.ToUpper(c.In("in.words"))) }

func TestVerdict(t *testing.T) {
	tests := []struct {
		name, file string
		f          func(c *Case)
		want       string // part of what the failure says; empty if the case passes
	}{
		{"equal", good, upper, ""},
		{"different", strings.Replace(good, "SAIL", "SAII", 1), upper, "-SAII\n+SAIL\n"},
		{"missing in the file", strings.Replace(good, "-- upper --\nSAIL\n", "", 1), upper, "no section upper, but this was produced:\nSAIL"},
		{"no longer produced", good + "-- lower --\nsail\n", upper, "section lower is no longer produced"},
		{"empty but produced", good + "-- empty --\n", func(c *Case) { upper(c); c.Out("empty", "") }, ""},
		{"empty and not produced", good + "-- empty --\n", upper, "section empty is no longer produced"},
		{"text without final newline", good, func(c *Case) { c.In("in.words"); c.Out("upper", "SAIL") }, ""},
		{"no comment", good[strings.Index(good, "-- in"):], upper, `the first line is ""`},
		{"no sentence", "words\n" + good, upper, `the first line is "words"`},
		{"input misspelt in the test", good, func(c *Case) { c.In("in.word") }, "the case has no section in.word"},
		{"input without its prefix", good, func(c *Case) { c.In("words") }, "words is no input"},
		{"input that may be absent", good, func(c *Case) { upper(c); c.Lookup("in.more") }, ""},
		{"input misspelt in the file", good + "-- in.word --\nx\n", upper, "nothing read input in.word"},
		{"section twice", good + "-- upper --\nSAIL\n", upper, "two sections upper"},
		{"output twice", good, func(c *Case) { upper(c); upper(c) }, "output upper was produced twice"},
		{"output named like an input", good, func(c *Case) { c.Out("in.upper", "") }, "in.upper is named like an input"},
		{"output that breaks the file", good, func(c *Case) { c.In("in.words"); c.Out("upper", "-- x --\n") }, "looks like the head of a section"},
		{"failed by the test itself", good, func(c *Case) { c.t.Errorf("sunk") }, "sunk"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, said := run(t, test.file, test.f, false)
			if test.want == "" && said != "" || !strings.Contains(said, test.want) {
				t.Errorf("said %q, want %q", said, test.want)
			}
		})
	}
}

func TestUpdate(t *testing.T) {
	stale := "A stale file.\n-- old --\nx\n-- in.words --\nsail\n-- upper --\nSAII\n"
	t.Run("rewrites outputs and keeps inputs", func(t *testing.T) {
		text, said := run(t, stale, upper, true)
		if want := "A stale file.\n-- in.words --\nsail\n-- upper --\nSAIL\n"; text != want || said != "" {
			t.Errorf("wrote %q and said %q, want %q", text, said, want)
		}
	})
	t.Run("leaves the file of a failed run alone", func(t *testing.T) {
		text, said := run(t, good, func(c *Case) { c.Out("upper", "?"); c.t.Errorf("sunk") }, true)
		if text != good || said != "sunk\n" {
			t.Errorf("wrote %q and said %q", text, said)
		}
	})
}

// run runs f on a case with this text, and returns the text of the file after it and what was said.
func run(t *testing.T, text string, f func(c *Case), update bool) (after, said string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "case.txtar")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	spoken := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := load(spoken, path)
		f(c)
		c.finish(update)
	}()
	<-done
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(file), spoken.said.String()
}

// recorder is a test whose failures are looked at instead of counted.
type recorder struct {
	testing.TB
	said strings.Builder
}

func (r *recorder) Helper()           {}
func (r *recorder) Log(...any)        {}
func (r *recorder) Failed() bool      { return r.said.Len() > 0 }
func (r *recorder) Error(args ...any) { fmt.Fprintln(&r.said, args...) }
func (r *recorder) Errorf(f string, args ...any) {
	fmt.Fprintf(&r.said, f+"\n", args...)
}

func (r *recorder) Fatal(args ...any) {
	r.Error(args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(f string, args ...any) {
	r.Errorf(f, args...)
	runtime.Goexit()
}
