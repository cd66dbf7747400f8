package config

import (
	"bytes"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// ParseBare reads a YAML file that holds one mapping which is no object, such as the settings of a mesh. Problems stand at
// positions of the file and are told of ref. With an error there is nothing to read. A file without a word is an empty
// mapping.
func ParseBare(file string, data []byte, ref mesh.Ref) (*Object, []mesh.Problem) {
	p := &parser{file: file, nodes: maxNodes, searches: maxSearch}
	o := &Object{Ref: ref, Root: &yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1}}
	if len(data) > maxBytes {
		p.tell(mesh.Position{Line: 1}, CodeTooLarge, fmt.Sprintf("the file has more than %d bytes and is not read", maxBytes))
	} else {
		p.bare(o, data)
	}
	if o.Origin = o.position(o.Root); len(p.problems) == 0 {
		p.problems = bounded(o, duplicates(o))
	}
	for i := range p.problems {
		p.problems[i].Object = ref
	}
	if len(p.problems) > 0 {
		return nil, p.problems
	}
	return o, nil
}

// bare finds the one mapping.
func (p *parser) bare(o *Object, data []byte) {
	o.Origin.File = p.file
	found := false
	for _, doc := range split(string(bytes.TrimPrefix(data, []byte("\ufeff")))) {
		var top yaml.Node
		if err := yaml.Unmarshal([]byte(doc.text), &top); err != nil {
			p.syntax(doc, err)
			return
		}
		if top.Kind != yaml.DocumentNode || isNull(top.Content[0]) {
			continue
		}
		shift(&top, doc.line-1)
		root := top.Content[0]
		s := survey{left: p.nodes}
		s.walk(root, 1)
		switch {
		case s.excess != "":
			p.tell(position(s.place), CodeTooLarge, s.excess)
		case found:
			p.tell(position(root), CodeSyntax, "there is a second document, and only one can be meant")
		case root.Kind != yaml.MappingNode:
			p.tell(position(root), CodeWrongType, "want a mapping, got "+describe(root))
		}
		if len(p.problems) > 0 {
			return
		}
		found, o.Root, o.Text = true, root, doc.text
	}
}
