package cli

import (
	"fmt"
	"path"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
)

func newDiffCommand(m *meshFlags) *cobra.Command {
	var files []string
	var namespace string
	cmd := &cobra.Command{
		Use:   "diff -f FILE|FOLDER|-",
		Short: "Show what apply would change",
		Long: `Show what apply would change, as a unified diff between the objects as they are stored and as they would be.
The exit code is 0 when nothing would change, 1 when something would, and more when that cannot be told.`,
		Example: "  lateen diff -f route-rule-all-v1.yaml",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			read, err := readFiles(files, cmd.InOrStdin())
			if err != nil {
				return untold(err)
			}
			t, err := m.find(cmd.Context())
			if err != nil {
				return untold(err)
			}
			compared, err := t.objects.Compare(cmd.Context(), api.Compare{Namespace: namespace, Files: read})
			if err != nil {
				return untold(err)
			}
			return showDifferences(cmd, compared)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "filename", "f", nil, "file, folder, or - for standard input; may be given several times")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of objects that name none (default: default, in a cluster that of the context)")
	return cmd
}

// untold gives an error the exit code of a comparison that did not come about.
func untold(err error) error { return &failure{err, hintOf(err), exitUsage} }

// showDifferences prints the differences. That there are some is the exit code, and no error.
func showDifferences(cmd *cobra.Command, compared api.Compared) error {
	for _, d := range compared.Differences {
		name := path.Join(d.Type, d.Object.Path())
		before, after := "stored/"+name, "applied/"+name
		if d.Before == "" {
			before = "/dev/null"
		}
		text := diff.Diff(before, []byte(d.Before), after, []byte(d.After))
		if text == nil {
			text = fmt.Appendf(nil, "%s differs in values that are not shown\n", name)
		}
		if _, err := cmd.OutOrStdout().Write(text); err != nil {
			return untold(err)
		}
	}
	tell(cmd.ErrOrStderr(), compared.Problems)
	switch n := errorsIn(compared.Problems); {
	case n > 0:
		return untold(fmt.Errorf("not everything can be compared: %s", count(n, "error")))
	case len(compared.Differences) > 0:
		return errDiffers
	default:
		return nil
	}
}
