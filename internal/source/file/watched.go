package file

import (
	"crypto/sha256"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// maxFile bounds what is read of a file: a little more than what is parsed, so that the parser tells that it is too large.
const maxFile = 1<<20 + 1

// watched is one file with what was last good in it.
type watched struct {
	hash     [sha256.Size]byte
	empty    bool            // a slow look found it empty: if the next one does too, it is meant
	failure  string          // why it could not be read
	fresh    []config.Object // as they stand in the file now
	read     time.Time       // when they were read
	kept     []lastGood      // last good versions of what is broken now
	problems []mesh.Problem
	beside   []string // files that its objects name
}

// read reads the files that there are, forgets those that are gone, and tells whether something changed. What a file says
// is checked anew, even if it is the same, when a file that its objects name has changed.
func (s *Source) read(f found, slow, anew bool) (changed bool) {
	for path := range s.files {
		if !f.files[path] && !f.keeps(path) {
			delete(s.files, path)
			changed = true
		}
	}
	for path := range f.files {
		w := s.files[path]
		if w == nil {
			w = s.begin(path)
			s.files[path] = w
			changed = true
		}
		if anew {
			w.hash = [sha256.Size]byte{}
		}
		changed = s.readFile(path, w, slow) || changed
	}
	for path, err := range f.failed {
		w := s.files[path]
		if w == nil {
			w = s.begin(path)
			s.files[path] = w
		}
		changed = w.fail(path, err) || changed
	}
	for path := range s.remembered {
		if f.keeps(path) {
			s.files[path] = s.begin(path)
			changed = true
		}
	}
	clear(s.remembered) // what is not there now is gone
	return changed
}

// readFile reads a file and tells whether it says anything new.
func (s *Source) readFile(path string, w *watched, slow bool) bool {
	data, err := disk.ReadFile(path, maxFile)
	if err != nil && !errors.Is(err, disk.ErrTooLarge) {
		return w.fail(path, err)
	}
	if len(data) == 0 && len(w.fresh)+len(w.kept) > 0 && !(slow && w.empty) {
		w.empty = w.empty || slow
		return false
	}
	w.empty = false
	hash := sha256.Sum256(data)
	if w.failure == "" && hash == w.hash {
		return false
	}
	w.hash, w.failure = hash, ""
	s.parse(path, data, w)
	return true
}

// fail notes that the file cannot be read; its objects stay.
func (w *watched) fail(path string, err error) bool {
	if failed, ok := errors.AsType[*os.PathError](err); ok {
		err = failed.Err // the path is shown already
	}
	if w.failure == err.Error() {
		return false
	}
	w.failure = err.Error()
	w.problems = []mesh.Problem{{
		Position: mesh.Position{File: path}, Code: config.CodeUnreadableFile, Severity: mesh.Error,
		Message: "cannot be read: " + err.Error(),
	}}
	if good := w.lastGood(); len(good) > 0 {
		w.problems[0].Hint = "what was last good of it stays in force, read at " + newest(good)
	}
	return true
}

// parse takes over what the file says. Of an object that is broken now, and of all that is missing while a document is
// so broken that it has no name, the last good version is kept.
func (s *Source) parse(path string, data []byte, w *watched) {
	objects, problems := config.Parse(path, data, s.config.Namespace)
	last := w.lastGood()
	broken := map[mesh.Ref]bool{}
	nameless := false
	for _, p := range problems {
		if p.Severity == mesh.Error {
			broken[p.Object] = true
			nameless = nameless || p.Object.IsZero()
		}
	}
	before := w.problems
	w.fresh, w.read, w.kept, w.problems, w.beside = nil, time.Now(), nil, problems, nil
	good := map[mesh.Ref]bool{}
	for _, o := range objects {
		names := s.namedBy(&o)
		s.beside.note(names)
		w.beside = append(w.beside, names...)
		if found := s.check(&o); o.Broken || mesh.HasErrors(found) {
			broken[o.Ref] = true
			w.problems = append(w.problems, found...)
			continue
		}
		good[o.Ref] = true
		w.fresh = append(w.fresh, o)
	}
	for _, o := range last {
		if !good[o.Ref] && (broken[o.Ref] || nameless) {
			w.kept = append(w.kept, o)
		}
	}
	w.sayWhatStays()
	s.noteMended(before, w)
}

// noteMended finds out which objects of the file are good now and were not before. A file is good when all of it is.
func (s *Source) noteMended(before []mesh.Problem, w *watched) {
	told := map[mesh.Ref]bool{}
	for _, p := range before {
		good := slices.ContainsFunc(w.fresh, func(o config.Object) bool { return o.Ref == p.Object })
		if p.Object.IsZero() {
			good = !mesh.HasErrors(w.problems)
		}
		if p.Severity == mesh.Error && good && !told[p.Object] {
			told[p.Object] = true
			s.mended = append(s.mended, p)
		}
	}
}

func (s *Source) check(o *config.Object) []mesh.Problem {
	if s.config.Check == nil {
		return nil
	}
	return s.config.Check(o)
}

// gather returns all objects by file and place, and all problems. An object that stands in another file now is not
// kept for the file that it stood in.
func (s *Source) gather() ([]config.Object, []mesh.Problem) {
	var objects []config.Object
	problems := slices.Clone(s.refused)
	standing := map[mesh.Ref]bool{}
	for _, w := range s.files {
		for _, o := range w.fresh {
			standing[o.Ref] = true
		}
		problems = append(problems, w.problems...)
	}
	for _, w := range s.files {
		objects = append(objects, w.fresh...)
		for _, o := range w.kept {
			if !standing[o.Ref] {
				objects = append(objects, o.Object)
			}
		}
	}
	slices.SortStableFunc(objects, compareOrigins)
	mesh.SortProblems(problems)
	return objects, problems
}
