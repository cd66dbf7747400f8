package admin

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// lastApplied is where kubectl keeps a whole copy of an object.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

const kindSecret = "Secret"

// notShown is what stands in the place of a value.
var notShown = regexp.MustCompile(`<\d+ bytes, not shown>`)

// Shown returns the text of an object as it may be shown: that of a Secret without its values and its comments.
func Shown(kind, text string) string {
	if kind != kindSecret {
		return text
	}
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil || document.Kind != yaml.DocumentNode {
		return ""
	}
	h := hider{seen: map[*yaml.Node]bool{}}
	h.walk(&document)
	plain, err := yaml.Marshal(&document)
	if err != nil {
		return ""
	}
	return string(plain)
}

// hider replaces what must not be shown.
type hider struct{ seen map[*yaml.Node]bool }

// walk drops the comments of the tree and hides values under the keys that hold secrets, at any depth.
func (h hider) walk(n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	for i, child := range n.Content {
		h.walk(child)
		if n.Kind != yaml.MappingNode || i%2 == 0 {
			continue
		}
		switch key := n.Content[i-1].Value; key {
		case "data", "stringData", lastApplied:
			h.hide(child, key == "data")
		}
	}
}

// hide replaces every value of the tree, also where an alias stands for it.
func (h hider) hide(n *yaml.Node, encoded bool) {
	if h.seen[n] {
		return
	}
	h.seen[n] = true
	switch {
	case n.Kind == yaml.AliasNode:
		h.hide(n.Alias, encoded)
	case n.Kind == yaml.MappingNode:
		for i := 1; i < len(n.Content); i += 2 {
			h.hide(n.Content[i], encoded)
		}
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			h.hide(item, encoded)
		}
	case n.ShortTag() != "!!null":
		size := len(n.Value)
		if decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), "")); err == nil && encoded {
			size = len(decoded)
		}
		n.Tag, n.Style, n.Value = "!!str", 0, fmt.Sprintf("<%d bytes, not shown>", size)
	}
}
