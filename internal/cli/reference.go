package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

//go:generate go run github.com/lateen-mesh/lateen/cmd/lateen reference --output ../../docs/reference/commands.md

// newReferenceCommand writes what `--help` says of all commands into one Markdown file.
func newReferenceCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:    "reference --output FILE",
		Short:  "Write the reference of all commands",
		Hidden: true,
		Args:   noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return os.WriteFile(output, []byte(reference(cmd.Root())), 0o644) //nolint:gosec // a document for everybody
		},
	}
	cmd.Flags().StringVar(&output, "output", "commands.md", "file to write")
	return cmd
}

func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Commands\n\nThis file is generated from the program: `make generate` writes it.\n\n" +
		"Exit codes: 0 for success, 1 for a failure, 2 for wrong usage. Errors are told in one line on standard error,\n" +
		"the next step in a second one.\n\nEvery command that speaks to a mesh takes these flags:\n\n")
	flagTable(&b, root.PersistentFlags())
	for _, group := range root.Groups() {
		fmt.Fprintf(&b, "## %s\n\n", strings.TrimSuffix(group.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID == group.ID && !c.Hidden {
				chapter(&b, c)
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
	fmt.Fprintf(b, "### %s\n\n%s\n\n```text\n%s\n```\n\n", c.Name(), text, strings.TrimSuffix(c.UseLine(), " [flags]"))
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
