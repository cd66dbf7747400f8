package config

import (
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Check collects what is wrong with one object, first what [Decode] tells and then what the kind finds. One mistake
// is told once: what follows from a problem that is already there is dropped.
type Check struct {
	Object   *Object
	Problems []mesh.Problem
}

// Decode reads a field of the object as [Decode] does.
func (c *Check) Decode(field string, out any) {
	c.Problems = append(c.Problems, Decode(c.Object, field, out)...)
}

// Tell reports an error at p.Field, unless one is known there, above it or below it, or there are too many.
func (c *Check) Tell(p mesh.Problem) { c.tell(p, mesh.Error) }

// Warn reports a warning at p.Field, unless a problem is known there, above it or below it, or there are too many.
func (c *Check) Warn(p mesh.Problem) { c.tell(p, mesh.Warning) }

func (c *Check) tell(p mesh.Problem, severity mesh.Severity) {
	known := func(q mesh.Problem) bool {
		return (q.Severity == mesh.Error || severity == mesh.Warning) && (within(q.Field, p.Field) || within(p.Field, q.Field))
	}
	if len(c.Problems) > maxProblems || slices.ContainsFunc(c.Problems, known) {
		return
	}
	p.Object, p.Position, p.Severity = c.Object.Ref, c.Object.At(p.Field), severity
	c.Problems = append(c.Problems, p)
}

// Missing reports that field must be there, unless a field beside it is unknown or unsupported: that one is likely a
// misspelling of it, or stands in its place.
func (c *Check) Missing(field, message string) {
	if slices.ContainsFunc(c.Problems, func(q mesh.Problem) bool {
		return (q.Code == CodeUnknownField || q.Code == CodeUnsupportedField) && parent(q.Field) == parent(field)
	}) {
		return
	}
	c.Tell(mesh.Problem{Field: field, Code: CodeMissingField, Message: message})
}

// Span returns the duration at field, which must be there and be at least a millisecond, in whole milliseconds.
func (c *Check) Span(field string, d *Duration) time.Duration {
	if d == nil {
		c.Missing(field, "the duration is missing, such as 10s")
		return 0
	}
	span := time.Duration(*d)
	if span < time.Millisecond || span%time.Millisecond != 0 {
		c.Tell(mesh.Problem{
			Field: field, Code: CodeInvalidDuration, Message: span.String() + " is not a whole number of milliseconds of at least 1ms",
		})
	}
	return span
}

// within tells whether the field path lies at or below above.
func within(path, above string) bool {
	rest, ok := strings.CutPrefix(path, above)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// parent returns the path without its last step.
func parent(path string) string {
	all := steps(path)
	if len(all) == 0 {
		return ""
	}
	up := ""
	for _, s := range all[:len(all)-1] {
		if s.item {
			up = Item(up, s.index)
		} else {
			up = Key(up, s.key)
		}
	}
	return up
}
