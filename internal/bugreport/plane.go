package bugreport

import (
	"context"
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/api"
)

// pages are what a control plane tells of itself and of its mesh, and the files that these become. Pages in HTML say the same in a form in
// which secrets are harder to find.
var pages = []struct{ file, path string }{
	{"status.json", "/v1/status"},
	{"readyz.txt", "/readyz"},
	{"problems.json", "/v1/problems"},
	{"proxies.json", "/v1/proxies"},
	{"replicas.json", "/v1/replicas"},
	{"handovers.json", "/v1/handovers"},
	{"services.json", "/v1/services"},
	{"workloads.json", "/v1/workloads"},
	{"uses.json", "/v1/uses"},
	{"authority.json", "/v1/ca"}, // certificates only
	{"cache_stats.json", "/cache_stats"},
	{"metrics.txt", "/metrics"},
	{"debug/goroutines.txt", "/debug/pprof/goroutine?debug=1"},
	{"debug/heap.txt", "/debug/pprof/heap?debug=1"},
}

// planeParts are the pages of a control plane.
func planeParts(client *api.Client, folder string) []Part {
	var parts []Part
	for _, p := range pages {
		parts = append(parts, Part{Name: folder + "/" + p.file, Get: func(ctx context.Context) ([]byte, error) {
			return client.Page(ctx, p.path)
		}})
	}
	return parts
}

// kinds are those of the objects that steer a mesh. Secrets and Mesh documents are none of them.
var kinds = []string{"RouteRule", "DestinationPolicy", "EgressRule", "Ingress"}

// objectParts are the objects that a control plane knows, without their comments.
func objectParts(client *api.Client, r *Redactor) []Part {
	var parts []Part
	for _, kind := range kinds {
		parts = append(parts, Part{Name: "objects/" + kind + ".json", Get: func(ctx context.Context) ([]byte, error) {
			list, err := client.Objects(ctx, api.Query{Kind: kind})
			if err != nil {
				return nil, err
			}
			all := make([]any, 0, len(list))
			for i := range list {
				all = append(all, shown(&list[i], r))
			}
			return Document(all)
		}})
	}
	return parts
}

// shown returns an object as a tree, beside where it comes from.
func shown(o *api.Object, r *Redactor) any {
	var tree map[string]any
	var text any = NotShown
	if err := yaml.Unmarshal([]byte(o.Text), &tree); err == nil && o.Kind != "Secret" {
		stringKeys(tree)
		text = r.Object(tree)
	}
	if _, err := json.Marshal(text); err != nil { // a number that JSON has not
		text = NotShown
	}
	return map[string]any{
		"object": o.String(), "source": o.Source, "origin": o.Origin.String(), "resourceVersion": o.ResourceVersion, "text": text,
	}
}

// Value returns a part that is a value, as JSON.
func Value(name string, get func(ctx context.Context) (any, error)) Part {
	return Part{Name: name, Get: func(ctx context.Context) ([]byte, error) {
		value, err := get(ctx)
		if value == nil {
			return nil, err
		}
		text, failed := json.Marshal(value)
		if failed != nil {
			return nil, fmt.Errorf("write %s: %w", name, failed)
		}
		return text, err
	}}
}
