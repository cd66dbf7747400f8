package config_test

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/config"
)

func TestPaths(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{config.Key("", "spec"), "spec"},
		{config.Key("spec", "route"), "spec.route"},
		{config.Key("metadata.labels", "app.dev/tier"), `metadata.labels["app.dev/tier"]`},
		{config.Key("a", ""), `a[""]`},
		{config.Item("spec.route", 2), "spec.route[2]"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}

func TestAt(t *testing.T) {
	const text = `apiVersion: v1
kind: Thing
metadata:
  name: a
  labels:
    app.dev/tier: x
    "a]\"b": y
spec:
  route:
  - labels: {version: v1}
    weight: 30
  - &second
    max_wait: 70s
  - *second
  gone: ~
  merged:
    <<: {inner: 1}
`
	objects, problems := config.Parse("f", []byte(text), "")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for path, want := range map[string]string{
		"kind":                             "f:2:7",
		"metadata.name":                    "f:4:9",
		`metadata.labels["app.dev/tier"]`:  "f:6:19",
		`metadata.labels["a]\"b"]`:         "f:7:14",
		"spec.route":                       "f:9:3",
		"spec.route[0]":                    "f:10:5",
		"spec.route[0].labels":             "f:10:5",
		"spec.route[0].labels.version":     "f:10:23",
		"spec.route[0].weight":             "f:11:13",
		"spec.route[1].maxWait":            "f:13:15",
		"spec.route[2].maxWait":            "f:13:15",
		"spec.gone":                        "f:15:3",
		"spec.merged.inner":                "f:17:17",
		"spec.route[7].weight":             "f:9:3", // not there: the nearest parent
		"spec.route[0].labels.x.y":         "f:10:5",
		"spec.route[0].weight.deeper":      "f:11:13",
		"spec.nothing":                     "f:8:1",
		"nothing":                          "f:1:1",
		"":                                 "f:1:1",
		"spec.route[x]":                    "f:9:3", // not a path: as far as it is one
		`metadata.labels["app.dev/tier`:    "f:5:3",
		"spec.route[-1]":                   "f:9:3",
		"spec.route[99999999999999999999]": "f:9:3",
	} {
		if got := objects[0].At(path).String(); got != want {
			t.Errorf("At(%q) is %s, want %s", path, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"route", "redirect", "rewrite", "httpFault"}
	for word, want := range map[string]string{
		"rout": "route", "ruote": "route", "Route": "route", "redirct": "redirect", "http_fault": "httpFault",
		"x": "", "": "", "destination": "", "httpFualt": "httpFault",
	} {
		if got := config.Nearest(word, known); got != want {
			t.Errorf("Nearest(%q) is %q, want %q", word, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name          string
		label, domain bool
	}{
		{"a", true, true},
		{"a-1", true, true},
		{"1a", true, true},
		{"a.b", false, true},
		{"", false, false},
		{"-a", false, false},
		{"a-", false, false},
		{"A", false, false},
		{"a_b", false, false},
		{"a..b", false, false},
		{".a", false, false},
		{"a.", false, false},
		{"é", false, false},
	} {
		if config.IsLabel(c.name) != c.label || config.IsDomain(c.name) != c.domain {
			t.Errorf("%q: label %v, domain %v, want %v, %v", c.name, config.IsLabel(c.name), config.IsDomain(c.name), c.label, c.domain)
		}
	}
}
