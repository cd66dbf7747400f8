package config

import (
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Kind is one kind of object that a dialect understands.
type Kind struct {
	Name        string   // "RouteRule"
	APIVersions []string // those accepted, the preferred one first
	Type        string   // the word that commands print: "route-rule"
	Plural      string   // "routerules"
	Short       []string // further names on the command line

	// Translate checks the object and says what it means. It reports all that it finds; with an error among the
	// problems the meaning is not used.
	Translate func(*Object) (Meaning, []mesh.Problem)
}

// Meaning is what one object says, in the mesh's words.
type Meaning struct {
	Rules []*mesh.RouteRule
	Doors []*mesh.DoorRule
}

// Kinds are all the kinds that a program understands.
type Kinds []Kind

// Find returns the kind of an object by apiVersion and kind, or nil.
func (k Kinds) Find(apiVersion, name string) *Kind {
	for i := range k {
		if k[i].Name == name && slices.Contains(k[i].APIVersions, apiVersion) {
			return &k[i]
		}
	}
	return nil
}

// Named returns the kind that a word on the command line means (kind, type, singular, plural or short name, in any case), or nil.
func (k Kinds) Named(word string) *Kind {
	word = strings.ToLower(word)
	for i := range k {
		names := append([]string{strings.ToLower(k[i].Name), k[i].Type, k[i].Plural}, k[i].Short...)
		if slices.Contains(names, word) {
			return &k[i]
		}
	}
	return nil
}
