// Package catest is what every storage of a certificate authority must do: run [Run] in the tests of one.
package catest

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// TrustDomain is that of the authorities under test.
const TrustDomain = "cluster.local"

// Subject is a storage under test, with nothing in it.
type Subject struct {
	// Open returns the storage as one more control plane sees it.
	Open func(t *testing.T) ca.Storage
	// Put writes a part past the storage, as somebody does by hand; nil removes it.
	Put func(t *testing.T, part ca.Part, text []byte)
	// Aside returns what was set aside of the root.
	Aside func(t *testing.T) [][]byte
	// Alone: only one control plane uses it at a time.
	Alone bool
}

// Run tests storages that subject makes.
func Run(t *testing.T, subject func(t *testing.T) Subject) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s Subject)
	}{
		{"nothing is there", empty},
		{"a part is created once", create},
		{"parts are replaced", replace},
		{"all make a root at once", crowd},
		{"a lost root is never replaced", lost},
		{"whoever starts later has the same root", restart},
		{"what was lost while it ran is put back", putBack},
		{"what somebody has decided stays", decided},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, subject(t)) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func parts() []ca.Part { return []ca.Part{ca.RootPart, ca.MarkPart} }

// read makes sure what there is of a part; nil: nothing.
func read(t *testing.T, s ca.Storage, part ca.Part, want []byte) {
	t.Helper()
	got, err := s.Read(t.Context(), part)
	if want == nil && !errors.Is(err, fs.ErrNotExist) || want != nil && (err != nil || !bytes.Equal(got, want)) {
		t.Errorf("the %s is %q, %v; want %q", part, got, err, want)
	}
}

// root returns the text of a root that some authority has made.
func root(t *testing.T) []byte {
	t.Helper()
	s := newMemory()
	open(t, s).close(t)
	text, err := s.Read(t.Context(), ca.RootPart)
	must(t, err)
	return text
}

func empty(t *testing.T, s Subject) {
	storage := s.Open(t)
	for _, part := range parts() {
		read(t, storage, part, nil)
		if storage.Where(part) == "" {
			t.Errorf("nobody can tell where the %s is", part)
		}
	}
}

func create(t *testing.T, s Subject) {
	storage, mark := s.Open(t), []byte(`{"format":"x"}`)
	first, second := root(t), root(t)
	must(t, storage.Create(t.Context(), ca.RootPart, first))
	read(t, storage, ca.RootPart, first)
	read(t, storage, ca.MarkPart, nil)
	must(t, storage.Create(t.Context(), ca.MarkPart, mark))
	for _, text := range [][]byte{first, second} {
		if err := storage.Create(t.Context(), ca.RootPart, text); !errors.Is(err, fs.ErrExist) {
			t.Errorf("created twice: %v", err)
		}
	}
	if err := storage.Create(t.Context(), ca.MarkPart, []byte("{}")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	other := s.Open(t)
	read(t, other, ca.RootPart, first)
	read(t, other, ca.MarkPart, mark)
}

func replace(t *testing.T, s Subject) {
	storage := s.Open(t)
	first, second := root(t), root(t)
	for _, step := range []struct {
		text  []byte
		aside bool
	}{{first, false}, {first, false}, {second, true}, {first, true}, {second, true}} {
		aside, err := storage.Replace(t.Context(), ca.RootPart, step.text)
		if err != nil || aside.Lost || (aside.Where != "") != step.aside {
			t.Errorf("replaced: %+v, %v; want aside: %t", aside, err, step.aside)
		}
		read(t, storage, ca.RootPart, step.text)
	}
	if got := s.Aside(t); len(got) != 2 || !contains(got, first) || !contains(got, second) {
		t.Errorf("aside is %q", got)
	}
	for _, mark := range []string{"{}", "[]"} {
		if aside, err := storage.Replace(t.Context(), ca.MarkPart, []byte(mark)); err != nil || aside != (ca.Aside{}) {
			t.Errorf("replaced: %+v, %v", aside, err)
		}
		read(t, storage, ca.MarkPart, []byte(mark))
	}
}

func contains(list [][]byte, text []byte) bool {
	for _, one := range list {
		if bytes.Equal(one, text) {
			return true
		}
	}
	return false
}

// authority is one that runs.
type authority struct {
	*ca.Authority
	log *bytes.Buffer
}

func open(t *testing.T, s ca.Storage) *authority {
	t.Helper()
	a, err := start(t, s)
	must(t, err)
	return a
}

func start(t *testing.T, s ca.Storage) (*authority, error) {
	t.Helper()
	log := new(bytes.Buffer)
	a, err := ca.Open(ca.Config{State: t.TempDir(), TrustDomain: TrustDomain, Storage: s, Log: slog.New(slog.NewTextHandler(log, nil))})
	return &authority{a, log}, err
}

func (a *authority) close(t *testing.T) { must(t, a.Close()) }

func (a *authority) root() string { return identity.Fingerprint(a.Bundle().Roots[0]) }

func crowd(t *testing.T, s Subject) {
	if s.Alone {
		return
	}
	const many = 10
	for round := range 3 {
		for _, part := range parts() {
			s.Put(t, part, nil)
		}
		var storages []ca.Storage
		for range many {
			storages = append(storages, s.Open(t))
		}
		roots := make([]string, many)
		var all sync.WaitGroup
		for i, storage := range storages {
			all.Go(func() {
				a, err := start(t, storage)
				if err != nil {
					t.Error(err)
					return
				}
				roots[i] = a.root()
				a.Look(t.Context())
				if status := a.Status(); status.Restored != 0 || status.Problem != "" {
					t.Errorf("it has restored %d, problem %q", status.Restored, status.Problem)
				}
				a.close(t)
			})
		}
		all.Wait()
		for _, r := range roots {
			if r == "" || r != roots[0] {
				t.Fatalf("round %d: the roots are %v", round, roots)
			}
		}
	}
}

// lost makes sure that a start is refused where there is a mark and no root of it, and nothing changed; and that what the hint
// says works.
func lost(t *testing.T, s Subject) {
	storage := s.Open(t)
	a := open(t, storage)
	first := a.root()
	a.close(t)
	text, err := storage.Read(t.Context(), ca.RootPart)
	must(t, err)
	mark, err := storage.Read(t.Context(), ca.MarkPart)
	must(t, err)
	key, _ := bytes.CutPrefix(text, certificate(text))
	for name, damage := range map[string][]byte{
		"gone": nil, "another": root(t), "no key": certificate(text), "half a key": text[:len(text)-40], "the key of another": append(certificate(root(t)), key...),
	} {
		s.Put(t, ca.RootPart, damage)
		for range 2 {
			a, err := start(t, storage)
			if err == nil {
				t.Fatalf("%s: it starts with root %s", name, a.root())
			}
			u, ok := errors.AsType[*ca.Unusable](err)
			if !ok || !strings.Contains(u.Hint(), "from a copy") || !strings.Contains(u.Hint(), storage.Where(ca.RootPart)) || !strings.Contains(u.Message, first) {
				t.Errorf("%s: %v", name, err)
			}
			if strings.Contains(err.Error(), string(key[40:60])) {
				t.Errorf("%s: the key is told: %v", name, err)
			}
		}
		if damage == nil {
			read(t, storage, ca.RootPart, nil)
		}
		read(t, storage, ca.MarkPart, mark)
	}
	s.Put(t, ca.RootPart, text)
	a = open(t, storage)
	if a.root() != first {
		t.Error("the copy is not taken")
	}
	a.close(t)
	s.Put(t, ca.RootPart, nil)
	s.Put(t, ca.MarkPart, nil)
	a = open(t, storage)
	if a.root() == first {
		t.Error("there is no new root")
	}
	a.close(t)
}

// certificate returns the first block of a text.
func certificate(text []byte) []byte {
	_, rest := pem.Decode(text)
	return bytes.Clone(text[:len(text)-len(rest)])
}

// restart has a start go on where one before has been broken off, at each moment.
func restart(t *testing.T, s Subject) {
	storage := s.Open(t)
	a := open(t, storage)
	first := a.root()
	a.close(t)
	s.Put(t, ca.MarkPart, nil) // it was broken off between the two
	for range 2 {
		b := open(t, s.Open(t))
		if b.root() != first {
			t.Error("another start has another root")
		}
		b.close(t)
	}
	if _, err := storage.Read(t.Context(), ca.MarkPart); err != nil {
		t.Errorf("the mark is not made up for: %v", err)
	}
}

func putBack(t *testing.T, s Subject) {
	storage := s.Open(t)
	a := open(t, storage)
	defer a.close(t)
	text, err := storage.Read(t.Context(), ca.RootPart)
	must(t, err)
	mark, err := storage.Read(t.Context(), ca.MarkPart)
	must(t, err)
	another := root(t)
	restored, aside := 0, 0
	for i, damage := range []func(){
		func() {},
		func() { s.Put(t, ca.RootPart, nil); restored++ },
		func() { s.Put(t, ca.MarkPart, nil); restored++ },
		func() { s.Put(t, ca.RootPart, nil); s.Put(t, ca.MarkPart, nil); restored += 2 },
		func() { s.Put(t, ca.RootPart, another); restored++; aside++ },
		func() { s.Put(t, ca.RootPart, text[:len(text)-40]); restored++; aside++ },
		func() { s.Put(t, ca.MarkPart, []byte("x")); restored++ },
	} {
		damage()
		for range 2 {
			a.Look(t.Context())
		}
		read(t, storage, ca.RootPart, text)
		read(t, storage, ca.MarkPart, mark)
		if status := a.Status(); status.Restored != restored || status.Problem != "" || strings.Count(a.log.String(), "was put back") != restored {
			t.Errorf("step %d: %d were restored, want %d; problem %q; said is\n%s", i, status.Restored, restored, status.Problem, a.log)
		}
	}
	if got := s.Aside(t); len(got) != aside || !contains(got, another) {
		t.Errorf("%d were set aside, want %d", len(got), aside)
	}
}

// decided has another root with its mark put there, which is somebody's decision: it is told and not undone.
func decided(t *testing.T, s Subject) {
	storage := s.Open(t)
	a := open(t, storage)
	defer a.close(t)
	other := newMemory()
	b := open(t, other)
	defer b.close(t)
	text, err := other.Read(t.Context(), ca.RootPart)
	must(t, err)
	mark, err := other.Read(t.Context(), ca.MarkPart)
	must(t, err)
	s.Put(t, ca.RootPart, text)
	s.Put(t, ca.MarkPart, mark)
	for range 2 {
		a.Look(t.Context())
	}
	read(t, storage, ca.RootPart, text)
	read(t, storage, ca.MarkPart, mark)
	if status := a.Status(); status.Restored != 0 || !strings.Contains(status.Problem, b.root()) || !strings.Contains(status.Problem, "until it is started again") {
		t.Errorf("%d were restored, problem %q", status.Restored, status.Problem)
	}
}

// memory is a storage of a test, for a root that stands nowhere else.
type memory struct {
	mu    sync.Mutex
	parts map[ca.Part][]byte
}

func newMemory() *memory { return &memory{parts: map[ca.Part][]byte{}} }

// Read implements [ca.Storage].
func (m *memory) Read(_ context.Context, part ca.Part) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if text, ok := m.parts[part]; ok {
		return text, nil
	}
	return nil, fs.ErrNotExist
}

// Create implements [ca.Storage].
func (m *memory) Create(_ context.Context, part ca.Part, text []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.parts[part]; ok {
		return fs.ErrExist
	}
	m.parts[part] = text
	return nil
}

// Replace implements [ca.Storage].
func (m *memory) Replace(_ context.Context, part ca.Part, text []byte) (ca.Aside, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.parts[part] = text
	return ca.Aside{}, nil
}

// Where implements [ca.Storage].
func (m *memory) Where(part ca.Part) string { return fmt.Sprintf("the %s in memory", part) }
