package mesh

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Ref names an object: kind, namespace and name.
type Ref struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// String returns "RouteRule default/reviews".
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// Path returns "default/reviews", the form used in access logs and metadata.
func (r Ref) Path() string { return r.Namespace + "/" + r.Name }

// IsZero tells whether r names nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

// Compare orders references by kind, namespace and name.
func (r Ref) Compare(o Ref) int {
	return cmp.Or(cmp.Compare(r.Kind, o.Kind), cmp.Compare(r.Namespace, o.Namespace), cmp.Compare(r.Name, o.Name))
}

// Position is a place in a file; Line and Column count from 1, 0 means not known.
type Position struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String returns "file:line:column", without the parts that are not known.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
}

// Severity says what a problem means for its object.
type Severity string

// An object with an error is not applied; one with a warning is.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Problem is what is wrong with an object. Command line, log, status and API all print the same text, [Problem.String].
type Problem struct {
	Object   Ref      `json:"object"`
	Field    string   `json:"field,omitempty"` // "spec.route[0].weight"
	Position Position `json:"position"`
	Code     string   `json:"code"` // kebab-case word, listed in docs/reference/problems.md
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
	Hint     string   `json:"hint,omitempty"`
}

// String returns the problem in one line, or two when there is a hint:
//
//	rules.yaml:7:5: error: RouteRule default/reviews: spec.rout: unknown field [unknown-field]
//	  hint: did you mean "route"?
func (p Problem) String() string {
	var b strings.Builder
	if at := p.Position.String(); at != "" {
		b.WriteString(at + ": ")
	}
	b.WriteString(string(p.Severity) + ": ")
	if !p.Object.IsZero() {
		b.WriteString(p.Object.String() + ": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message + " [" + p.Code + "]")
	if p.Hint != "" {
		b.WriteString("\n  hint: " + p.Hint)
	}
	return b.String()
}

// HasErrors tells whether one of the problems is an error.
func HasErrors(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return p.Severity == Error })
}

// SortProblems orders problems by file, line, column, object and field, in place.
func SortProblems(problems []Problem) {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.Position.File, b.Position.File),
			cmp.Compare(a.Position.Line, b.Position.Line),
			cmp.Compare(a.Position.Column, b.Position.Column),
			a.Object.Compare(b.Object),
			cmp.Compare(a.Field, b.Field),
		)
	})
}
