package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/admin"
	"github.com/lateen-mesh/lateen/internal/config"
)

func newValidateCommand(kinds config.Kinds) *cobra.Command {
	var files []string
	var namespace string
	cmd := &cobra.Command{
		Use:     "validate FILE|FOLDER|-…",
		Aliases: []string{"analyze"},
		Short:   "Check files without a mesh",
		Example: "  lateen validate route-rule-all-v1.yaml\n  lateen validate -f rules/",
		RunE: func(cmd *cobra.Command, args []string) error {
			read, err := readFiles(slices.Concat(files, args), cmd.InOrStdin())
			if err != nil {
				return err
			}
			checked := admin.Check(kinds, namespace, read)
			tell(cmd.ErrOrStderr(), checked.Problems)
			bad := errorsIn(checked.Problems)
			fmt.Fprintln(cmd.OutOrStdout(), verdict(checked.Count, bad, len(checked.Problems)-bad))
			if bad > 0 {
				return failed("", "%s", count(bad, "error"))
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVarP(&files, "filename", "f", nil, "file, folder, or - for standard input; may be given several times")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of objects that name none (default: default)")
	return cmd
}

// verdict returns "3 objects, 1 error, 2 warnings".
func verdict(objects, bad, warnings int) string {
	text := count(objects, "object")
	if bad+warnings == 0 {
		return text + ", no problems"
	}
	if bad > 0 {
		text += ", " + count(bad, "error")
	}
	if warnings > 0 {
		text += ", " + count(warnings, "warning")
	}
	return text
}
