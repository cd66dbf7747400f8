package state

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
)

// Fields of metadata that this package writes.
const (
	fieldNamespace = "namespace"
	fieldVersion   = "resourceVersion"
)

// stamp returns the text of an object with its namespace and version written out, comments kept. Without a version, 0,
// none is written.
func stamp(o *config.Object, version int64) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(o.Text), &document); err != nil {
		return nil, err
	}
	metadata, err := metadataOf(&document)
	if err != nil {
		return nil, err
	}
	set(metadata, fieldNamespace, o.Namespace)
	if version > 0 {
		set(metadata, fieldVersion, strconv.FormatInt(version, 10))
	}
	text, err := encode(&document)
	if err != nil {
		return nil, err
	}
	// Comments in odd places can be written back in the wrong ones. What the object says is more important.
	if !equal(value(text, o.Namespace), value([]byte(o.Text), o.Namespace)) {
		var plain map[string]any
		if err := document.Decode(&plain); err != nil {
			return nil, err
		}
		return encode(plain)
	}
	return text, nil
}

func metadataOf(document *yaml.Node) (*yaml.Node, error) {
	if document.Kind == yaml.DocumentNode && document.Content[0].Kind == yaml.MappingNode {
		root := document.Content[0]
		for i := 0; i+1 < len(root.Content); i += 2 {
			n := root.Content[i+1]
			if n.Kind == yaml.AliasNode {
				n = n.Alias
			}
			if root.Content[i].Value == "metadata" && n.Kind == yaml.MappingNode {
				return n, nil
			}
		}
	}
	return nil, errors.New("the object has no metadata of its own")
}

// set sets a text in a mapping, in place or at its end.
func set(mapping *yaml.Node, key, text string) {
	value := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			value.LineComment = mapping.Content[i+1].LineComment
			mapping.Content[i+1] = value
			return
		}
	}
	mapping.Content = append(mapping.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, value)
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	e.CompactSeqIndent() // as Kubernetes writes lists
	if err := errors.Join(e.Encode(v), e.Close()); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return b.Bytes(), nil
}

// same tells whether two objects say the same: comments, layout, order and resourceVersion do not count.
func same(a, b *config.Object) bool {
	return equal(value([]byte(a.Text), a.Namespace), value([]byte(b.Text), b.Namespace))
}

func equal(a, b map[string]any) bool { return a != nil && reflect.DeepEqual(a, b) }

// value returns what a document says, with its namespace and without its resourceVersion; nil if it is not one.
func value(text []byte, namespace string) map[string]any {
	v, err := Value(text)
	if err != nil {
		return nil
	}
	metadata, ok := v["metadata"].(map[string]any)
	if !ok {
		return nil
	}
	metadata[fieldNamespace] = namespace
	delete(metadata, fieldVersion)
	return v
}
