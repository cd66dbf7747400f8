package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const defaultNamespace = "default"

// getting is one use of `lateen get`.
type getting struct {
	mesh      *meshFlags
	kinds     config.Kinds
	namespace string
	all       bool
	labels    string
	output    string
	watch     bool
}

func newGetCommand(m *meshFlags, kinds config.Kinds) *cobra.Command {
	g := &getting{mesh: m, kinds: kinds}
	cmd := &cobra.Command{
		Use:     "get KIND [NAME…]",
		Short:   "Show objects",
		Example: "  lateen get routerules\n  lateen get route-rule reviews-default -o yaml\n  lateen get routerules -A -l team=shop -o wide",
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.run(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&g.namespace, "namespace", "n", "", "namespace (default: default, in a cluster that of the context)")
	flags.BoolVarP(&g.all, "all-namespaces", "A", false, "of every namespace")
	addSelector(flags, &g.labels)
	flags.StringVarP(&g.output, "output", "o", "short", "short, wide, yaml, json or name")
	flags.BoolVarP(&g.watch, "watch", "w", false, "show changes as they come, until Ctrl-C")
	return cmd
}

func (g *getting) run(cmd *cobra.Command, args []string) error {
	show, ok := formats[g.output]
	if !ok {
		return misused("short, wide, yaml, json or name", "unknown output format %q", g.output)
	}
	if g.watch && (g.output == "yaml" || g.output == "json") {
		return misused("short, wide or name", "--watch shows changes to people, not as %s", g.output)
	}
	if len(args) == 0 {
		return misused("", "which kind? %s", knownKinds(g.kinds))
	}
	words, err := splitNames(args)
	if err == nil {
		err = checkSelector(g.labels, words)
	}
	if err != nil {
		return err
	}
	t, err := g.mesh.find(cmd.Context())
	if err != nil {
		return err
	}
	objects, err := g.fetchAll(cmd, t, words)
	if err != nil {
		return err
	}
	if g.watch {
		return g.follow(cmd, t, words, objects)
	}
	if err := show(cmd.OutOrStdout(), objects, words[0].name == ""); err != nil || g.output != "wide" {
		return err
	}
	err = tellOf(cmd, t.client, objects)
	if _, away := errors.AsType[*api.Unreachable](err); away && t.cluster != nil { // the objects are there without it
		fmt.Fprintf(cmd.ErrOrStderr(), "lateen: what is wrong with them is not known: %v\n", err)
		return nil
	}
	return err
}

// tellOf tells what is wrong now with objects, such as one whose name a watched file has too.
func tellOf(cmd *cobra.Command, client *api.Client, objects []api.Object) error {
	shown := map[mesh.Ref]bool{}
	for _, o := range objects {
		shown[o.Ref] = true
	}
	problems, err := client.Problems(cmd.Context())
	if err != nil {
		return err
	}
	tell(cmd.ErrOrStderr(), slices.DeleteFunc(problems, func(p mesh.Problem) bool { return !shown[p.Object] }))
	return nil
}

// fetchAll returns the objects that all words mean.
func (g *getting) fetchAll(cmd *cobra.Command, t target, all []words) ([]api.Object, error) {
	var objects []api.Object
	for _, w := range all {
		found, err := g.fetch(cmd, t, w)
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
	return objects, nil
}

// fetch returns the objects that words mean. One that is named and not there is an error.
func (g *getting) fetch(cmd *cobra.Command, t target, w words) ([]api.Object, error) {
	kind, err := kindOf(g.kinds, w.kind)
	if err != nil {
		return nil, err
	}
	found, err := g.lookUp(cmd, t, kind, w.name)
	if err != nil || w.name == "" || len(found) > 0 {
		return found, err
	}
	namespace, hint := g.in(t), ""
	if all, err := t.objects.Objects(cmd.Context(), api.Query{Kind: kind.Name}); err == nil { // who may not see them gets no hint
		hint = nearby(all, namespace, w.name)
	}
	return nil, failed(hint, "there is no %s %q in %s", kind.Type, w.name, place(namespace))
}

// in returns the namespace that is looked into; "": all.
func (g *getting) in(t target) string {
	if g.all {
		return ""
	}
	return cmp.Or(g.namespace, t.namespace())
}

func (g *getting) lookUp(cmd *cobra.Command, t target, kind *config.Kind, name string) ([]api.Object, error) {
	return t.objects.Objects(cmd.Context(), api.Query{Kind: kind.Name, Namespace: g.in(t), Name: name, Labels: g.labels})
}

// nearby returns a hint at the object that was probably meant instead of one that is not there.
func nearby(objects []api.Object, namespace, name string) string {
	var names []string
	for _, o := range objects {
		if o.Name == name {
			return "there is one in namespace " + o.Namespace
		}
		if namespace == "" || o.Namespace == namespace {
			names = append(names, o.Name)
		}
	}
	if near := config.Nearest(name, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
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
