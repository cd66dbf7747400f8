package mesh_test

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

func TestStringMatchTakes(t *testing.T) {
	for _, c := range []struct {
		kind        mesh.MatchKind
		want, value string
		takes       bool
	}{
		{mesh.MatchExact, "a", "a", true},
		{mesh.MatchExact, "a", "ab", false},
		{mesh.MatchPrefix, "a", "ab", true},
		{mesh.MatchPrefix, "b", "ab", false},
		{mesh.MatchElements, "/a", "/a", true},
		{mesh.MatchElements, "/a", "/a/b", true},
		{mesh.MatchElements, "/a", "/ab", false},
		{mesh.MatchElements, "/a/", "/a", true},
		{mesh.MatchElements, "/", "/ab", true},
		{mesh.MatchRegex, "a|ab", "ab", true},
		{mesh.MatchRegex, "b", "abc", false},
		{mesh.MatchRegex, "(", "(", false},
		{mesh.MatchRegex, "a)(b", "ab", false},
		{mesh.MatchRegex, ".", "é", false}, // it is two bytes
		{mesh.MatchRegex, "..", "é", true},
		{mesh.MatchRegex, "é+", "éé", false}, // what repeats is the last byte
		{mesh.MatchRegex, "(é)+", "éé", true},
		{mesh.MatchPresent, "", "", true},
	} {
		m := mesh.StringMatch{Kind: c.kind, Value: c.want}
		if got := m.Takes(c.value); got != c.takes {
			t.Errorf("%s %q takes %q: %v", c.kind, c.want, c.value, got)
		}
	}
}
