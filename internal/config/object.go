package config

import (
	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Object is one YAML document with its place of origin. Its spec is still undecoded: a [Kind] reads it.
type Object struct {
	mesh.Ref
	APIVersion      string
	Labels          map[string]string
	Annotations     map[string]string
	ResourceVersion string
	Origin          mesh.Position // of the document's first key
	Text            string        // the document as it was written, without its separator
	Root            *yaml.Node    // the document's top mapping
}
