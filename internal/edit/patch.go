package edit

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// operation is one of a JSON patch (RFC 6902).
type operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value,omitempty"`
}

// Patch returns a change of the document as a JSON patch (RFC 6902), for those who have the document and want to be told what
// to do to it.
func (d *Document) Patch(c *Change) ([]byte, error) {
	if err := c.apply(copyTree(d.Root)); err != nil {
		return nil, err
	}
	all := []operation{}
	c.operations("", d.Root, func(op, path string, value *yaml.Node) {
		o := operation{Op: op, Path: path}
		if value != nil {
			o.Value = json.RawMessage(inline(value))
		}
		all = append(all, o)
	})
	data, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMeaning, err) // a value that JSON does not know
	}
	return data, nil
}

// operations tells what a change does to a node at a path, in an order in which it can be done one by one.
func (c *Change) operations(path string, n *yaml.Node, tell func(op, path string, value *yaml.Node)) {
	if IsNull(n) {
		tell("replace", path, expected(n, c))
		return
	}
	for _, s := range c.within {
		switch {
		case s.change.IsZero():
		case s.key != "":
			s.change.operations(pointer(path, s.key), Field(n, s.key), tell)
		default:
			s.change.operations(pointer(path, strconv.Itoa(s.index)), n.Content[s.index], tell)
		}
	}
	for _, key := range c.cut {
		tell("remove", pointer(path, key), nil)
	}
	for _, i := range slices.Backward(slices.Sorted(slices.Values(c.drop))) {
		tell("remove", pointer(path, strconv.Itoa(i)), nil)
	}
	for i, item := range c.first {
		tell("add", pointer(path, strconv.Itoa(i)), item)
	}
	for _, f := range c.add {
		tell("add", pointer(path, f.key), f.value)
	}
}

// pointer returns the path of a key below a path (RFC 6901).
func pointer(path, key string) string {
	return path + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
