package config_test

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/config"
)

// TestFieldAt shows that FieldAt finds the field of which At gives the position.
func TestFieldAt(t *testing.T) {
	objects, problems := config.Parse("f", []byte(`apiVersion: v1
kind: Thing
metadata: {name: a, labels: {app.dev/tier: x}}
spec:
  first: {path: /a, hosts: [x, y]}
  list:
  - name: b
    backend: &b {port: 1}
  - {name: c, backend: *b, max_wait: 1s}
  gone: ~
  merged: {<<: {inner: 1}}
`), "")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	o := &objects[0]
	for _, path := range []string{
		"kind", "metadata", "metadata.name", `metadata.labels["app.dev/tier"]`, "spec", "spec.first", "spec.first.path", "spec.first.hosts",
		"spec.first.hosts[1]", "spec.list", "spec.list[0]", "spec.list[0].name", "spec.list[0].backend.port", "spec.list[1]",
		"spec.list[1].name", "spec.list[1].backend", "spec.gone", "spec.merged.inner",
	} {
		if got := o.FieldAt(o.At(path)); got != path {
			t.Errorf("%q is found as %q", path, got)
		}
		if !o.Has(path) {
			t.Errorf("%q is not there", path)
		}
	}
	if got := o.FieldAt(o.At("spec.list[1].maxWait")); o.At(got) != o.At("spec.list[1].maxWait") {
		t.Errorf("the other spelling is found as %q", got)
	}
	nowhere := o.At("kind")
	nowhere.Column++
	if got := o.FieldAt(nowhere); got != "" {
		t.Errorf("nothing is found as %q", got)
	}
	for _, path := range []string{"spec.nothing", "spec.list[2]", "spec.first.path.deeper"} {
		if o.Has(path) {
			t.Errorf("%q is there", path)
		}
	}
}

// TestFieldAtOfRepeatedAliases shows that what an alias stands for is found where it was first written.
func TestFieldAtOfRepeatedAliases(t *testing.T) {
	objects, _ := config.Parse("f", []byte("{apiVersion: v1, kind: Thing, metadata: {name: a}, spec: {a: &a {x: 1}, b: [*a, *a], c: {d: *a}}}"), "")
	at := objects[0].At("spec.c.d.x")
	if got := objects[0].FieldAt(at); got != "spec.a.x" {
		t.Errorf("found as %q", got)
	}
}
