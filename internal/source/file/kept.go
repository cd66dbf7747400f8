package file

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// part is the name under which what was last good is kept for a restart.
const part = "files"

// lastGood is an object as it was before it, or its file, was broken.
type lastGood struct {
	config.Object
	read time.Time
}

// keptFiles is what is kept for a restart: the last good version of every object that may be.
type keptFiles struct {
	Dir   string     `json:"dir"` // to which relative paths are relative
	Files []keptFile `json:"files"`
}

type keptFile struct {
	Path    string       `json:"path"`
	Objects []keptObject `json:"objects"`
}

type keptObject struct {
	Namespace string    `json:"namespace"`
	Line      int       `json:"line"` // of its first key
	Read      time.Time `json:"read"`
	Text      string    `json:"text"`
}

// keep has what is good now, and was where it is broken now, kept for a restart.
func (s *Source) keep() {
	if s.config.Cache == nil {
		return
	}
	all := keptFiles{Dir: s.dir}
	for _, path := range slices.Sorted(maps.Keys(s.files)) {
		f := keptFile{Path: path}
		for _, o := range s.files[path].lastGood() {
			if s.config.Keeps(&o.Object) {
				f.Objects = append(f.Objects, keptObject{o.Namespace, o.Origin.Line, o.read.UTC().Truncate(time.Second), o.Text})
			}
		}
		if len(f.Objects) > 0 {
			all.Files = append(all.Files, f)
		}
	}
	s.config.Cache.Keep(part, func() any { return all })
}

// remember reads what was kept before this start. A path means nothing where it would be another file now.
func (s *Source) remember() error {
	if s.config.Cache == nil {
		return nil
	}
	var err error
	if s.dir, err = os.Getwd(); err != nil {
		return err
	}
	var all keptFiles
	_, err = s.config.Cache.Load(part, &all)
	if refused, ok := errors.AsType[*cache.Refused](err); ok {
		s.refused = append(s.refused, refused.Problem())
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, f := range all.Files {
		if filepath.IsAbs(f.Path) || all.Dir == s.dir {
			s.remembered[f.Path] = f.Objects
		}
	}
	return err
}

// keptAnew tells whether what was kept and is not used has been written anew: then it is no problem any more.
func (s *Source) keptAnew() bool {
	if len(s.refused) == 0 {
		return false
	}
	_, err := s.config.Cache.Load(part, &keptFiles{})
	if _, refused := errors.AsType[*cache.Refused](err); refused {
		return false
	}
	s.refused = nil
	return true
}

// begin returns a file that was not known before, with what was last good in it before this start.
func (s *Source) begin(path string) *watched {
	w := &watched{}
	for _, k := range s.remembered[path] {
		if o, ok := s.revive(path, k); ok {
			w.kept = append(w.kept, lastGood{o, k.Read})
		}
	}
	delete(s.remembered, path)
	return w
}

// revive reads an object again, at the place where it stood. What would not be good now is nothing.
func (s *Source) revive(path string, k keptObject) (config.Object, bool) {
	objects, problems := config.Parse(path, []byte(k.Text), k.Namespace)
	if len(objects) != 1 || mesh.HasErrors(problems) {
		return config.Object{}, false
	}
	if above := k.Line - objects[0].Origin.Line; above > 0 && above < maxFile {
		objects, _ = config.Parse(path, []byte(strings.Repeat("\n", above)+k.Text), k.Namespace)
	}
	if len(objects) != 1 || !s.config.Keeps(&objects[0]) || mesh.HasErrors(s.check(&objects[0])) {
		return config.Object{}, false
	}
	return objects[0], true
}

// lastGood returns the last good version of each object of the file.
func (w *watched) lastGood() []lastGood {
	all := make([]lastGood, 0, len(w.fresh)+len(w.kept))
	for _, o := range w.fresh {
		all = append(all, lastGood{o, w.read})
	}
	return append(all, w.kept...)
}

// sayWhatStays adds to the problems of a file what stays in force, and since when: once for each object.
func (w *watched) sayWhatStays() {
	told := map[mesh.Ref]bool{}
	for i := range w.problems {
		p := &w.problems[i]
		if p.Severity != mesh.Error || told[p.Object] {
			continue
		}
		text := ""
		if p.Object.IsZero() && len(w.kept) > 0 {
			text = "what was last good of the file stays in force, read at " + newest(w.kept)
		}
		if at := slices.IndexFunc(w.kept, func(o lastGood) bool { return o.Ref == p.Object }); at >= 0 {
			text = "its last good version stays in force, read at " + newest(w.kept[at:at+1])
		}
		if text == "" {
			continue
		}
		told[p.Object] = true
		p.Hint = join(p.Hint, text)
	}
}

// join adds to a hint, which may be a question.
func join(hint, more string) string {
	switch {
	case hint == "":
		return more
	case strings.HasSuffix(hint, "?"):
		return hint + " " + more
	default:
		return hint + "; " + more
	}
}

// newest says when the newest of some objects was read.
func newest(objects []lastGood) string {
	last := slices.MaxFunc(objects, func(a, b lastGood) int { return cmp.Compare(a.read.Unix(), b.read.Unix()) })
	return last.read.UTC().Format(time.RFC3339)
}
