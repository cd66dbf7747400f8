package config

import (
	"slices"
	"strings"
	"unicode"
)

// Suggest returns a hint for a word that is none of the known ones: the nearest of them, else the list, introduced by
// what ("known fields").
func Suggest(word, what string, known []string) string {
	if near := Nearest(word, known); near != "" {
		return "did you mean " + quoted(near) + "?"
	}
	if len(known) == 0 {
		return ""
	}
	return what + ": " + strings.Join(known, ", ")
}

// Nearest returns the word of known that word is most likely a misspelling of, or "".
func Nearest(word string, known []string) string {
	const longest = 128
	if len(word) > longest {
		return ""
	}
	best, bound := "", min(max(len(word)/3, 1), 4)+1
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k), bound); d < bound {
			best, bound = k, d
		}
	}
	return best
}

// distance returns how many letters must be inserted, deleted, replaced or swapped with their neighbour to make b of
// a, or a number of at least bound when that is reached.
func distance(a, b string, bound int) int {
	if len(a)-len(b) >= bound || len(b)-len(a) >= bound {
		return bound
	}
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		if slices.Min(row) >= bound {
			return bound
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}

// snake returns the snake_case spelling of a camelCase name.
func snake(name string) string {
	var b strings.Builder
	for _, r := range name {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
