package config_test

import (
	"fmt"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// TestHostileFiles shows what files do that were made to cost much: they are told in few words, and what is good in them
// is read. Each fills most of what a file may have, so that anything quadratic would not come to an end.
func TestHostileFiles(t *testing.T) {
	const size = 1 << 20
	const object = "apiVersion: test.dev/v1\nkind: Thing\nmetadata: {name: a}\n"
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	count := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	garbage := func(size int) string {
		random := rand.New(rand.NewSource(1)) //nolint:gosec // the same garbage each time
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(random.Intn(256))
		}
		return string(data)
	}
	deeper := func() string {
		var b strings.Builder
		for i := 0; b.Len() < size-3000; i++ {
			b.WriteString(strings.Repeat(" ", i) + "a:\n")
		}
		return b.String()
	}
	for _, c := range []struct {
		name, file string
		objects    int
		want       string // problems by code
	}{
		{"10 MiB of garbage", garbage(10 << 20), 0, "too-large 1"},
		{"1 MiB of garbage", garbage(size), 0, "syntax 1"},
		{"open lists", fill("["), 0, "syntax 1"},
		{"open mappings", fill("{"), 0, "syntax 1"},
		{"lists in one line", fill("- "), 0, "syntax 1"},
		{"keys of keys", fill("? "), 0, "syntax 1"},
		{"mappings deeper and deeper", deeper(), 0, "too-large 1"},
		{"quotes", fill("'"), 0, "wrong-type 1"},
		{"zero bytes", fill("\x00"), 0, "syntax 1"},
		{"aliases of nothing", fill("*a "), 0, "syntax 1"},
		{"tags", fill("!a "), 0, "wrong-type 1"},
		{"one long text", fill("a\n"), 0, "wrong-type 1"},
		{"a long list", fill("- a\n"), 0, "wrong-type 1"},
		{"many keys", object + "spec:\n" + count(90_000, "  k%d: 1\n"), 0, "too-large 1"},
		{"as many keys as there may be", object + "spec:\n" + count(40_000, "  k%d: 1\n"), 1, "too-many-problems 1, unknown-field 100"},
		{"the same key", object + "spec:\n" + strings.Repeat("  text: a\n", 40_000), 1, "duplicate-field 100, too-many-problems 1"},
		{"comments", object + "spec:\n" + strings.Repeat("  # x\n", 170_000), 1, ""},
		{"comments between keys", object + "spec:\n" + count(40_000, "  # x\n  text%d: a\n"), 1, "too-many-problems 1, unknown-field 100"},
		{"comments in brackets", object + "spec: {" + strings.Repeat("#\n a,", 150_000) + "}\n", 0, "too-large 1"},
		{"a bad line after many good ones", object + "spec:\n" + strings.Repeat("  a: 1\n", 140_000) + " b: [\n", 0, "syntax 1"},
		{"bad documents", strings.Repeat("---\na: [\n", 116_000), 0, "syntax 1000, too-many-problems 1"},
		{"long bad documents", strings.Repeat("---\n"+strings.Repeat("a: b\n", 200)+"]\n", 1000), 0, "syntax 1000"},
		{"documents without a name", strings.Repeat("---\nkind: A\n", 1000), 0, "missing-field 1000, too-many-problems 1"},
		{"items that are none", "apiVersion: v1\nkind: List\nitems:\n" + strings.Repeat("- 1\n", 90_000), 0, "too-many-problems 1, wrong-type 1000"},
		{"merged again and again", object + "spec: {a: &a {x: 1}, " + strings.Repeat("<<: *a, ", 100_000) + "}", 0, "too-large 1"},
		{
			"merged in levels", object + "spec: {b: &b {" + count(5_000, "k%d: 1, ") + "}, c: &c {<<: [*b, *b]}, d: {<<: [*c, *b]}}", 1,
			"unknown-field 3",
		},
		{"a bad one among good ones", object + "---\n" + fill("[")[:500_000] + "\n---\n" + object, 2, "syntax 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects, problems := config.Parse("f", []byte(c.file), "")
			for i := range objects {
				_, more := kinds.Read(&objects[i])
				problems = append(problems, more...)
			}
			if got := codes(problems); got != c.want || len(objects) != c.objects {
				t.Errorf("got %d objects and %q, want %d and %q", len(objects), got, c.objects, c.want)
			}
			for _, p := range problems {
				if text := p.String(); len(text) > 500 {
					t.Fatalf("a problem is told in %d bytes: %.1000s", len(text), text)
				}
			}
		})
	}
}

// codes returns how many problems there are of each code: "syntax 1, unknown-field 3".
func codes(problems []mesh.Problem) string {
	numbers := map[string]int{}
	for _, p := range problems {
		numbers[p.Code]++
	}
	var all []string
	for _, code := range slices.Sorted(maps.Keys(numbers)) {
		all = append(all, fmt.Sprint(code, " ", numbers[code]))
	}
	return strings.Join(all, ", ")
}
