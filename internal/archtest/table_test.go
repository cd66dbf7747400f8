package archtest

import (
	"strings"
	"testing"
)

// header starts each table of these tests.
const header = "# Architecture\n\n| Package | may import | never |\n|---|---|---|\n"

func TestImports(t *testing.T) {
	tests := []struct {
		name  string
		rows  string   // of the table
		files []string // pairs of folder and what its file imports or does
		want  []string
	}{
		{
			"own imports",
			"| `mesh` | – | – |\n| `plan`, `view` | `mesh` (of course) | – |\n",
			[]string{"internal/mesh", `import "@/internal/plan"`, "internal/plan", `import "@/internal/mesh"`, "internal/view", `import "@/internal/plan"`},
			[]string{"package mesh imports plan, which its row does not allow", "package view imports plan, which"},
		},
		{
			"no row",
			"| `mesh` | – | – |\n| `none` | – | – |\n",
			[]string{"internal/mesh", "", "internal/new", "", "internal/deep/down", ""},
			[]string{"package deep/down has no row", "package new has no row"},
		},
		{
			"families",
			"| `a` | – | Kubernetes, Envoy; I/O, logging |\n| `b` | – | Kubernetes; of Envoy only its service messages |\n| `c` | – | anything outside the standard library |\n",
			[]string{
				"internal/a", `import ("k8s.io/api/core/v1"; "sigs.k8s.io/gateway-api/x"; "sigs.k8s.io/yaml"; "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
					"net"; "net/netip"; "net/http/httputil"; "os/exec"; "syscall"; "log/slog"; "logic")`,
				"internal/b", `import ("github.com/envoyproxy/go-control-plane/envoy/config/core/v3"; "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3")`,
				"internal/c", `import ("net/http"; "golang.org/x/sync/errgroup")`,
			},
			[]string{
				"a imports k8s.io/api/core/v1", "a imports sigs.k8s.io/gateway-api/x", "a imports github.com/envoyproxy/",
				"a imports net;", "a imports net/http/httputil", "a imports os/exec", "a imports syscall", "a imports log/slog",
				"b imports github.com/envoyproxy/go-control-plane/envoy/config/core/v3", "c imports golang.org/x/sync/errgroup",
			},
		},
		{
			"literal paths and symbols",
			"| `mesh` | – | `net/http`, `time.Now` |\n",
			[]string{"internal/mesh", "import (\"net/http\"; \"time\")\nvar _ = time.Now\nvar _ = time.Second"},
			[]string{"mesh imports net/http", "mesh.go:2:9: package mesh mentions time.Now"},
		},
		{
			"patterns",
			"| `config` | – | – |\n| `source/*` | `config`, `source/*` | Kubernetes but in `kube`; one another |\n| `store` | `source/*` | – |\n",
			[]string{
				"internal/source/file", `import ("@/internal/config"; "k8s.io/api"; "@/internal/source/kube")`,
				"internal/source/kube", `import "k8s.io/api"`, "internal/store", `import "@/internal/source/file"`,
			},
			[]string{"source/file imports k8s.io/api;", "internal/source/kube; its row says never: one another"},
		},
		{
			"the row of a name before that of a pattern",
			"| `source/*` | – | – |\n| `source/kube` | `mesh` | – |\n| `mesh` | – | – |\n",
			[]string{"internal/source/kube", `import "@/internal/mesh"`},
			nil,
		},
		{
			"everything, and who imports it",
			"| `meshtest` | everything but `cli` | only tests import it |\n| `cli`, `cmd/*` | everything | nobody imports them |\n| `mesh` | everything | – |\n",
			[]string{
				"internal/meshtest", `import ("@/internal/cli"; "@/internal/mesh")`, "internal/cli", `import "@/internal/meshtest"`,
				"cmd/lateen", `import "@/internal/cli"`, "internal/mesh", `import "@/internal/cli"`,
			},
			[]string{
				"package cli imports meshtest: only tests import it", "package mesh imports cli: nobody imports them",
				"package meshtest imports cli, which its row does not allow", "package meshtest imports cli: nobody imports them",
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := checkout("docs/architecture.md", header+test.rows+"\nMore text.\n")
			for i := 0; i < len(test.files); i += 2 {
				dir := test.files[i]
				name := dir[strings.LastIndex(dir, "/")+1:]
				text := "package " + name + "; " + strings.ReplaceAll(test.files[i+1], "@", module)
				root[dir+"/"+name+".go"] = checkout("x", text)["x"]
				root[dir+"/"+name+"_test.go"] = checkout("x", "package "+name+"\nimport \"k8s.io/tests/may\"\n")["x"]
			}
			expect(t, checkImports, root, test.want...)
		})
	}
}

func TestBadTable(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"none", "# Architecture\n", "there is no table"},
		{"two", header + "| `a` | – | – |\n\n" + header, "line 9: there is a second import table"},
		{"cells", header + "| `a` | – |\n", "line 5: the row has 2 cells"},
		{"no package", header + "| | – | – |\n", "a row names no package"},
		{"no backticks", header + "| `a` | mesh | – |\n", `line 5: "mesh" is no list of package names`},
		{"unknown word", header + "| `a` | – | Kubernets |\n", `line 5: "Kubernets" is nothing that`},
		{"two words", header + "| `a` | – | `os` `net` |\n", "is nothing that the column"},
		{"two rows", header + "| `a` | – | – |\n| `b`, `a` | – | – |\n", "`a` has two rows"},
		{"unknown name", header + "| `a` | `mesh` | – |\n", "`a` may import `mesh`, which has no row"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			expect(t, checkImports, checkout("docs/architecture.md", test.text), test.want)
		})
	}
}
