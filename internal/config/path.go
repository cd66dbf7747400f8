package config

import (
	"strconv"
	"strings"
)

// Key returns the path of the field key below path: spec.route, or spec.labels["example.com/tier"] when the key is
// not a plain word.
func Key(path, key string) string {
	switch {
	case !isWord(key):
		return path + "[" + strconv.Quote(key) + "]"
	case path == "":
		return key
	default:
		return path + "." + key
	}
}

// Item returns the path of the item i of the list at path: spec.route[1].
func Item(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func isWord(key string) bool {
	for _, r := range key {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return key != ""
}

// step is one part of a path: a key or the index of an item.
type step struct {
	key   string
	index int
	item  bool
}

// steps takes a path apart that [Key] and [Item] made, as far as it is one.
func steps(path string) []step {
	var all []step
	for path != "" {
		s, rest, ok := firstStep(strings.TrimPrefix(path, "."))
		if !ok {
			break
		}
		all, path = append(all, s), rest
	}
	return all
}

func firstStep(path string) (s step, rest string, ok bool) {
	inner, bracket := strings.CutPrefix(path, "[")
	if !bracket {
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			end = len(path)
		}
		return step{key: path[:end]}, path[end:], end > 0
	}
	if quoted, err := strconv.QuotedPrefix(inner); err == nil {
		s.key, err = strconv.Unquote(quoted)
		rest, ok = strings.CutPrefix(inner[len(quoted):], "]")
		return s, rest, ok && err == nil
	}
	number, rest, ok := strings.Cut(inner, "]")
	index, err := strconv.Atoi(number)
	return step{index: index, item: true}, rest, ok && err == nil && index >= 0
}
