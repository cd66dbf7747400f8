package cli

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// follow shows objects, and then each one that comes or changes, until the command is ended. That one goes is told beside
// them. What is named has to be there in the beginning only.
func (g *getting) follow(cmd *cobra.Command, t target, all []words, objects []api.Object) error {
	known := map[mesh.Ref]api.Object{}
	for first := true; ; first = false {
		changed := slices.DeleteFunc(slices.Clone(objects), func(o api.Object) bool { return known[o.Ref] == o })
		if err := g.showMore(cmd, changed, first); err != nil {
			return err
		}
		for _, o := range objects {
			delete(known, o.Ref)
		}
		for _, ref := range slices.SortedFunc(maps.Keys(known), mesh.Ref.Compare) {
			fmt.Fprintf(cmd.ErrOrStderr(), "lateen: %s is deleted\n", ref)
			delete(known, ref)
		}
		for _, o := range objects {
			known[o.Ref] = o
		}
		if rest(cmd.Context(), pollInterval); cmd.Context().Err() != nil {
			return nil //nolint:nilerr // that is how it ends
		}
		var err error
		if objects, err = g.again(cmd, t, all); err != nil && cmd.Context().Err() == nil {
			return err
		}
	}
}

// again returns the objects that there are now.
func (g *getting) again(cmd *cobra.Command, t target, all []words) ([]api.Object, error) {
	var objects []api.Object
	for _, w := range all {
		kind, err := kindOf(g.kinds, w.kind)
		if err != nil {
			return nil, err
		}
		found, err := g.lookUp(cmd, t, kind, w.name)
		if err != nil {
			return nil, err
		}
		objects = append(objects, found...)
	}
	return objects, nil
}

// showMore prints objects, with the heading of a table only the first time.
func (g *getting) showMore(cmd *cobra.Command, objects []api.Object, first bool) error {
	if len(objects) == 0 && !first {
		return nil
	}
	var b bytes.Buffer
	if err := formats[g.output](&b, objects, true); err != nil {
		return err
	}
	text := b.Bytes()
	if !first && g.output != "name" {
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	_, err := cmd.OutOrStdout().Write(text)
	return err
}
