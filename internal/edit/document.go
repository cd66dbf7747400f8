// Package edit changes documents of YAML and JSON in place: in goes a text and a [Change] that says what becomes of its
// tree, out comes a text that means exactly that and differs from the old one in nothing else.
//
// In block style, what is added are whole lines, indented as those beside them; comments, order, line ends and everything
// that is not touched stay as they are. Into a collection in brackets, which JSON consists of, the new text is put behind
// the bracket that opens it, on lines of its own if the others stand so. What was added this way is taken out again to the
// byte. Where an alias stands for something that becomes different from the rest that it stands for, the alias alone is
// written out.
//
// Every result is read again and compared with what it has to mean. If it means something else, which happens with rare
// forms of YAML such as keys behind "?", the document is written anew, without its comments: [Document.Apply] tells that.
//
// The package reads no files and knows nothing of what documents are about. Depth and number of nodes are bounded, the
// size of a text is its caller's matter.
package edit

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Document is a document that was read.
type Document struct {
	// Root is what the document says, without aliases, with its lines as those of the file. It is not to be changed.
	Root *yaml.Node

	text    Text
	written *yaml.Node // as it stands in the text, lines counted from the text's first
}

// ErrMeaning tells that a document cannot be changed as asked.
var ErrMeaning = errors.New("the document cannot be changed without changing what it means")

// Parse reads a document. One without content is nil. The error is that of the YAML or JSON parser, or a [Wrong].
func Parse(t Text) (*Document, error) {
	if !t.JSON && blank(t.masked()) {
		return nil, nil //nolint:nilnil // no document, and nothing wrong
	}
	written, err := t.parse()
	if err != nil || written == nil {
		return nil, err
	}
	if IsNull(written) {
		return nil, nil //nolint:nilnil // as above
	}
	root, err := (&resolver{left: maxNodes, line: t.Line - 1}).copy(written, 1)
	if err != nil {
		return nil, err
	}
	return &Document{Root: root, text: t, written: written}, nil
}

// parse returns the root node of the text, nil if it says nothing.
func (t Text) parse() (*yaml.Node, error) {
	if t.JSON {
		return parseJSON(t.masked())
	}
	var top yaml.Node
	if err := yaml.Unmarshal([]byte(t.masked()), &top); err != nil {
		return nil, err
	}
	if top.Kind != yaml.DocumentNode {
		return nil, nil //nolint:nilnil // says nothing
	}
	return top.Content[0], nil
}

// blank tells whether a text has no content: only blank lines, comments and directives.
func blank(text string) bool {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' && line[0] != '%' {
			return false
		}
	}
	return true
}

// Apply returns the document's text after a change, and whether all of it had to be written anew. The error is an
// [ErrMeaning], or a [Wrong] when the result would be too large to be read.
func (d *Document) Apply(c *Change) (text string, anew bool, err error) {
	want := copyTree(d.Root)
	if err := c.apply(want); err != nil {
		return "", false, err
	}
	text = d.inPlace(c)
	if err = d.means(text, want); err == nil {
		return text, false, nil
	}
	if wrong, ok := errors.AsType[*Wrong](err); ok && wrong.Kind == TooLarge {
		return "", false, err
	}
	text = d.anew(want)
	if err = d.means(text, want); err == nil {
		return text, true, nil
	}
	return "", false, err
}

// inPlace returns the text with the edits that a change asks for.
func (d *Document) inPlace(c *Change) string {
	e := &editor{source: newSource(d.text.masked(), d.written), json: d.text.JSON}
	e.change(d.written, c, 0)
	e.aliases(d.written, c)
	skipped := d.text.skipped()
	return d.text.Text[:skipped] + e.result(d.text.Text[skipped:])
}

// anew returns the document written anew, below the lines before its first key.
func (d *Document) anew(want *yaml.Node) string {
	skipped := d.text.skipped()
	text := d.text.Text[skipped:]
	s := newSource(d.text.masked(), d.written)
	head := text[:s.start(d.written.Line)]
	if d.written.Line == 1 && isMarker(firstLine(text)) {
		head = text[:3] + "\n"
	}
	if d.text.JSON {
		return d.text.Text[:skipped] + head + pretty(want, "", "  ", "\n") + "\n"
	}
	var b strings.Builder
	for _, line := range blockLines(want, "") {
		b.WriteString(line + "\n")
	}
	return d.text.Text[:skipped] + head + b.String()
}

// means returns an error unless a text says what is wanted, and nothing behind it.
func (d *Document) means(text string, want *yaml.Node) error {
	t := Text{Text: text, JSON: d.text.JSON, Line: d.text.Line}
	if !t.JSON && len(Split(text)) != len(Split(d.text.Text)) {
		return ErrMeaning
	}
	written, err := t.parse()
	if err != nil {
		return ErrMeaning
	}
	if written == nil {
		written = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	}
	got, err := (&resolver{left: maxNodes, line: t.Line - 1}).copy(written, 1)
	if err != nil {
		return err
	}
	if !Same(got, want) {
		return ErrMeaning
	}
	return nil
}

func copyTree(n *yaml.Node) *yaml.Node {
	out := *n
	out.Content = make([]*yaml.Node, len(n.Content))
	for i, c := range n.Content {
		out.Content[i] = copyTree(c)
	}
	return &out
}

// Tree returns the tree of a JSON text, with keys in the order in which they stand there, for use in a [Change].
func Tree(json []byte) (*yaml.Node, error) {
	n, err := parseJSON(string(json))
	if err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	if n == nil {
		return nil, errors.New("no JSON")
	}
	return n, nil
}
