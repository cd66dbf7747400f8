package doctest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/cli"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

const (
	// program tells, in the environment of a process, that the test's binary is to be lateen.
	program = "LATEEN_DOCTEST_PROGRAM"

	documentTime   = time.Minute      // for all that a document runs
	startTime      = 30 * time.Second // for what runs in the background to say that it is there
	eventuallyTime = 10 * time.Second // for output to become right
	endTime        = 15 * time.Second // from SIGINT to the end
	tick           = 50 * time.Millisecond
)

func TestMain(m *testing.M) {
	if os.Getenv(program) != "" {
		os.Exit(cli.Main(context.Background(), os.Args[1:])) //nolint:forbidigo // this is lateen's main function here
	}
	os.Exit(m.Run())
}

func TestDocumentsRun(t *testing.T) {
	for _, d := range documents(t) {
		if !slices.ContainsFunc(d.blocks, func(b block) bool { return b.has("run") }) {
			continue
		}
		t.Run(strings.ReplaceAll(strings.TrimSuffix(d.name, ".md"), "/", "-"), func(t *testing.T) {
			netns.Run(t, func(t *testing.T) {
				began := time.Now()
				newSession(t).document(d)
				t.Logf("%s took %.1f s", d.name, time.Since(began).Seconds())
			})
		})
	}
}

// session runs commands as a reader would, in a home and a folder of their own.
type session struct {
	t      *testing.T
	ctx    context.Context
	dir    string
	env    []string
	behind *background // nil: nothing runs in the background
}

func newSession(t *testing.T) *session {
	t.Helper()
	for _, tool := range []string{"curl", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("the documents use %[1]s, which is not on PATH: apt-get install %[1]s", tool)
		}
	}
	home, err := os.MkdirTemp("", "doc") //nolint:usetesting // TempDir holds the test's name, and paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &session{t: t, dir: filepath.Join(home, "lateen")}
	if err := errors.Join(
		os.MkdirAll(filepath.Join(s.dir, "bin"), 0o700),
		os.Symlink(binary, filepath.Join(s.dir, "bin", "lateen")),
		os.CopyFS(filepath.Join(s.dir, "samples"), os.DirFS(filepath.Join(meshtest.Root(t), "samples"))),
	); err != nil {
		t.Fatal(err)
	}
	s.env = append(plainEnvironment(),
		program+"=1", "HOME="+home, "LATEEN_ENVOY="+meshtest.Envoy(t),
		"PATH="+filepath.Join(s.dir, "bin")+string(filepath.ListSeparator)+os.Getenv("PATH"))
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithTimeout(context.WithoutCancel(t.Context()), documentTime) // t's ends before the clean-up
	t.Cleanup(cancel)
	t.Cleanup(func() { s.interrupt(nil) })
	return s
}

// plainEnvironment is the environment without what would lead commands elsewhere than a reader's.
func plainEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(pair), "=")
		return strings.HasSuffix(name, "_PROXY") || name == "XDG_STATE_HOME" || name == "PWD" || name == "NO_COLOR"
	})
}

// document runs a document's blocks in their order.
func (s *session) document(d document) {
	s.t.Helper()
	for i, b := range d.blocks {
		at := d.name + ":" + strconv.Itoa(b.line)
		var want *block
		if i+1 < len(d.blocks) && d.blocks[i+1].language == "output" {
			want = &d.blocks[i+1]
		}
		name, isFile := b.value("file")
		switch {
		case isFile:
			if err := os.WriteFile(filepath.Join(s.dir, name), []byte(b.text), 0o600); err != nil {
				s.t.Fatal(err)
			}
		case b.language == "output" && b.has("interrupt"):
			s.interrupt(&b)
		case b.has("background"):
			s.start(at, b, want)
		case b.has("run"):
			s.run(at, b, want)
		}
		if s.t.Failed() {
			return
		}
	}
}

// run runs a block and compares its output, again and again if it is to be right eventually.
func (s *session) run(at string, b block, want *block) {
	s.t.Helper()
	wantCode, _ := b.value("exit")
	code, _ := strconv.Atoi(wantCode)
	deadline := time.Now().Add(eventuallyTime)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		output, got := s.once(b.text)
		if got == code && (want == nil || pattern(want.text).MatchString(output)) {
			return
		}
		if s.ctx.Err() != nil || !b.has("eventually") || time.Now().After(deadline) {
			s.t.Fatalf("%s: exit code %d, want %d\n%s\nwant\n%s", at, got, code, output, textOf(want))
		}
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
		}
	}
}

// once runs a script and returns all its output and its exit code.
func (s *session) once(script string) (output string, code int) {
	cmd := s.shell(script)
	text, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(text), exit.ExitCode()
	}
	if err != nil {
		return string(text) + err.Error(), -1
	}
	return string(text), 0
}

func (s *session) shell(script string) *exec.Cmd {
	cmd := exec.CommandContext(s.ctx, "sh", "-euc", script)
	cmd.Dir, cmd.Env, cmd.WaitDelay = s.dir, s.env, time.Second
	return cmd
}

// background is what runs until the end of a document.
type background struct {
	cmd    *exec.Cmd
	ended  chan struct{}
	err    error // set before ended is closed
	output *testkit.Output
}

// start runs a block whose last command goes on, and waits for the output.
func (s *session) start(at string, b block, want *block) {
	s.t.Helper()
	lines := strings.Split(strings.TrimSpace(b.text), "\n")
	lines[len(lines)-1] = "exec " + lines[len(lines)-1] // so that it gets the signals itself
	cmd := s.shell(strings.Join(lines, "\n"))
	p := &background{cmd: cmd, ended: make(chan struct{}), output: &testkit.Output{}}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("%s: %v", at, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	s.behind = p
	if want == nil {
		return
	}
	timer, ticker := time.NewTimer(startTime), time.NewTicker(tick)
	defer timer.Stop()
	defer ticker.Stop()
	for !pattern(want.text + "…\n").MatchString(p.output.Lines()) {
		select {
		case <-ticker.C:
		case <-p.ended:
			s.t.Fatalf("%s: ended: %v\n%s\nwant\n%s", at, p.err, p.output.Lines(), want.text)
		case <-timer.C:
			s.t.Fatalf("%s: no such output in time\n%s\nwant\n%s", at, p.output.Lines(), want.text)
		}
	}
}

// interrupt ends what runs in the background as Ctrl-C does, and compares its last output.
func (s *session) interrupt(want *block) {
	s.t.Helper()
	p := s.behind
	if p == nil {
		return
	}
	s.behind = nil
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		s.t.Errorf("interrupt: %v\n%s", err, p.output.Lines())
	}
	timer := time.NewTimer(endTime)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		s.t.Errorf("it has not ended %s after SIGINT", endTime)
		if err := p.cmd.Process.Kill(); err != nil {
			s.t.Error(err)
		}
		<-p.ended
	}
	switch {
	case p.err != nil:
		s.t.Errorf("it ended with %v\n%s", p.err, p.output.Lines())
	case want != nil && !pattern("…\n"+want.text+"…\n").MatchString(p.output.Lines()):
		s.t.Errorf("its output is\n%s\nwant at its end\n%s", p.output.Lines(), want.text)
	}
}

// pattern returns what an expected output means: … stands for any text in a line, a line of it for any lines.
func pattern(want string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("^")
	for line := range strings.Lines(want) {
		line = strings.TrimRight(line, "\n ")
		if strings.TrimSpace(line) == "…" {
			b.WriteString(`(?:[^\n]*\n)*`)
			continue
		}
		parts := strings.Split(line, "…")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		b.WriteString(strings.Join(parts, `[^\n]*`) + ` *\n`)
	}
	return regexp.MustCompile(b.String() + "$")
}

func textOf(b *block) string {
	if b == nil {
		return "anything\n"
	}
	return b.text
}

func TestPattern(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, got string
		matches   bool
	}{
		{"a\n", "a\n", true},
		{"a\n", "a\nb\n", false},
		{"a … c\n", "a b c\n", true},
		{"a…\n", "a\nb\n", false},
		{"a\n…\nb\n", "a\nb\n", true},
		{"a\n  …\nb\n", "a\nx\ny\nb\n", true},
		{"…\nb\n", "b\n", true},
		{"a.\n", "ab\n", false},
	} {
		if pattern(c.want).MatchString(c.got) != c.matches {
			t.Errorf("%q and %q: want %t", c.want, c.got, c.matches)
		}
	}
}
