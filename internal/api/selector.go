package api

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Selector chooses objects by their labels. The zero Selector chooses all.
type Selector struct{ terms []term }

// term asks something of one label.
type term struct {
	key    string
	values []string // one of them; empty: any value
	not    bool     // the opposite: another value, or no such label
}

// ParseSelector reads a selector as kubectl takes it: terms with commas between them, all of which must be true. A term
// is "key=value" (or "=="), "key!=value", "key", "!key", "key in (a, b)" or "key notin (a, b)".
func ParseSelector(text string) (Selector, error) {
	var s Selector
	if strings.TrimSpace(text) == "" {
		return s, nil
	}
	for _, part := range splitTerms(text) {
		t, err := parseTerm(strings.TrimSpace(part))
		if err != nil {
			return Selector{}, fmt.Errorf("label selector %q: %w", text, err)
		}
		s.terms = append(s.terms, t)
	}
	return s, nil
}

// splitTerms splits at the commas outside of parentheses.
func splitTerms(text string) []string {
	inside := false
	parts := []string{""}
	for _, r := range text {
		switch r {
		case '(', ')':
			inside = r == '('
		case ',':
			if !inside {
				parts = append(parts, "")
				continue
			}
		}
		parts[len(parts)-1] += string(r)
	}
	return parts
}

func parseTerm(text string) (term, error) {
	if key, set, ok := strings.Cut(text, "("); ok {
		return parseSet(key, set)
	}
	t := term{key: text}
	if key, value, ok := strings.Cut(text, "="); ok {
		key, not := strings.CutSuffix(key, "!")
		t = term{key: key, values: []string{strings.TrimPrefix(value, "=")}, not: not}
	} else if key, not := strings.CutPrefix(text, "!"); not {
		t = term{key: key, not: true}
	}
	return t.trimmed()
}

// parseSet reads "key in (a, b)" and "key notin (a, b)".
func parseSet(head, set string) (term, error) {
	words := strings.Fields(head)
	set, closed := strings.CutSuffix(set, ")")
	if !closed || len(words) != 2 || (words[1] != "in" && words[1] != "notin") {
		return term{}, errors.New("write KEY in (VALUE, VALUE) or KEY notin (VALUE, VALUE)")
	}
	return term{key: words[0], values: strings.Split(set, ","), not: words[1] == "notin"}.trimmed()
}

// trimmed returns the term without the space around its words, which must be words.
func (t term) trimmed() (term, error) {
	const never = " \t=!(),"
	t.key = strings.TrimSpace(t.key)
	if t.key == "" || strings.ContainsAny(t.key, never) {
		return t, fmt.Errorf("%q is not the key of a label", t.key)
	}
	for i, v := range t.values {
		t.values[i] = strings.TrimSpace(v)
		if strings.ContainsAny(t.values[i], never) {
			return t, fmt.Errorf("%q is not the value of a label", t.values[i])
		}
	}
	return t, nil
}

// Matches tells whether the selector chooses an object with these labels.
func (s Selector) Matches(labels map[string]string) bool {
	return !slices.ContainsFunc(s.terms, func(t term) bool {
		value, ok := labels[t.key]
		ok = ok && (len(t.values) == 0 || slices.Contains(t.values, value))
		return ok == t.not
	})
}
