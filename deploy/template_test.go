package deploy

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
)

// Each template of the chart, with every combination of values, is filled as text/template itself does it.
func TestTemplatesAreFilledAsUsual(t *testing.T) {
	t.Parallel()
	files, err := fs.Sub(chart, "chart/templates")
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(files, "*.yaml")
	if err != nil || len(names) != len(order()) {
		t.Fatalf("%q, %v: all are %q", names, err, order())
	}
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		usual := template.Must(template.New(name).Option("missingkey=error").Parse(string(text)))
		for _, hub := range []string{"", "registry.example/a"} {
			for _, settings := range []string{"", "a: \"b\"\n# {{ x }} \\ ä"} {
				for _, without := range []bool{false, true} {
					values := Options{Hub: hub, Tag: "v1", Replicas: 3, MeshConfig: settings, NoIngress: without}.values()
					var want, got bytes.Buffer
					if err := usual.Execute(&want, values); err != nil {
						t.Fatal(err)
					}
					if err := fill(&got, name, string(text), values); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(want.String(), got.String()); diff != "" {
						t.Errorf("%s (-text/template +fill):\n%s", name, diff)
					}
				}
			}
		}
	}
}

// What is truth for `if` is what it is for text/template; what is more than the chart may use is refused.
func TestTemplateForms(t *testing.T) {
	t.Parallel()
	values := map[string]any{"Values": map[string]any{"no": "", "none": 0, "off": false, "yes": "y", "some": 2, "on": true, "of": map[string]any{"a": 1}}}
	for _, name := range []string{"no", "none", "off", "yes", "some", "on", "of.a"} {
		text := "x {{- if .Values." + name + " }} {{ .Values." + name + " -}} \n z {{else}}none{{end}}"
		var want, got bytes.Buffer
		if err := template.Must(template.New("t").Parse(text)).Execute(&want, values); err != nil {
			t.Fatal(err)
		}
		if err := fill(&got, "t", text, values); err != nil || got.String() != want.String() {
			t.Errorf("%s: %q, %v, want %q", name, got.String(), err, want.String())
		}
	}
	for text, form := range map[string]bool{
		"{{ .Values.other }}": false, "{{ .Values.yes.more }}": false, "{{ if }}": false, "{{ unknown }}": false, "{{ .Values.yes": false,
		"{{ range .Values.of }}{{ end }}": true, "{{ .Values.yes | printf \"%q\" }}": true, "{{ $x := .Values.yes }}": true,
		"{{ printf \"%s\" .Values.yes }}": true, "{{ 1 }}": true, "{{ with .Values.yes }}{{ end }}": true, "{{ . }}": true,
	} {
		var out bytes.Buffer
		if err := fill(&out, "t", text, values); err == nil || errors.Is(err, errForm) != form {
			t.Errorf("%s: %q, %v", text, out.String(), err)
		}
	}
}
