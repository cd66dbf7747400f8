package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/crd"
	"github.com/lateen-mesh/lateen/internal/dialect/meshconfig"
	"github.com/lateen-mesh/lateen/internal/serve"
)

//go:generate go run github.com/lateen-mesh/lateen/cmd/lateen reference --output ../../docs/reference/commands.md --metrics ../../docs/reference/metrics.md --settings ../../docs/reference/meshconfig.md --legacy ../../docs/reference/legacy-flags.md --crds ../../deploy/chart/templates/crds.yaml
//go:generate go test -count 1 -run ^TestManifestsFile$ ../../deploy -update

// module is the import path of the sources, two folders up when files are generated.
const module = "github.com/lateen-mesh/lateen"

// newReferenceCommand writes what is made from the program itself: what `--help` says of all commands, the metrics, the
// settings, and the definitions of our kinds for Kubernetes.
func newReferenceCommand() *cobra.Command {
	var output, metrics, settings, legacy, definitions string
	cmd := &cobra.Command{
		Use:    "reference --output FILE --metrics FILE --settings FILE --legacy FILE --crds FILE",
		Short:  "Write the reference of all commands, metrics and settings, and the CustomResourceDefinitions",
		Hidden: true,
		Args:   noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			comments, err := crd.ReadComments(os.DirFS("../.."), module, "internal")
			if err != nil {
				return err
			}
			crds, err := crd.Definitions(serve.Kinds(), comments)
			if err != nil {
				return err
			}
			return errors.Join(
				os.WriteFile(definitions, crds, 0o644),                      //nolint:gosec // for everybody
				os.WriteFile(output, []byte(reference(cmd.Root())), 0o644),  //nolint:gosec // a document for everybody
				os.WriteFile(metrics, []byte(metricsPage()), 0o644),         //nolint:gosec // a document for everybody
				os.WriteFile(legacy, []byte(legacyPage(cmd.Root())), 0o644), //nolint:gosec // a document for everybody
				os.WriteFile(settings, []byte(meshconfig.Page()), 0o644),    //nolint:gosec // a document for everybody
			)
		},
	}
	cmd.Flags().StringVar(&output, "output", "commands.md", "file to write the commands to")
	cmd.Flags().StringVar(&metrics, "metrics", "metrics.md", "file to write the metrics to")
	cmd.Flags().StringVar(&settings, "settings", "meshconfig.md", "file to write the settings of a mesh to")
	cmd.Flags().StringVar(&definitions, "crds", "crds.yaml", "file to write the CustomResourceDefinitions to")
	cmd.Flags().StringVar(&legacy, "legacy", "legacy-flags.md", "file to write the flags of old to")
	return cmd
}

// metricsPage lists what the control plane and agents count.
func metricsPage() string {
	var b strings.Builder
	b.WriteString("# Metrics\n\nThis file is generated from the program: `make generate` writes it. [Operating](../guide/operating.md) says what to watch.\n\n" +
		"The labels have few values, whatever the size of a mesh: `type` is a kind of resource (`cluster`, `virtual-host`, …), `proxy_type`\n" +
		"that of a proxy (`sidecar`, `ingress`, `proxyless`). No proxy, host or object has a time series of its own.\n\n" +
		"## Control plane\n\nAt `/metrics` of `--admin-port`, beside those of the Go runtime (`go_…`) and the process (`process_…`).\n\n" +
		"| Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n")
	for _, m := range serve.Metrics() {
		labels := ""
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Kind, labels, m.Help)
	}
	b.WriteString("\n## Agent\n\nAt `/metrics` of `lateen agent --health-address`.\n\n| Metric | Kind | Meaning |\n|---|---|---|\n")
	for _, m := range agent.Metrics() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.Name, m.Kind, m.Help)
	}
	return b.String()
}

func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Commands\n\nThis file is generated from the program: `make generate` writes it.\n\n" +
		"Exit codes: 0 for success, 1 for a failure, 2 for wrong usage. Errors are told in one line on standard error,\n" +
		"the next step in a second one.\n\nEvery command that speaks to a mesh takes these flags:\n\n")
	flagTable(&b, root.PersistentFlags())
	b.WriteString("Commands that may be about a mesh in a cluster also have these:\n\n")
	inCluster := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(meshFlags).addClusterTo(inCluster)
	flagTable(&b, inCluster)
	for _, group := range root.Groups() {
		fmt.Fprintf(&b, "## %s\n\n", strings.TrimSuffix(group.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID != group.ID || c.Hidden {
				continue
			}
			chapter(&b, c)
			for _, part := range c.Commands() {
				if !part.Hidden {
					chapter(&b, part)
				}
			}
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func chapter(b *strings.Builder, c *cobra.Command) {
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	name := strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")
	fmt.Fprintf(b, "### %s\n\n%s\n\n```text\n%s\n```\n\n", name, text, strings.TrimSuffix(c.UseLine(), " [flags]"))
	flagTable(b, c.LocalNonPersistentFlags())
	if c.HasExample() {
		fmt.Fprintf(b, "For instance:\n\n```sh\n%s\n```\n\n", strings.ReplaceAll(strings.TrimSpace(c.Example), "\n  ", "\n"))
	}
}

// flagTable lists flags as a table; without flags it writes nothing.
func flagTable(b *strings.Builder, flags *pflag.FlagSet) {
	var rows []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "version" {
			return
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		usage := strings.ReplaceAll(f.Usage, "|", `\|`)
		if f.DefValue != "" && f.DefValue != "[]" && f.DefValue != "false" && f.DefValue != "0" && !strings.Contains(usage, "default") {
			usage += " (default: " + f.DefValue + ")"
		}
		rows = append(rows, "| "+name+" | "+usage+" |")
	})
	if len(rows) > 0 {
		b.WriteString("| Flag | Meaning |\n|---|---|\n" + strings.Join(rows, "\n") + "\n\n")
	}
}
