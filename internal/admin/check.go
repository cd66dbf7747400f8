package admin

import (
	"cmp"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// CodeNamespaceMismatch is the code of a problem: an object names another namespace than the command.
const CodeNamespaceMismatch = "namespace-mismatch"

// Checked is what files hold.
type Checked struct {
	Objects  []config.Object // those without an error
	Count    int             // of all objects
	Problems []mesh.Problem
}

// Check reads files and says everything that is wrong with them by themselves. Objects that name no namespace get the
// given one, else "default"; when one is given, those that name another are refused. `lateen validate` and the API tell
// the same because both ask here.
func Check(kinds config.Kinds, namespace string, files []api.File) Checked {
	return CheckIn(kinds, Namespaces{Only: namespace}, files)
}

// Namespaces say in which namespaces objects may be.
type Namespaces struct {
	Only  string // that all must have which name one; "": any
	Usual string // of those that name none, where Only says nothing; "": default
}

// Of returns the namespace of objects that name none; "": default.
func (n Namespaces) Of() string { return cmp.Or(n.Only, n.Usual) }

// CheckIn is [Check] where objects that name no namespace get another one than "default".
func CheckIn(kinds config.Kinds, in Namespaces, files []api.File) Checked {
	c := Checked{}
	first := map[mesh.Ref]mesh.Position{}
	namespace := in.Only
	for _, f := range files {
		objects, found := config.Parse(f.Name, []byte(f.Text), in.Of())
		c.Problems = append(c.Problems, found...)
		for i := range objects {
			c.add(&objects[i], first, check(kinds, namespace, &objects[i]))
		}
	}
	mesh.SortProblems(c.Problems)
	return c
}

// add takes an object in with what was found wrong with it, unless it was there before.
func (c *Checked) add(o *config.Object, first map[mesh.Ref]mesh.Position, found []mesh.Problem) {
	if at, twice := first[o.Ref]; twice {
		p := o.Problem(config.CodeDuplicateObject, "metadata.name", "the object stands also at %s", at)
		p.Hint = "give one of them another name"
		found = append(found, p)
	} else {
		first[o.Ref] = o.Origin
	}
	c.Count++
	c.Problems = append(c.Problems, found...)
	if !o.Broken && !mesh.HasErrors(found) {
		c.Objects = append(c.Objects, *o)
	}
}

// check says what is wrong with one object.
func check(kinds config.Kinds, namespace string, o *config.Object) []mesh.Problem {
	_, problems := kinds.Read(o)
	problems = append(problems, hidden(o)...)
	return append(problems, Mismatch(namespace, o)...)
}

// hidden says that an object is one that was shown without its values, which would be lost.
func hidden(o *config.Object) []mesh.Problem {
	if o.Kind != kindSecret || !notShown.MatchString(o.Text) {
		return nil
	}
	p := o.Problem(config.CodeInvalidValue, "", "commands do not show the values of a Secret, and this is what they showed instead")
	p.Hint = "write it from where it came from"
	return []mesh.Problem{p}
}

// Mismatch says that an object names another namespace than the command, if that names one.
func Mismatch(namespace string, o *config.Object) []mesh.Problem {
	if namespace == "" || o.Namespace == namespace {
		return nil
	}
	p := o.Problem(CodeNamespaceMismatch, "metadata.namespace", "the command names the namespace %q", namespace)
	p.Hint = "leave out -n, or give -n " + o.Namespace
	return []mesh.Problem{p}
}
