package admin

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/source/state"
)

// CodeOwnedByFile is the code of a problem: the object stands in a watched file, and changes only there.
const CodeOwnedByFile = "owned-by-file"

const defaultNamespace = "default"

func (s *Server) writeObjects(r *http.Request) (any, error) {
	request, err := read[api.Write](r)
	if err != nil {
		return nil, err
	}
	op := state.Op(request.Op)
	if op != state.Create && op != state.Replace && op != state.Apply {
		return nil, refuse(http.StatusBadRequest, "op %q is none of create, replace and apply", request.Op)
	}
	objects, problems := s.writable(request.Namespace, request.Files)
	out, err := s.config.Objects.Write(r.Context(), op, objects)
	if err != nil {
		return nil, s.unstored(err, objects, out)
	}
	return s.written(out, append(problems, s.warnings(out, objects, problems)...)), nil
}

// writable returns the objects of files that may be written with a command, and what is wrong with the others.
func (s *Server) writable(namespace string, files []api.File) ([]config.Object, []mesh.Problem) {
	checked := Check(s.config.Kinds, namespace, files)
	problems := checked.Problems
	owned := s.owned()
	objects := slices.DeleteFunc(checked.Objects, func(o config.Object) bool {
		at, ok := owned[o.Ref]
		if ok {
			p := o.Problem(CodeOwnedByFile, "", "the object belongs to the watched file %s", at.Origin.File)
			p.Hint = "change it there: " + at.Origin.String()
			problems = append(problems, p)
		}
		return ok
	})
	return objects, problems
}

// compareObjects tells what applying objects would change.
func (s *Server) compareObjects(r *http.Request) (any, error) {
	request, err := read[api.Compare](r)
	if err != nil {
		return nil, err
	}
	objects, problems := s.writable(request.Namespace, request.Files)
	differences, refused := s.config.Objects.Compare(objects)
	compared := api.Compared{Differences: []api.Difference{}, Problems: append(problems, refused...)}
	mesh.SortProblems(compared.Problems)
	for _, d := range differences {
		compared.Differences = append(compared.Differences, api.Difference{
			Object: d.Object, Type: s.typeOf(d.Object.Kind), Before: Shown(d.Object.Kind, d.Before), After: Shown(d.Object.Kind, d.After),
		})
	}
	return compared, nil
}

// warnings returns what the mesh as a whole makes doubtful about objects that were just written, such as a host that
// nobody knows, at the place where the user wrote it. What was told already is left out.
func (s *Server) warnings(out state.Outcome, objects []config.Object, told []mesh.Problem) []mesh.Problem {
	written := map[mesh.Ref]*config.Object{}
	for i := range objects {
		if slices.ContainsFunc(out.Changes, func(c state.Change) bool { return c.Object == objects[i].Ref }) {
			written[objects[i].Ref] = &objects[i]
		}
	}
	var warnings []mesh.Problem
	for _, p := range s.config.Store.Problems() {
		o := written[p.Object]
		if o == nil {
			continue
		}
		p.Position = o.At(p.Field)
		if !slices.Contains(told, p) {
			warnings = append(warnings, p)
		}
	}
	return warnings
}

func (s *Server) deleteObjects(r *http.Request) (any, error) {
	request, err := read[api.Delete](r)
	if err != nil {
		return nil, err
	}
	refs := request.Objects
	for i := range refs {
		refs[i].Namespace = cmp.Or(refs[i].Namespace, request.Namespace, defaultNamespace)
	}
	var problems []mesh.Problem
	for _, f := range request.Files {
		objects, found := config.Parse(f.Name, []byte(f.Text), request.Namespace)
		problems = append(problems, found...)
		for i := range objects {
			if found := Mismatch(request.Namespace, &objects[i]); found != nil {
				problems = append(problems, found...)
				continue
			}
			refs = append(refs, objects[i].Ref)
		}
	}
	// An object that a watched file took over while it was stored here can be deleted here.
	stored := map[mesh.Ref]bool{}
	for _, o := range s.config.Objects.Objects() {
		stored[o.Ref] = true
	}
	owned := s.owned()
	refs = slices.DeleteFunc(refs, func(ref mesh.Ref) bool {
		at, ok := owned[ref]
		if ok = ok && !stored[ref]; ok {
			p := at.Problem(CodeOwnedByFile, "", "the object belongs to the watched file %s", at.Origin.File)
			p.Hint = "delete it there: " + at.Origin.String()
			problems = append(problems, p)
		}
		return ok
	})
	out, err := s.config.Objects.Delete(r.Context(), refs)
	if err != nil {
		return nil, err
	}
	return s.written(out, problems), nil
}

// owned returns the objects that belong to watched files.
func (s *Server) owned() map[mesh.Ref]*config.Object {
	owned := map[mesh.Ref]*config.Object{}
	if s.config.Files == nil {
		return owned
	}
	objects := s.config.Files.Objects()
	for i := range objects {
		owned[objects[i].Ref] = &objects[i]
	}
	return owned
}

func (s *Server) written(out state.Outcome, problems []mesh.Problem) api.Written {
	w := api.Written{Revision: out.Revision, Problems: append(problems, out.Problems...), Results: []api.Result{}}
	s.plainly(w.Problems)
	mesh.SortProblems(w.Problems)
	for _, c := range out.Changes {
		w.Results = append(w.Results, api.Result{
			Verb: string(c.Verb), Object: c.Object, Type: s.typeOf(c.Object.Kind), ResourceVersion: c.Version,
		})
	}
	return w
}

func (s *Server) typeOf(kind string) string {
	if k := s.config.Kinds.Named(kind); k != nil {
		return k.Type
	}
	return kind
}

func (s *Server) listObjects(r *http.Request) (any, error) {
	kind, namespace, name := r.FormValue("kind"), r.FormValue("namespace"), r.FormValue("name")
	labels, err := api.ParseSelector(r.FormValue("labels"))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	list := []api.Object{}
	add := func(o *config.Object, source string, version int64) {
		if (kind != "" && o.Kind != kind) || (namespace != "" && o.Namespace != namespace) || (name != "" && o.Name != name) ||
			!labels.Matches(o.Labels) {
			return
		}
		list = append(list, api.Object{
			Ref: o.Ref, APIVersion: o.APIVersion, Type: s.typeOf(o.Kind), ResourceVersion: version,
			Origin: o.Origin, Source: source, Text: Shown(o.Kind, o.Text),
		})
	}
	owned := s.owned()
	for _, o := range owned {
		add(o, api.SourceFile, 0)
	}
	for _, o := range s.config.Objects.Objects() {
		if owned[o.Ref] == nil {
			add(&o.Object, api.SourceCommand, o.Version)
		}
	}
	for _, o := range s.config.Store.Objects() {
		if slices.Contains(s.config.Clusters, o.Source) {
			add(&o.Object, api.SourceCluster, clusterVersion(o.ResourceVersion))
		}
	}
	slices.SortFunc(list, func(a, b api.Object) int { return a.Compare(b.Ref) })
	return list, nil
}
