package cli

import (
	"cmp"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
)

const defaultNamespace = "default"

// getting is one use of `lateen get`.
type getting struct {
	mesh      *meshFlags
	kinds     config.Kinds
	namespace string
	all       bool
	output    string
}

func newGetCommand(m *meshFlags, kinds config.Kinds) *cobra.Command {
	g := &getting{mesh: m, kinds: kinds}
	cmd := &cobra.Command{
		Use:     "get KIND [NAME…]",
		Short:   "Show objects",
		Example: "  lateen get routerules\n  lateen get route-rule reviews-default -o yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.run(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&g.namespace, "namespace", "n", "", "namespace (default: default)")
	flags.BoolVarP(&g.all, "all-namespaces", "A", false, "of every namespace")
	flags.StringVarP(&g.output, "output", "o", "short", "short, wide, yaml, json or name")
	return cmd
}

func (g *getting) run(cmd *cobra.Command, args []string) error {
	show, ok := formats[g.output]
	if !ok {
		return misused("short, wide, yaml, json or name", "unknown output format %q", g.output)
	}
	if len(args) == 0 {
		return misused("", "which kind? %s", knownKinds(g.kinds))
	}
	words, err := splitNames(args)
	if err != nil {
		return err
	}
	t, err := g.mesh.find(cmd.Context())
	if err != nil {
		return err
	}
	var objects []api.Object
	for _, w := range words {
		found, err := g.fetch(cmd, t.client, w)
		if err != nil {
			return err
		}
		objects = append(objects, found...)
	}
	return show(cmd.OutOrStdout(), objects, words[0].name == "")
}

// fetch returns the objects that words mean. One that is named and not there is an error.
func (g *getting) fetch(cmd *cobra.Command, client *api.Client, w words) ([]api.Object, error) {
	kind, err := kindOf(g.kinds, w.kind)
	if err != nil {
		return nil, err
	}
	q := api.Query{Kind: kind.Name, Namespace: cmp.Or(g.namespace, defaultNamespace)}
	if g.all {
		q.Namespace = ""
	}
	objects, err := client.Objects(cmd.Context(), q)
	if err != nil || w.name == "" {
		return objects, err
	}
	var matching []api.Object
	var names []string
	for _, o := range objects {
		if o.Name == w.name {
			matching = append(matching, o)
		}
		names = append(names, o.Name)
	}
	if len(matching) == 0 {
		hint := ""
		if near := config.Nearest(w.name, names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return nil, failed(hint, "there is no %s %q in %s", kind.Type, w.name, place(q.Namespace))
	}
	return matching, nil
}

func place(namespace string) string {
	if namespace == "" {
		return "any namespace"
	}
	return "namespace " + namespace
}

// formats are the ways to show objects; list tells whether any number of them was asked for.
var formats = map[string]func(w io.Writer, objects []api.Object, list bool) error{
	"short": showShort,
	"wide":  showWide,
	"yaml":  showYAML,
	"json":  showJSON,
	"name":  showNames,
}
