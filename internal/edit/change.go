package edit

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Change says what becomes of a node of a document's tree, and of those below it. Its zero value changes nothing. What is
// null counts as the collection that is added to.
type Change struct {
	add    []field      // keys that the mapping does not have
	first  []*yaml.Node // items of the list, before all others
	cut    []string     // keys that go
	drop   []int        // items that go, by their number in the document
	within []step
}

type field struct {
	key   string
	value *yaml.Node
}

// step leads to the value of a key, or if the key is "" to an item.
type step struct {
	key    string
	index  int
	change *Change
}

// Key returns the change of the value of a key.
func (c *Change) Key(key string) *Change { return c.at(step{key: key}) }

// Item returns the change of an item of a list.
func (c *Change) Item(index int) *Change { return c.at(step{index: index}) }

// Put sets the change of an item of a list that has none yet.
func (c *Change) Put(index int, change *Change) {
	c.within = append(c.within, step{index: index, change: change})
}

func (c *Change) at(s step) *Change {
	for _, known := range c.within {
		if known.key == s.key && known.index == s.index {
			return known.change
		}
	}
	s.change = &Change{}
	c.within = append(c.within, s)
	return s.change
}

// Add adds a key that the mapping does not have.
func (c *Change) Add(key string, value *yaml.Node) { c.add = append(c.add, field{key, value}) }

// Prepend adds items to a list, before all others.
func (c *Change) Prepend(items ...*yaml.Node) { c.first = append(c.first, items...) }

// Remove takes a key out of a mapping.
func (c *Change) Remove(key string) {
	if !slices.Contains(c.cut, key) {
		c.cut = append(c.cut, key)
	}
}

// Drop takes an item out of a list. It is named by the number that it has before the change.
func (c *Change) Drop(index int) {
	if !slices.Contains(c.drop, index) {
		c.drop = append(c.drop, index)
	}
}

// IsZero tells whether nothing changes; nil changes nothing either.
func (c *Change) IsZero() bool {
	return c == nil || len(c.add)+len(c.first)+len(c.cut)+len(c.drop) == 0 &&
		!slices.ContainsFunc(c.within, func(s step) bool { return !s.change.IsZero() })
}

// apply changes a tree without aliases.
func (c *Change) apply(n *yaml.Node) error {
	for _, s := range c.within {
		child := Field(n, s.key)
		if s.key == "" && n.Kind == yaml.SequenceNode && s.index < len(n.Content) {
			child = n.Content[s.index]
		}
		if child == nil {
			return fmt.Errorf("%w: there is no %q, %d", ErrMeaning, s.key, s.index)
		}
		if err := s.change.apply(child); err != nil {
			return err
		}
	}
	for _, key := range c.cut {
		if i := indexOf(n, key); i >= 0 {
			n.Content = slices.Delete(n.Content, i, i+2)
		}
	}
	if len(c.drop) > 0 {
		var kept []*yaml.Node
		for i, item := range n.Content {
			if !slices.Contains(c.drop, i) {
				kept = append(kept, item)
			}
		}
		n.Content = kept
	}
	return c.grow(n)
}

// grow adds what is added.
func (c *Change) grow(n *yaml.Node) error {
	become := func(kind yaml.Kind, tag string) error {
		if IsNull(n) {
			*n = yaml.Node{Kind: kind, Tag: tag, Line: n.Line, Column: n.Column}
		}
		if n.Kind != kind {
			return fmt.Errorf("%w: nothing can be added to what stands in line %d", ErrMeaning, n.Line)
		}
		return nil
	}
	if len(c.first) > 0 {
		if err := become(yaml.SequenceNode, "!!seq"); err != nil {
			return err
		}
		n.Content = slices.Concat(c.first, n.Content)
	}
	if len(c.add) > 0 {
		if err := become(yaml.MappingNode, "!!map"); err != nil {
			return err
		}
	}
	for _, f := range c.add {
		if indexOf(n, f.key) >= 0 {
			return fmt.Errorf("%w: the key %q is there already", ErrMeaning, f.key)
		}
		n.Content = append(n.Content, text(f.key), f.value)
	}
	return nil
}

func text(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
}

// Scalar returns a node of text, for use in a [Change].
func Scalar(value string) *yaml.Node { return text(value) }

// Mapping returns a node with one key, for use in a [Change].
func Mapping(key string, value *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{text(key), value}}
}
