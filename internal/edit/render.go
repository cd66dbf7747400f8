package edit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// blockLines returns a collection in block style, without line ends.
func blockLines(n *yaml.Node, indent string) []string {
	var lines []string
	switch {
	case len(n.Content) == 0:
		return []string{indent + flat(n)}
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			lines = append(lines, itemLines(item, indent)...)
		}
	default:
		for i := 0; i+1 < len(n.Content); i += 2 {
			lines = append(lines, fieldLines(n.Content[i], n.Content[i+1], indent)...)
		}
	}
	return lines
}

// flat returns what has no entries, for block style.
func flat(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return scalar(n)
	}
	return inline(n)
}

// itemLines returns an item of a list.
func itemLines(n *yaml.Node, indent string) []string {
	lines := blockLines(n, indent+"  ")
	lines[0] = indent + "- " + lines[0][len(indent)+2:]
	return lines
}

// fieldLines returns a key with its value. Lists stand at the indentation of their key.
func fieldLines(key, value *yaml.Node, indent string) []string {
	head := indent + scalar(key) + ":"
	switch {
	case len(value.Content) == 0:
		return []string{head + " " + flat(value)}
	case value.Kind == yaml.SequenceNode:
		return append([]string{head}, blockLines(value, indent)...)
	default:
		return append([]string{head}, blockLines(value, indent+"  ")...)
	}
}

// Inline returns a value in one line, as YAML with brackets.
func Inline(n *yaml.Node) string { return inline(n) }

// inline returns a value in one line, as JSON but for scalars that JSON does not know.
func inline(n *yaml.Node) string {
	var parts []string
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			parts = append(parts, inline(item))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			parts = append(parts, quotedScalar(n.Content[i])+": "+inline(n.Content[i+1]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	default:
		return quotedScalar(n)
	}
}

// pretty returns a value as JSON over several lines. The first is not indented.
func pretty(n *yaml.Node, indent, more, end string) string {
	if n.Kind == yaml.ScalarNode || len(n.Content) == 0 {
		return inline(n)
	}
	var parts []string
	open, shut := "[", "]"
	if n.Kind == yaml.MappingNode {
		open, shut = "{", "}"
		for i := 0; i+1 < len(n.Content); i += 2 {
			parts = append(parts, quotedScalar(n.Content[i])+": "+pretty(n.Content[i+1], indent+more, more, end))
		}
	} else {
		for _, item := range n.Content {
			parts = append(parts, pretty(item, indent+more, more, end))
		}
	}
	inner := end + indent + more
	return open + inner + strings.Join(parts, ","+inner) + end + indent + shut
}

var (
	// harmless is text that every parser of YAML reads as it stands, in block and flow style, unless [misread] says no.
	harmless = regexp.MustCompile(`^-?[A-Za-z0-9_./+][A-Za-z0-9_./+-]*$`)
	// plain is text that needs no quotes in block style. It may hold colons, but not before a space or at the end.
	plain = regexp.MustCompile(`^(--?)?[A-Za-z/][A-Za-z0-9_./=@+$(),-]*(:[A-Za-z0-9_./=@+$(),-]+)*$`)
)

// misread is text that some parsers of YAML take for something else.
var misread = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}

// scalar returns a scalar for block style.
func scalar(n *yaml.Node) string {
	isText := n.ShortTag() == "!!str" && n.Style&^yaml.DoubleQuotedStyle == 0
	if isText && plain.MatchString(n.Value) && !slices.Contains(misread, strings.ToLower(n.Value)) {
		return n.Value
	}
	return quotedScalar(n)
}

// quotedScalar returns a scalar that means the same everywhere. What stood without quotes stays so, since parsers differ in
// what they take for text: "yes", "1:30" or "0o7".
func quotedScalar(n *yaml.Node) string {
	const quotes = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	tag := n.ShortTag()
	if n.Line > 0 && n.Style&(quotes|yaml.TaggedStyle) == 0 && harmless.MatchString(n.Value) {
		return n.Value
	}
	switch tag {
	case "!!str":
		return quoted(n.Value)
	case "!!null":
		return "null"
	case "!!int", "!!float", "!!bool":
		return n.Value
	default:
		return tag + " " + quoted(n.Value)
	}
}

// quoted returns text in the quotes of JSON, which are also some of YAML's. What YAML would not read as it stands is escaped.
func quoted(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return `""` // cannot happen: text can always be encoded
	}
	var out strings.Builder
	for _, r := range strings.TrimSuffix(b.String(), "\n") {
		if (r >= 0x7f && r < 0xa0) || r == 0xfeff || (r >= 0xfffe && r <= 0xffff) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}
