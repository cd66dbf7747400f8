package local

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// script writes some of everything.
func script(c *console) {
	c.introduce("web-v1-0", "web-v1")
	c.introduce("db-v1-0", "db-v1")
	c.progress("waiting for both")
	c.output("web-v1-0", "web-v1", "hello")
	c.output(planeName, planeName, "a rule is wrong")
	c.progress("waiting for db-v1-0")
	c.say("%s is ready", "db-v1-0")
	c.fail("db-v1-0 ended", "look at it")
	c.problem(mesh.Problem{Severity: mesh.Error, Message: "bad", Code: "x"})
	c.progress("")
	c.say("100%%")
}

func TestConsole(t *testing.T) {
	const failures = "lateen: error: db-v1-0 ended\nlateen: hint: look at it\nerror: bad [x]\n"
	for name, c := range map[string]struct {
		config   Config
		out, err string
	}{
		"pipe":  {Config{}, "web-v1-0 | hello\nlateen   | a rule is wrong\ndb-v1-0 is ready\n100%\n", failures},
		"quiet": {Config{Quiet: true, Terminal: true}, "lateen   | a rule is wrong\n", failures},
		"colour": {
			Config{Colour: true},
			"\x1b[36mweb-v1-0 |\x1b[0m hello\nlateen   | a rule is wrong\ndb-v1-0 is ready\n100%\n", failures,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out, err strings.Builder
			c.config.Stdout, c.config.Stderr = &out, &err
			script(newConsole(c.config))
			if out.String() != c.out || err.String() != c.err {
				t.Errorf("output:\n%s\nerrors:\n%s", out.String(), err.String())
			}
		})
	}
}

// On a terminal everything appears above the line that says what is waited for.
func TestTerminal(t *testing.T) {
	var screen strings.Builder
	script(newConsole(Config{Stdout: &screen, Stderr: &screen, Terminal: true}))
	var shown []string
	for line := range strings.SplitSeq(screen.String(), "\n") {
		if erased := strings.LastIndex(line, eraseLine); erased >= 0 {
			line = line[erased+len(eraseLine):]
		}
		shown = append(shown, line)
	}
	want := "web-v1-0 | hello\nlateen   | a rule is wrong\ndb-v1-0 is ready\nlateen: error: db-v1-0 ended\n" +
		"lateen: hint: look at it\nerror: bad [x]\n100%\n"
	if got := strings.Join(shown, "\n"); got != want {
		t.Errorf("the terminal shows\n%q, want\n%q", got, want)
	}
	if !strings.Contains(screen.String(), eraseLine+"waiting for db-v1-0") {
		t.Error("nothing was waited for")
	}
}
