package store_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/dialect/ingress"
	"github.com/lateen-mesh/lateen/internal/dialect/v1alpha2"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/store"
)

// FuzzReview shows that no file makes the store panic or run away, and that every problem has a place in the file.
func FuzzReview(f *testing.F) {
	door := "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: %}\nspec:\n  tls: [{hosts: [a.org], secretName: %}]\n" +
		"  rules: [{host: a.org, http: {paths: [{path: /a, pathType: Prefix, backend: {service: {name: reviews, port: {number: 80}}}}]}}]\n"
	outside := "---\napiVersion: config.istio.io/v1alpha2\nkind: EgressRule\nmetadata: {name: %}\n" +
		"spec: {destination: {service: '*.org'}, ports: [{port: 80, protocol: http}]}\n"
	policy := "---\napiVersion: config.istio.io/v1alpha2\nkind: DestinationPolicy\nmetadata: {name: %}\n" +
		"spec: {destination: {name: reviews, labels: {version: v1}}, loadBalancing: {name: RANDOM}}\n"
	matching := "---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: %}\n" +
		"spec: {destination: {name: reviews}, match: {source: {labels: {a: b}}, request: {headers: {uri: {regex: /a.*}, cookie: {exact: x}}}}}\n"
	for _, text := range []string{rule("%", "reviews", "v1"), door, outside, policy, matching} {
		f.Add([]byte(strings.ReplaceAll(text, "%", "a") + strings.ReplaceAll(text, "%", "b")))
	}
	s := store.New(store.Config{
		Kinds: append(v1alpha2.Kinds(domain), ingress.Kinds(domain)...), Domain: domain, Log: slog.New(slog.DiscardHandler),
		Publish: func(*mesh.Snapshot, []mesh.Key) {},
	})
	ctx, stop := context.WithCancel(f.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	f.Cleanup(func() { stop(); running.Wait() })
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, problems := config.Parse("f", data, "")
		if _, err := s.SetObjects(t.Context(), "file", objects, problems); err != nil {
			t.Fatal(err)
		}
		last := 1
		for _, lineBreak := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} { // all that YAML counts
			last += strings.Count(string(data), lineBreak)
		}
		for _, p := range s.Problems() {
			if p.Position.Line < 1 || p.Position.Line > last || p.Position.File != "f" {
				t.Errorf("%s: the file has %d lines", p, last)
			}
		}
	})
}
