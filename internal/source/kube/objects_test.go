package kube

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// ruleAsStored is an object with what a cluster writes into one.
func ruleAsStored() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "config.istio.io/v1alpha2", "kind": "RouteRule",
		"metadata": map[string]any{
			"name": "a", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": int64(3), "creationTimestamp": "2026-01-01T00:00:00Z",
			"managedFields": []any{map[string]any{"manager": "kubectl"}},
			"annotations":   map[string]any{lastApplied: "{}", "mine": "yes"}, "labels": map[string]any{"b": "1", "a": "on"},
		},
		"spec": map[string]any{
			"precedence": int64(1), "httpFault": map[string]any{"delay": map[string]any{"percent": 12.5}}, "destination": map[string]any{"name": "web"},
		},
		"status": map[string]any{"accepted": true}, "more": "x",
	}}
}

// What an object says has nothing of what the cluster writes into it, and keeps everything else, so that what is wrong is told.
func TestTextOfAnObject(t *testing.T) {
	t.Parallel()
	u := ruleAsStored()
	const want = `apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata:
  annotations:
    mine: "yes"
  labels:
    a: "on"
    b: "1"
  name: a
  namespace: shop
more: x
spec:
  destination:
    name: web
  httpFault:
    delay:
      percent: 12.5
  precedence: 1
`
	for range 5 { // whatever the order of maps
		if got, err := textOf(u); err != nil || got != want {
			t.Fatalf("%v\n%s", err, got)
		}
	}
	if u.Object["status"] == nil || u.GetAnnotations()[lastApplied] == "" {
		t.Error("the object itself was changed")
	}
	ref := mesh.Ref{Kind: "RouteRule", Namespace: "shop", Name: "a"}
	o := readObject(ref, want)
	if !o.good || len(o.problems) > 0 || o.Ref != ref || o.Labels["a"] != "on" {
		t.Errorf("%+v", o)
	}
	if at := o.At("spec.precedence"); at != (mesh.Position{File: Origin, Line: 18, Column: 15}) {
		t.Errorf("position %v", at)
	}
}

// An object that nobody could read is a problem with its name, and no object.
func TestObjectThatIsTooLarge(t *testing.T) {
	t.Parallel()
	u := ruleAsStored()
	u.Object["spec"] = map[string]any{"x": strings.Repeat("y", 2<<20)}
	text, err := textOf(u)
	if err != nil {
		t.Fatal(err)
	}
	ref := mesh.Ref{Kind: "RouteRule", Namespace: "shop", Name: "a"}
	o := readObject(ref, text)
	if o.good || len(o.problems) != 1 || o.problems[0].Object != ref || o.problems[0].Code != config.CodeTooLarge {
		t.Errorf("%v, %v", o.good, o.problems)
	}
}
