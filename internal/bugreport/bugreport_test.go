package bugreport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

func text(name, s string) Part {
	return Part{Name: name, Get: func(context.Context) ([]byte, error) { return []byte(s), nil }}
}

// A part that fails, that hangs, that is too long, or whose name leads elsewhere costs only itself.
func TestWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var told []string
		hang := Part{Name: "hangs", Get: func(ctx context.Context) ([]byte, error) {
			<-ctx.Done()
			<-t.Context().Done() // and does not heed it
			return nil, nil
		}}
		failing := Part{Name: "fails", Get: func(context.Context) ([]byte, error) { return nil, errors.New("no\nright, password=" + planted) }}
		half := Part{Name: "half", Get: func(context.Context) ([]byte, error) { return []byte("so far"), errors.New("cut off") }}
		long := strings.Repeat("0123456789abcde\n", MaxPart/16) + "the end\n"
		tail := text("tail.log", long)
		tail.Tail = true
		begun := time.Now()
		s, err := Write(t.Context(), &out, Config{
			Dir: "report", Head: "a mesh", Redactor: NewRedactor(), Time: begun, Tell: func(line string) { told = append(told, line) },
			Sources: []Source{
				{Name: "good", List: func(context.Context) ([]Part, error) {
					return []Part{text("a", "good"), hang, failing, half, text("../../etc/x", "inside"), text("a", "another"), text("long.txt", long), tail}, nil
				}},
				{Name: "no list", List: func(context.Context) ([]Part, error) { return []Part{text("b", "there")}, errors.New("forbidden") }},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > 2*partTime {
			t.Errorf("it took %v", took)
		}
		got := testkit.Unpack(t, out.Bytes())
		for name, want := range map[string]string{"a": "good", "a.2": "another", "etc/x": "inside", "b": "there", "half": "so far"} {
			if got["report/"+name] != want {
				t.Errorf("%s: %q, want %q", name, got["report/"+name], want)
			}
		}
		if n := len(got["report/long.txt"]); n != MaxPart {
			t.Errorf("the long part has %d bytes", n)
		}
		if end := got["report/tail.log"]; len(end) > MaxPart || !strings.HasSuffix(end, "the end\n") || !strings.HasPrefix(end, "0123") {
			t.Errorf("the end of the log has %d bytes: %.40q", len(end), end)
		}
		index := got["report/"+IndexName]
		for _, want := range []string{
			"a mesh\n", "ok       a: 4 bytes", "missing  hangs: no answer in time", "missing  fails: no right, password=" + NotShown, "missing  no list: forbidden",
			"missing  half: cut off", "cut      long.txt: ", "cut      tail.log: ", "ok       etc/x: 6 bytes",
		} {
			if !strings.Contains(index, want) {
				t.Errorf("the index lacks %q:\n%s", want, index)
			}
		}
		if strings.Contains(strings.Join(told, "\n")+index, planted) {
			t.Errorf("told: %q", told)
		}
		if s.Missing != 4 || s.Cut != 2 || s.Whole != 4 {
			t.Errorf("%+v", s)
		}
		for name := range got {
			if !strings.HasPrefix(name, "report/") || strings.Contains(name, "..") {
				t.Errorf("a file %q", name)
			}
		}
	})
}

// The bounds of the whole hold.
func TestWholeIsBounded(t *testing.T) {
	t.Parallel()
	var parts []Part
	for range maxParts + 3 {
		parts = append(parts, text("p", "x"))
	}
	var out bytes.Buffer
	s, err := Write(t.Context(), &out, Config{Dir: "r", Redactor: NewRedactor(), Sources: []Source{listed("many", parts)}})
	if err != nil || s.Whole != maxParts || s.Missing != 3 {
		t.Errorf("%+v %v", s, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Write(ctx, io.Discard, Config{Dir: "r", Redactor: NewRedactor(), Sources: []Source{listed("many", parts)}}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// Of a log its end is kept, in whole lines: the beginning of one may be what says that the rest is a secret.
func TestEnds(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	const line = "'authorization', 'PLANTED'\n"
	for _, c := range []struct {
		log, want string
		cut       bool
	}{
		{"a\n" + line, "a\n" + line, false},
		{strings.Repeat("x", 100) + "\n" + line + "the end\n", "the end\n", true},
		{strings.Repeat("x", 100), "", true},
	} {
		const most = 30
		if err := os.WriteFile(path, []byte(c.log), 0o600); err != nil {
			t.Fatal(err)
		}
		ofFile, err := tail(path, most)
		ofStream, failed := lastOf(iotest.HalfReader(strings.NewReader(c.log)), most)
		if string(ofFile) != c.want || string(ofStream) != c.want {
			t.Errorf("of %q there is %q and %q, want %q", c.log, ofFile, ofStream, c.want)
		}
		for _, err := range []error{err, failed} {
			if end, cut := errors.AsType[onlyEnd](err); cut != c.cut || cut && end.size != int64(len(c.log)) || !cut && err != nil {
				t.Errorf("of %q: %v", c.log, err)
			}
		}
	}
	broken := errors.New("broken")
	if text, err := lastOf(io.MultiReader(strings.NewReader("so\nfar"), iotest.ErrReader(broken)), 5); string(text) != "far" || !errors.Is(err, broken) {
		t.Errorf("what breaks off: %q %v", text, err)
	}
	var out bytes.Buffer
	part := Part{Name: "log", Tail: true, Get: func(context.Context) ([]byte, error) { return []byte("end\n"), onlyEnd{99} }}
	s, err := Write(t.Context(), &out, Config{Dir: "r", Redactor: NewRedactor(), Sources: []Source{listed("x", []Part{part})}})
	if err != nil || s.Cut != 1 || s.Missing != 0 || !strings.Contains(testkit.Unpack(t, out.Bytes())["r/index.txt"], "cut      log: 4 of 99 bytes") {
		t.Errorf("%+v %v %s", s, err, testkit.Unpack(t, out.Bytes())["r/index.txt"])
	}
}

// An object whose YAML is not of the kind of JSON costs at most itself, and nothing gets by.
func TestOddObjects(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{metadata: {name: visible}, spec: {1: {x: y, 2: z}}}":                                                 "visible",
		"{metadata: {name: visible}, spec: {1: a, containers: [{1: a, name: b, args: [" + planted + "]}]}}":    "visible",
		"{metadata: {name: x}, spec: {weight: .nan}}":                                                          NotShown,
		"{metadata: {name: visible}, spec: {1: a, appendHeaders: {1: " + planted + ", x: [" + planted + "]}}}": "visible",
	} {
		got, err := Document(shown(&api.Object{Ref: mesh.Ref{Kind: "RouteRule"}, Text: text}, NewRedactor()))
		if err != nil || !strings.Contains(string(got), want) || strings.Contains(string(got), planted) {
			t.Errorf("%s: %v %s", text, err, got)
		}
	}
}
