package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// deletion is one use of `lateen delete`.
type deletion struct {
	change
	kinds  config.Kinds
	labels string
}

func newDeleteCommand(m *meshFlags, kinds config.Kinds) *cobra.Command {
	d := &deletion{change: change{mesh: m}, kinds: kinds}
	cmd := &cobra.Command{
		Use:     "delete (-f FILE|FOLDER|- | KIND NAME… | KIND -l LABELS)",
		Short:   "Delete objects",
		Example: "  lateen delete route-rule reviews-default\n  lateen delete -f route-rule-all-v1.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			ask, err := d.asked(cmd, args)
			if err != nil {
				return err
			}
			err = d.run(cmd, "deleted", ask)
			if errors.Is(err, errNoneChosen) {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), nothingFound)
			}
			return err
		},
	}
	d.addTo(cmd)
	addSelector(cmd.Flags(), &d.labels)
	return cmd
}

// errNoneChosen tells that no object has the labels that were asked for.
var errNoneChosen = errors.New("no object has these labels")

// asked returns what asks for the deletion that the arguments mean.
func (d *deletion) asked(cmd *cobra.Command, args []string) (func(context.Context, target) (api.Written, error), error) {
	if len(args) == 0 || len(d.files) > 0 {
		return d.byFile(cmd, args)
	}
	words, err := splitNames(args)
	if err == nil {
		err = checkSelector(d.labels, words)
	}
	if err != nil {
		return nil, err
	}
	var refs []mesh.Ref
	for _, w := range words {
		kind, err := kindOf(d.kinds, w.kind)
		switch {
		case err != nil:
			return nil, err
		case w.name == "" && d.labels != "":
			return d.byLabel(kind), nil
		case w.name == "":
			return nil, misused("", "which %s? give its name", kind.Type)
		}
		refs = append(refs, mesh.Ref{Kind: kind.Name, Namespace: d.namespace, Name: w.name})
	}
	return d.of(api.Delete{Namespace: d.namespace, Objects: refs}), nil
}

func (d *deletion) byFile(cmd *cobra.Command, args []string) (func(context.Context, target) (api.Written, error), error) {
	if d.labels != "" {
		return nil, misused("give a kind: lateen delete KIND -l LABELS", "-l does not choose from files")
	}
	if err := noArguments(cmd, args); err != nil {
		return nil, err
	}
	files, err := readFiles(d.files, cmd.InOrStdin())
	return d.of(api.Delete{Namespace: d.namespace, Files: files}), err
}

func (d *deletion) byLabel(kind *config.Kind) func(context.Context, target) (api.Written, error) {
	return func(ctx context.Context, t target) (api.Written, error) {
		q := api.Query{Kind: kind.Name, Namespace: cmp.Or(d.namespace, t.namespace()), Labels: d.labels}
		chosen, err := t.objects.Objects(ctx, q)
		if err != nil {
			return api.Written{}, err
		}
		if len(chosen) == 0 {
			return api.Written{}, errNoneChosen
		}
		request := api.Delete{Namespace: d.namespace}
		for _, o := range chosen {
			request.Objects = append(request.Objects, o.Ref)
		}
		return t.objects.Delete(ctx, request)
	}
}

func (d *deletion) of(request api.Delete) func(context.Context, target) (api.Written, error) {
	return func(ctx context.Context, t target) (api.Written, error) { return t.objects.Delete(ctx, request) }
}
