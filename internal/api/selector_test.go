package api_test

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
)

func TestSelectorChoosesByLabels(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"app": "web", "tier": "front", "empty": ""}
	for text, want := range map[string]bool{
		"":                            true,
		" ":                           true,
		"app=web":                     true,
		"app==web":                    true,
		"app = web , tier=front":      true,
		"app=web,tier=back":           false,
		"app=":                        false,
		"empty=":                      true,
		"app!=web":                    false,
		"app != db":                   true,
		"nothing!=web":                true,
		"nothing=web":                 false,
		"app":                         true,
		"nothing":                     false,
		"!app":                        false,
		"!nothing":                    true,
		"app in (db, web)":            true,
		"app in (db,cache), tier":     false,
		"app notin (db, cache),tier":  true,
		"app notin (web)":             false,
		"nothing notin (web)":         true,
		"nothing in (web)":            false,
		"tier,app in (web),!nothing":  true,
		"tier , app in (web) , other": false,
	} {
		s, err := api.ParseSelector(text)
		if err != nil {
			t.Error(err)
		}
		if got := s.Matches(labels); got != want {
			t.Errorf("%q chooses %v: %v, want %v", text, labels, got, want)
		}
	}
}

func TestSelectorThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		",":             `label selector ",": "" is not the key of a label`,
		"app=web,":      `label selector "app=web,": "" is not the key of a label`,
		"=web":          `label selector "=web": "" is not the key of a label`,
		"!":             `label selector "!": "" is not the key of a label`,
		"a b":           `label selector "a b": "a b" is not the key of a label`,
		"a=b=c":         `label selector "a=b=c": "b=c" is not the value of a label`,
		"a=b c":         `label selector "a=b c": "b c" is not the value of a label`,
		"app in (web":   `label selector "app in (web": write KEY in (VALUE, VALUE) or KEY notin (VALUE, VALUE)`,
		"app of (web)":  `label selector "app of (web)": write KEY in (VALUE, VALUE) or KEY notin (VALUE, VALUE)`,
		"in (web)":      `label selector "in (web)": write KEY in (VALUE, VALUE) or KEY notin (VALUE, VALUE)`,
		"app in ((web)": `label selector "app in ((web)": "(web" is not the value of a label`,
	} {
		if _, err := api.ParseSelector(text); err == nil || err.Error() != want {
			t.Errorf("error %v\nwant  %s", err, want)
		}
	}
}
