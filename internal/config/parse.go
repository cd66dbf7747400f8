// Package config reads the files that users write: objects in YAML, strictly and with positions.
//
// [Parse] takes a file with any number of documents and returns its objects, each with its spec as it was written.
// Dialects register what they understand as a [Kind]; [Kinds.Read] finds the kind of an object and lets it say what
// the object means. A kind decodes the spec into its own Go types with [Decode].
//
// Whatever is wrong is returned as [mesh.Problem], all of it and not only the first, with the line and column of the
// key or value. One bad document costs neither the other documents of its file nor anything else. Files are bounded in
// size, nesting and expansion, so that one from a stranger may be parsed.
//
// The package reads no files itself and does not know what any kind means.
package config

import (
	"bytes"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Bounds of one file.
const (
	maxBytes     = 1 << 20
	maxDocuments = 1000 // each item of a List is one
	maxFailures  = 1000 // problems that are told of one file
	maxDepth     = 64
	maxNodes     = 100_000 // with every alias counted as what it stands for
)

// Parse reads a YAML file. The name of the file stands in positions only. Objects that name no namespace get the given
// one, else "default". The items of a List count as documents of their own.
//
// A document that is not YAML, or not an object with kind and name, is a problem and no object. An object whose frame
// has any other error is returned as [Object.Broken].
func Parse(file string, data []byte, namespace string) ([]Object, []mesh.Problem) {
	if namespace == "" {
		namespace = "default"
	}
	p := &parser{file: file, namespace: namespace, nodes: maxNodes, searches: maxSearch}
	if len(data) > maxBytes {
		p.tell(mesh.Position{Line: 1}, CodeTooLarge, fmt.Sprintf("the file has more than %d bytes and is not read", maxBytes))
		return nil, p.problems
	}
	for _, doc := range split(string(bytes.TrimPrefix(data, []byte("\ufeff")))) {
		if !p.room(mesh.Position{Line: doc.line}) {
			break
		}
		p.document(doc)
	}
	if len(p.problems) > maxFailures {
		at := p.problems[maxFailures].Position
		p.problems = p.problems[:maxFailures:maxFailures]
		p.tell(at, CodeTooMany, fmt.Sprintf("the file has more problems than these %d", maxFailures))
	}
	return p.objects, p.problems
}

// room tells whether one more document is read, and reports the first that is not.
func (p *parser) room(at mesh.Position) bool {
	if p.documents++; p.documents == maxDocuments+1 {
		p.tell(at, CodeTooLarge, fmt.Sprintf("the file has more than %d documents: only the first %d are read", maxDocuments, maxDocuments))
	}
	return p.documents <= maxDocuments
}

// parser collects what a file holds.
type parser struct {
	file      string
	namespace string
	documents int // read so far
	nodes     int // still allowed
	searches  int // bytes that may still be parsed to find the places of syntax errors
	objects   []Object
	problems  []mesh.Problem
}

// tell reports a problem of a document that is no object.
func (p *parser) tell(at mesh.Position, code, message string) {
	at.File = p.file
	p.problems = append(p.problems, mesh.Problem{Position: at, Code: code, Severity: mesh.Error, Message: message})
}

func (p *parser) document(doc document) {
	var top yaml.Node
	if err := yaml.Unmarshal([]byte(doc.text), &top); err != nil {
		p.syntax(doc, err)
		return
	}
	if top.Kind != yaml.DocumentNode || isNull(top.Content[0]) {
		return // comments only
	}
	shift(&top, doc.line-1)
	root := top.Content[0]
	if root.Kind != yaml.MappingNode {
		p.tell(position(root), CodeWrongType, "a document must be a mapping with apiVersion, kind and metadata, not "+describe(root))
		return
	}
	s := survey{left: p.nodes}
	s.walk(root, 1)
	if s.excess != "" {
		p.tell(position(s.place), CodeTooLarge, s.excess)
		return // and costs the other documents nothing
	}
	p.nodes = s.left
	f := p.frame(root, doc.text)
	if f.Object.Kind == "List" && f.Object.APIVersion == "v1" {
		p.list(f)
		return
	}
	p.object(f)
}

func position(n *yaml.Node) mesh.Position { return mesh.Position{Line: n.Line, Column: n.Column} }
