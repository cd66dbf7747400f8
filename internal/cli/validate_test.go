package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkValidate checks 1000 objects, which must take less than a second: rules with regular expressions for one
// host, which have to be compared with one another.
func BenchmarkValidate(b *testing.B) {
	const rule = `apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: rule-%[1]d}
spec:
  destination: {name: reviews}
  precedence: %[1]d
  match: {request: {headers: {cookie: {regex: "^(.*?;)?(user=u%[1]d)(;.*)?$"}, uri: {prefix: /api/v%[1]d}}}}
  route: [{labels: {version: v1}, weight: 80}, {labels: {version: v2}, weight: 20}]
  httpFault: {delay: {percent: 10, fixedDelay: 5s}}
`
	const objects = 1000
	dir := b.TempDir()
	for i := range objects {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.yaml", i)), fmt.Appendf(nil, rule, i), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		var out strings.Builder
		root := newRootCommand(nil)
		root.SetArgs([]string{"validate", dir})
		root.SetOut(&out)
		root.SetErr(io.Discard)
		start := time.Now()
		if err := root.Execute(); err != nil {
			b.Fatal(err)
		}
		if took := time.Since(start); took > time.Second || out.String() != "1000 objects, no problems\n" {
			b.Fatalf("%s after %s", out.String(), took)
		}
	}
}
