package capture

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
)

// Command is what people and containers run.
type Command struct {
	Config
	DryRun bool // only print the rules
	Verify bool // only look whether the kernel has them
}

// Flags defines the command's flags.
func (c *Command) Flags(f *flag.FlagSet) {
	c.Config.Flags(f)
	f.BoolVar(&c.DryRun, "dry-run", false, "print the rules, and change nothing")
	f.BoolVar(&c.Verify, "check", false, "look whether the kernel has the rules, and change nothing")
}

// Run runs the command in the network namespace of this process. It prints nothing but the rules of a dry run.
func (c *Command) Run(ctx context.Context, out io.Writer, log *slog.Logger) error {
	switch {
	case c.DryRun && c.Verify:
		return &Misused{"rules are to be printed and looked for", "give one of --dry-run and --check"}
	case c.DryRun:
		return c.print(out)
	case c.Verify:
		return Check(ctx, c.Config, log)
	default:
		return Apply(ctx, c.Config, log)
	}
}

// print writes the rules as the tools of the backend take them.
func (c *Command) print(out io.Writer) error {
	tables, err := c.Tables()
	if err != nil {
		return err
	}
	if c.Backend != IPTables {
		_, err = io.WriteString(out, Text(tables))
		return err
	}
	for _, t := range tables {
		if _, err := fmt.Fprintf(out, "# %s-restore --noflush\n%s", programs[t.Family], RestoreText(t, func(Hook) int { return 0 })); err != nil {
			return err
		}
	}
	return nil
}

// Alias tells whether a flag is another name of one.
func Alias(flagName string) bool { return slices.Contains([]string{"p", "u", "i"}, flagName) }
