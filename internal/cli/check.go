package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/checkup"
)

// defaultSince is how far back `lateen check` looks.
const defaultSince = 10 * time.Minute

// errFindings is the exit code of a check that has found errors. The report tells them.
var errFindings = &failure{errors.New("there are errors"), "", exitFailure}

func newCheckCommand(m *meshFlags) *cobra.Command {
	output, since, pre := "short", defaultSince, false
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Tell whether the mesh is well: certificates, who calls without one, what hangs, and what to do",
		Long: `Look at the whole mesh and give one verdict: a line for each part, then what is not as it should be, the worst first, each
with what to do about it. It looks at the authority, at the certificates of all workloads and whether their Envoys use them, at
clocks, proxies, the policies of ports, who calls without proving who it is, who is turned away, and at changes that hang.

Where no control plane answers, it says so, and looks at what is in the state folder.

In a cluster it looks at what is installed too: the control plane, the definitions of kinds, what it may do, the roots in all
namespaces, pods with a proxy and the ports of their services. With --pre it looks whether Lateen can be installed in a cluster: its
version, your rights, what the API server would refuse, nodes and namespaces, and what is left of an earlier installation.

Nothing is changed. The exit code is 1 if there are errors, 0 if there are warnings only.`,
		Example: "  lateen check\n  lateen check --since 1h\n  lateen check -o json\n  lateen check --pre",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case output != "short" && output != "json" && output != "yaml":
				return misused("short, json or yaml", "unknown output format %q", output)
			case since <= 0:
				return misused("for instance: --since 1h", "--since %s is no time to look back", since)
			}
			what, r, err := checked(cmd.Context(), m, pre, since)
			if err != nil {
				return err
			}
			if output != "short" {
				err = showStructure(cmd.OutOrStdout(), output, r)
			} else {
				err = showReport(cmd.OutOrStdout(), what, &r)
			}
			if err == nil && r.Verdict == checkup.Error {
				err = errFindings
			}
			return err
		},
	}
	cmd.Flags().DurationVar(&since, "since", since, "how far back access logs are read for who called")
	cmd.Flags().BoolVar(&pre, "pre", false, "look whether Lateen can be installed in a cluster")
	cmd.Flags().StringVarP(&output, "output", "o", output, "short, json or yaml")
	return cmd
}

// colours of the verdicts (ECMA-48 SGR).
var colours = map[checkup.Verdict]string{checkup.OK: "32", checkup.Warning: "33", checkup.Error: "31"}

// showReport prints the verdict, a line for each area, and the findings.
func showReport(w io.Writer, what string, r *checkup.Report) error {
	paint := painter(w)
	fmt.Fprintf(w, "%s: %s\n\n", what, paint(colours[r.Verdict], verdictOf(r)))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, a := range r.Areas {
		fmt.Fprintf(t, "  %s\t%s\t%s\n", a.Name, paint(colours[a.Verdict], string(a.Verdict)), a.Summary)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		fmt.Fprintf(w, "\n%s %s: %s [%s]\n", paint(colours[f.Severity], string(f.Severity)+":"), f.Subject, f.Message, f.Code)
		fmt.Fprintf(w, "  %s %s\n", paint("36", "fix:"), f.Fix)
	}
	return nil
}

// verdictOf says in words how the mesh is.
func verdictOf(r *checkup.Report) string {
	counts := map[checkup.Verdict]int{}
	for i := range r.Findings {
		counts[r.Findings[i].Severity]++
	}
	var parts []string
	for _, v := range []checkup.Verdict{checkup.Error, checkup.Warning} {
		if n := counts[v]; n > 0 {
			parts = append(parts, count(n, string(v)))
		}
	}
	if len(parts) == 0 {
		return "all is well"
	}
	return strings.Join(parts, ", ")
}
