package bugreport

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// files reads an archive.
func files(t *testing.T, packed []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all[h.Name] = string(text)
	}
}

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
		got := files(t, out.Bytes())
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
