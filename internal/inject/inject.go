// Package inject gives pods their sidecar: the proxy that carries a pod's traffic, and the capture that leads it there.
//
// [Inject] takes a file of Kubernetes objects and returns it with a sidecar in every pod template that is to have one;
// everything else in the file stays as it is, to the byte. [Uninject] takes the sidecars out again. [Patch] does the same to a
// single pod as JSON and returns a JSON patch. All get what they add from one place, [For]. Package policy decides which pods
// get a sidecar: of [Inject] and [Patch] those that do not say otherwise, of [By] and [PatchBy] those that a mesh's document
// wants to have one.
//
// What is left alone, and why, is in the result, as is everything that is wrong, with file and line; what cannot be injected
// stands in the output as it came. The input may come from a stranger: its size, depth and number of nodes are bounded.
//
// The package needs no cluster. It writes what the pod is to be, and knows nothing of what proxies are told later.
package inject

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/edit"
	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Bounds of a file.
const (
	// MaxBytes is how large a file may be.
	MaxBytes = 16 << 20
	// maxDocument is how large one of its documents may be: more than any cluster takes.
	maxDocument = 4 << 20
	// maxProblems is how many problems of a file are told.
	maxProblems = 1000
	// maxLists is how deep Lists may stand in Lists.
	maxLists = 8
)

// Result is what became of a file.
type Result struct {
	Text      []byte         // the file after it
	Workloads []Workload     // that have pods, in the order of the file
	Others    int            // objects that have none
	Problems  []mesh.Problem // errors and warnings, in the order of the file
}

// Workload is an object that has pods, or is one.
type Workload struct {
	Ref      mesh.Ref // the namespace is "" if the object names none
	Position mesh.Position
	Changed  bool   // whether a sidecar was put in, or taken out
	Why      string // why not, unless a problem tells that

	// Decision says whether it is to have a sidecar. It says nothing where a problem keeps that from being known, and of what
	// loses one.
	Decision policy.Decision
}

// Inject puts sidecars into a file. Its name stands in positions only.
func Inject(name string, data []byte, o Options) Result { return By(byHand(), name, data, o) }

// By is [Inject] by the rules of a mesh. What their document says of the sidecar comes before the options.
func By(r Rules, name string, data []byte, o Options) Result {
	made := newRecipe(o.With(r.Config.Params))
	return process(name, data, r, func(w *workload, c *edit.Change) string { return w.inject(made, c) })
}

// Uninject takes sidecars out of a file. What [Inject] added to text in block style, to JSON and to collections in brackets
// goes to the byte; where it had to write out an alias, that stays written out.
func Uninject(name string, data []byte) Result {
	return process(name, data, byHand(), func(w *workload, c *edit.Change) string { return w.uninject(c) })
}

// action adds to the change of an object what becomes of it, or returns why it stays as it is.
type action func(w *workload, c *edit.Change) string

func process(name string, data []byte, r Rules, act action) Result {
	p := &processor{file: name, rules: r, act: act}
	switch {
	case len(data) > MaxBytes:
		p.tell(mesh.Position{Line: 1}, config.CodeTooLarge, fmt.Sprintf("the file has more than %d bytes", MaxBytes))
	case !utf8.Valid(data):
		p.tell(mesh.Position{Line: 1}, config.CodeSyntax, "not YAML: the file is not UTF-8")
	default:
		var out strings.Builder
		for _, text := range edit.Split(string(data)) {
			out.WriteString(p.document(text))
		}
		if out.Len() <= MaxBytes {
			p.result.Text = []byte(out.String())
			return p.finish()
		}
		p.tell(mesh.Position{Line: 1}, config.CodeTooLarge, fmt.Sprintf("the file would have more than %d bytes", MaxBytes))
		p.unchanged(0)
	}
	p.result.Text = data
	return p.finish()
}

// processor works through a file.
type processor struct {
	file   string
	rules  Rules
	act    action
	result Result
}

func (p *processor) finish() Result {
	mesh.SortProblems(p.result.Problems)
	if len(p.result.Problems) > maxProblems {
		at := p.result.Problems[maxProblems].Position
		p.result.Problems = p.result.Problems[:maxProblems:maxProblems]
		p.tell(at, config.CodeTooMany, fmt.Sprintf("the file has more problems than these %d", maxProblems))
	}
	return p.result
}

// tell reports an error of a document.
func (p *processor) tell(at mesh.Position, code, message string) {
	at.File = p.file
	p.result.Problems = append(p.result.Problems, mesh.Problem{Position: at, Code: code, Severity: mesh.Error, Message: message})
}

// document returns what becomes of a document.
func (p *processor) document(text edit.Text) string {
	if len(text.Text) > maxDocument {
		p.tell(mesh.Position{Line: text.Line}, config.CodeTooLarge, fmt.Sprintf("the document has more than %d bytes", maxDocument))
		return text.Text
	}
	d, err := edit.Parse(text)
	if err != nil {
		p.unread(text, err)
		return text.Text
	}
	if d == nil {
		return text.Text
	}
	first := len(p.result.Workloads)
	var c edit.Change
	p.object(d.Root, &c, defaults{})
	if c.IsZero() {
		return text.Text
	}
	out, anew, err := d.Apply(&c)
	at := mesh.Position{Line: d.Root.Line, Column: d.Root.Column}
	if err == nil && len(out) > maxDocument {
		err = &edit.Wrong{Kind: edit.TooLarge, Message: fmt.Sprintf("the document would have more than %d bytes", maxDocument)}
	}
	if err != nil {
		code := config.CodeInvalidValue
		if _, ok := errors.AsType[*edit.Wrong](err); ok {
			code = config.CodeTooLarge
		}
		p.unchanged(first)
		p.tell(at, code, err.Error())
		return text.Text
	}
	if anew {
		p.tell(at, config.CodeNoEffect, "the document had to be written anew, without its comments")
		last := &p.result.Problems[len(p.result.Problems)-1]
		last.Severity, last.Hint = mesh.Warning, `it is written in a way that cannot be added to, perhaps with keys behind "?"`
	}
	return out
}

// unchanged takes back what is said of the workloads from one on.
func (p *processor) unchanged(first int) {
	for i := range p.result.Workloads[first:] {
		p.result.Workloads[first+i].Changed = false
	}
}

// unread reports a document that could not be read.
func (p *processor) unread(text edit.Text, err error) {
	if wrong, ok := errors.AsType[*edit.Wrong](err); ok {
		code := map[edit.WrongKind]string{
			edit.TooLarge: config.CodeTooLarge, edit.Duplicate: config.CodeDuplicateField, edit.BadKey: config.CodeWrongType,
		}[wrong.Kind]
		p.tell(mesh.Position{Line: wrong.Line, Column: wrong.Column}, code, wrong.Message)
		return
	}
	_, problems := config.Parse(p.file, []byte(text.Text), "")
	for _, problem := range problems {
		if problem.Code == config.CodeSyntax {
			problem.Position.Line += text.Line - 1
			p.result.Problems = append(p.result.Problems, problem)
			return
		}
	}
	p.tell(mesh.Position{Line: text.Line}, config.CodeSyntax, "not YAML: "+strings.TrimPrefix(err.Error(), "yaml: "))
}

// defaults are what the items of a typed list, such as a PodList, need not say.
type defaults struct {
	apiVersion, kind string
	depth            int
}

// object adds to a change what becomes of an object, or of the items of a List.
func (p *processor) object(n *yaml.Node, c *edit.Change, d defaults) {
	if n.Kind != yaml.MappingNode {
		p.tell(mesh.Position{Line: n.Line, Column: n.Column}, config.CodeWrongType, "an object must be a mapping with apiVersion, kind and metadata")
		return
	}
	version, kind := d.apiVersion, d.kind
	if v := Text(edit.Field(n, "apiVersion")); v != "" {
		version = v
	}
	if k := Text(edit.Field(n, "kind")); k != "" {
		kind = k
	}
	if items := edit.Field(n, "items"); items != nil && isList(version, kind) {
		p.list(items, c.Key("items"), defaults{version, strings.TrimSuffix(kind, "List"), d.depth + 1})
		return
	}
	w := &workload{object: n, kind: kinds[kind], ref: mesh.Ref{Kind: kind}, version: version, file: p.file, rules: p.rules}
	w.ref.Name, w.ref.Namespace = nameOf(n)
	w.outdated()
	if !w.kind.has(version) {
		p.result.Others++
		p.result.Problems = append(p.result.Problems, w.problems...)
		return
	}
	why := p.act(w, c)
	p.result.Problems = append(p.result.Problems, w.problems...)
	p.result.Workloads = append(p.result.Workloads, Workload{
		Ref: w.ref, Position: w.at(), Changed: why == "" && !mesh.HasErrors(w.problems), Why: why, Decision: w.decision,
	})
}

func (p *processor) list(items *yaml.Node, c *edit.Change, d defaults) {
	if d.depth > maxLists {
		p.tell(mesh.Position{Line: items.Line, Column: items.Column}, config.CodeTooLarge, fmt.Sprintf("more than %d Lists in Lists", maxLists))
		return
	}
	if items.Kind != yaml.SequenceNode {
		if !edit.IsNull(items) {
			p.tell(mesh.Position{Line: items.Line, Column: items.Column}, config.CodeWrongType, "the items of a List must be a list")
		}
		return
	}
	for i, item := range items.Content {
		var own edit.Change
		p.object(item, &own, d)
		if !own.IsZero() {
			c.Put(i, &own)
		}
	}
}

// Text returns the text of a scalar, "" for everything else.
func Text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode || edit.IsNull(n) {
		return ""
	}
	return n.Value
}

func nameOf(n *yaml.Node) (name, namespace string) {
	meta := edit.Field(n, "metadata")
	if name = Text(edit.Field(meta, "name")); name == "" {
		name = Text(edit.Field(meta, "generateName"))
	}
	return name, Text(edit.Field(meta, "namespace"))
}
