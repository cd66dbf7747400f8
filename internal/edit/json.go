package edit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// parseJSON reads a JSON value into nodes with places, as the YAML parser would, but for what YAML reads otherwise: pairs of
// surrogates, long keys, tabs. It returns nil for a text without a value.
func parseJSON(text string) (*yaml.Node, error) {
	p := &jsonParser{text: text, in: json.NewDecoder(strings.NewReader(text)), starts: lineStarts(text)}
	p.in.UseNumber()
	n, err := p.value(1)
	if errors.Is(err, io.EOF) {
		return nil, nil //nolint:nilnil // no value, and nothing wrong
	}
	if err != nil {
		return nil, err
	}
	if rest := strings.TrimSpace(text[p.in.InputOffset():]); rest != "" {
		return nil, errors.New("there is something behind the JSON value")
	}
	return n, nil
}

type jsonParser struct {
	text   string
	in     *json.Decoder
	starts []int
	nodes  int   // so far
	last   place // of the last one: columns are counted from there, since an API server writes all on one line
}

// place is one in the text: a line, a byte in it, and the column that this is.
type place struct{ line, at, column int }

// next returns the next token and where it begins.
func (p *jsonParser) next() (json.Token, int, error) {
	at := int(p.in.InputOffset())
	for at < len(p.text) && strings.ContainsRune(" \t\r\n,:", rune(p.text[at])) {
		at++
	}
	token, err := p.in.Token()
	return token, at, err
}

func (p *jsonParser) node(kind yaml.Kind, tag string, at int) *yaml.Node {
	line := sort.SearchInts(p.starts, at+1) - 1
	line = min(line, len(p.starts)-2)
	from := place{line, p.starts[line], 1}
	if p.last.line == line && p.last.column > 0 && p.last.at <= at {
		from = p.last
	}
	p.last = place{line, at, from.column + utf8.RuneCountInString(p.text[from.at:at])}
	p.nodes++
	return &yaml.Node{Kind: kind, Tag: tag, Line: line + 1, Column: p.last.column}
}

func (p *jsonParser) value(depth int) (*yaml.Node, error) {
	token, at, err := p.next()
	if err != nil {
		return nil, err
	}
	return p.valueOf(token, at, depth)
}

func (p *jsonParser) valueOf(token json.Token, at, depth int) (*yaml.Node, error) {
	scalar := func(tag, value string) (*yaml.Node, error) {
		n := p.node(yaml.ScalarNode, tag, at)
		n.Value = value
		return n, nil
	}
	switch token := token.(type) {
	case json.Delim:
		return p.collection(token, at, depth)
	case string:
		n, err := scalar("!!str", token)
		n.Style = yaml.DoubleQuotedStyle
		return n, err
	case json.Number:
		if strings.ContainsAny(token.String(), ".eE") {
			return scalar("!!float", token.String())
		}
		return scalar("!!int", token.String())
	case bool:
		return scalar("!!bool", fmt.Sprint(token))
	default:
		return scalar("!!null", "null")
	}
}

func (p *jsonParser) collection(open json.Delim, at, depth int) (*yaml.Node, error) {
	n := p.node(yaml.SequenceNode, "!!seq", at)
	if open == '{' {
		n = p.node(yaml.MappingNode, "!!map", at)
	}
	n.Style = yaml.FlowStyle
	if depth > maxDepth {
		return nil, &Wrong{Line: n.Line, Column: n.Column, Kind: TooLarge, Message: fmt.Sprintf("nested more than %d deep", maxDepth)}
	}
	for {
		token, at, err := p.next()
		if err != nil {
			return nil, noEnd(err)
		}
		if token == json.Delim('}') || token == json.Delim(']') {
			return n, nil
		}
		child, err := p.valueOf(token, at, depth+1) // of a mapping, its keys and its values
		if err != nil {
			return nil, noEnd(err)
		}
		if p.nodes > maxNodes {
			return nil, &Wrong{Line: child.Line, Column: child.Column, Kind: TooLarge, Message: fmt.Sprintf("the document has more than %d nodes", maxNodes)}
		}
		n.Content = append(n.Content, child)
	}
}

// noEnd says of an end in the midst of a value what it is.
func noEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
