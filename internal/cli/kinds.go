package cli

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
)

// kindOf returns the kind that a word means.
func kindOf(kinds config.Kinds, word string) (*config.Kind, error) {
	if kind := kinds.Named(word); kind != nil {
		return kind, nil
	}
	var known []string
	for _, k := range kinds {
		known = append(append(known, k.Name, k.Type, k.Plural), k.Short...)
	}
	hint := knownKinds(kinds)
	if near := config.Nearest(word, known); near != "" {
		hint = "did you mean " + near + "? " + hint
	}
	return nil, misused(hint, "unknown kind %q", word)
}

func knownKinds(kinds config.Kinds) string {
	var plurals []string
	for _, k := range kinds {
		plurals = append(plurals, k.Plural)
	}
	slices.Sort(plurals)
	return "known kinds: " + strings.Join(plurals, ", ")
}

// words name a kind, and an object of it unless name is "".
type words struct{ kind, name string }

func addSelector(flags *pflag.FlagSet, labels *string) {
	flags.StringVarP(labels, "selector", "l", "", "only those with these labels: KEY=VALUE, KEY!=VALUE, KEY, !KEY, KEY in (VALUE, …)")
}

// checkSelector refuses a selector that is none, or that stands beside names.
func checkSelector(labels string, all []words) error {
	if labels != "" && all[0].name != "" {
		return misused("leave out the names or -l", "objects are chosen by name or by label, not by both")
	}
	if _, err := api.ParseSelector(labels); err != nil {
		return misused("for instance: -l team=shop,!old", "%w", err)
	}
	return nil
}

// splitNames reads "KIND", "KIND NAME…" and "KIND/NAME…".
func splitNames(args []string) ([]words, error) {
	var all []words
	if !strings.Contains(args[0], "/") {
		for _, name := range args[1:] {
			all = append(all, words{args[0], name})
		}
		if len(args) == 1 {
			all = append(all, words{kind: args[0]})
		}
		return all, nil
	}
	for _, arg := range args {
		kind, name, ok := strings.Cut(arg, "/")
		if !ok || name == "" {
			return nil, misused("give KIND NAME…, or KIND/NAME for each", "%q is not of the form KIND/NAME", arg)
		}
		all = append(all, words{kind, name})
	}
	return all, nil
}
