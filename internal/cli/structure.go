package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// showStructure prints a value for programs, as json or as yaml with the same fields.
func showStructure(w io.Writer, format string, value any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return err
	}
	if format == "json" {
		_, err := w.Write(text.Bytes())
		return err
	}
	var node yaml.Node
	if err := yaml.Unmarshal(text.Bytes(), &node); err != nil { // JSON is YAML
		return fmt.Errorf("write as YAML: %w", err)
	}
	block(&node)
	y := yaml.NewEncoder(w)
	y.SetIndent(2)
	return y.Encode(&node)
}

// block gives every part of a document the form with lines and dashes.
func block(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		block(child)
	}
}
