package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/admin"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

func newValidateCommand(kinds config.Kinds) *cobra.Command {
	var files []string
	var namespace string
	cmd := &cobra.Command{
		Use:     "validate FILE|FOLDER|-…",
		Aliases: []string{"analyze"},
		Short:   "Check files without a mesh",
		Long: `Check files without a mesh: what each object says, and what the objects mean for one another. With Mesh
files among them, the services that objects name are looked for there. Errors fail, warnings do not.`,
		Example: "  lateen validate route-rule-all-v1.yaml\n  lateen validate -f rules/",
		RunE: func(cmd *cobra.Command, args []string) error {
			read, err := readFiles(slices.Concat(files, args), cmd.InOrStdin())
			if err != nil {
				return err
			}
			checked := admin.Check(kinds, namespace, read)
			reviewed, err := review(cmd.Context(), kinds, checked.Objects)
			if err != nil {
				return err
			}
			problems := together(checked.Problems, reviewed)
			tell(cmd.ErrOrStderr(), problems)
			bad := errorsIn(problems)
			fmt.Fprintln(cmd.OutOrStdout(), verdict(checked.Count, bad, len(problems)-bad))
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

// together returns problems that were found in two ways, each once, in the order of files and lines.
func together(a, b []mesh.Problem) []mesh.Problem {
	told := map[mesh.Problem]bool{}
	var all []mesh.Problem
	for _, p := range slices.Concat(a, b) {
		if !told[p] {
			told[p] = true
			all = append(all, p)
		}
	}
	mesh.SortProblems(all)
	return all
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
