package inject_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/inject"
	"github.com/lateen-mesh/lateen/internal/inject/policy"
)

// What somebody makes as large as an API server takes it, on one line, costs no more than its size: what is done for each part must not be done again
// for all before it.
func TestLargePods(t *testing.T) {
	t.Parallel()
	many := func(n int, one func(i int) string) string {
		var all strings.Builder
		for i := range n {
			if i > 0 {
				all.WriteByte(',')
			}
			all.WriteString(one(i))
		}
		return all.String()
	}
	number := strconv.Itoa
	app := `{"name":"app","image":"a"}`
	for name, pod := range map[string]string{
		"variables":   `{"metadata":{"name":"p"},"spec":{"containers":[{"name":"app","env":[` + many(90_000, func(i int) string { return `{"name":"a` + number(i) + `"}` }) + `]}]}}`,
		"containers":  `{"metadata":{"name":"p"},"spec":{"containers":[` + many(90_000, func(i int) string { return `{"name":"a` + number(i) + `"}` }) + `]}}`,
		"the same":    `{"metadata":{"name":"p"},"spec":{"containers":[` + many(90_000, func(int) string { return `{"name":"a"}` }) + `]}}`,
		"no names":    `{"metadata":{"name":"p"},"spec":{"containers":[` + many(90_000, func(int) string { return `{}` }) + `]}}`,
		"annotations": `{"metadata":{"name":"p","annotations":{` + many(90_000, func(i int) string { return `"a` + number(i) + `":"b"` }) + `}},"spec":{"containers":[` + app + `]}}`,
		"volumes":     `{"metadata":{"name":"p"},"spec":{"volumes":[` + many(90_000, func(int) string { return `{"name":"lateen-run"}` }) + `],"containers":[` + app + `]}}`,
		"ports":       `{"metadata":{"name":"p"},"spec":{"containers":[{"name":"app","ports":[` + many(90_000, func(int) string { return `{"containerPort":15001}` }) + `]}]}}`,
		"too many":    `{"metadata":{"name":"p"},"spec":{"containers":[{"name":"app","args":[` + many(1_000_000, func(int) string { return `1` }) + `]}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, problems := inject.PatchBy(inject.Rules{Config: policy.Default()}, []byte(pod), "shop", inject.Options{Image: "lateen-proxy:1", Version: "1"})
			if len(problems) > 1100 {
				t.Errorf("there are %d problems", len(problems))
			}
		})
	}
}
