package edit

import (
	"cmp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// editor collects the edits of a text that make a change.
type editor struct {
	*source
	json    bool
	edits   []replacement
	changes map[*yaml.Node]*Change // of what stands in the text
}

// replacement puts text in the place of a range of bytes.
type replacement struct {
	span
	text  string
	depth int // of the node: at one place, what is deeper comes first
}

func (e *editor) replace(from, to int, text string, depth int) {
	e.edits = append(e.edits, replacement{span{from, to}, text, depth})
}

// result returns the text with all edits.
func (e *editor) result(text string) string {
	slices.SortStableFunc(e.edits, func(a, b replacement) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.depth, a.depth))
	})
	var b strings.Builder
	at, cutEnd := 0, false
	for _, r := range e.edits {
		if r.from >= at {
			b.WriteString(text[at:r.from])
		}
		b.WriteString(r.text)
		at = max(at, r.to)
		cutEnd = cutEnd || r.text == "" && r.to == len(text)
	}
	b.WriteString(text[at:])
	out := b.String()
	if cutEnd && ending(text) == "" { // the last line ended without a break, and so does now the one before
		out = strings.TrimSuffix(out, ending(out))
	}
	return out
}

// change edits a node, which is no alias.
func (e *editor) change(n *yaml.Node, c *Change, depth int) {
	if c.IsZero() {
		return
	}
	if e.changes == nil {
		e.changes = map[*yaml.Node]*Change{}
	}
	e.changes[n] = c
	for _, s := range c.within {
		if s.change.IsZero() {
			continue
		}
		i := s.index
		if s.key != "" {
			if i = indexOf(n, s.key) + 1; i == 0 { // it is merged: from now on it is here
				e.add(n, []field{{s.key, expected(merged(n, s.key), s.change)}}, depth)
				continue
			}
		}
		if i >= len(n.Content) || n.Content[i].Kind == yaml.AliasNode {
			continue // aliases come last
		}
		if IsNull(n.Content[i]) {
			e.fill(n, i, s.change, depth)
		} else {
			e.change(n.Content[i], s.change, depth+1)
		}
	}
	e.remove(n, c, depth)
	if len(c.first) > 0 {
		e.prepend(n, c.first, depth)
	}
	if len(c.add) > 0 {
		e.add(n, c.add, depth)
	}
}

// merged returns what a mapping has by merges.
func merged(n *yaml.Node, key string) *yaml.Node {
	whole, err := (&resolver{left: maxNodes}).copy(n, 1)
	if err != nil {
		return nil
	}
	return Field(whole, key)
}

// expected returns what a node, with all that aliases stand for, has to be after a change.
func expected(n *yaml.Node, c *Change) *yaml.Node {
	if n == nil {
		return text("")
	}
	whole, err := (&resolver{left: maxNodes}).copy(n, 1)
	if err == nil && c != nil {
		err = c.apply(whole)
	}
	if err != nil {
		return text("") // and means something else than it has to
	}
	return whole
}

// aliases writes out the aliases that no longer stand for what they have to. The change is that of the node.
func (e *editor) aliases(n *yaml.Node, c *Change) {
	if n.Kind == yaml.AliasNode {
		here, there := c, e.changes[n.Alias]
		if here == there || here.IsZero() && there.IsZero() {
			return
		}
		if want := expected(n.Alias, here); !Same(want, expected(n.Alias, there)) {
			at := e.offset(n)
			e.replace(at, at+1+len(n.Value), inline(want), 0)
		}
		return
	}
	below := c.below(n)
	for i, child := range n.Content {
		e.aliases(child, below[i])
	}
}

// below returns the changes of a node's content, by their place in it.
func (c *Change) below(n *yaml.Node) map[int]*Change {
	if c == nil {
		return nil
	}
	all := make(map[int]*Change, len(c.within))
	for _, s := range c.within {
		if s.key == "" {
			all[s.index] = s.change
		} else if i := indexOf(n, s.key); i >= 0 {
			all[i+1] = s.change
		}
	}
	return all
}
