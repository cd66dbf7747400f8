// Package cli is the command line: one file for each command or group of commands.
//
// Commands read flags and files, speak to a running mesh through package api, and print for people on a terminal and
// plainly for pipes. What a command did goes to standard output, everything about it to standard error. An error is one
// line, with the next step in a second one where there is one; the exit code is 1 for a failure and 2 for wrong usage.
// The commands that run things ([newUpCommand], [newServeCommand], [newAgentCommand]) only read flags and hand over to
// the packages that do the work.
package cli

import (
	"context"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/serve"
)

// version is set when the program is built.
var version = "dev"

// Main runs the program with arguments, without its name, and returns its exit code. The first SIGINT or SIGTERM ends
// the command in order, a second one at once.
func Main(ctx context.Context, args []string) int {
	ctx, end := context.WithCancel(ctx)
	defer end()
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	kill := make(chan struct{})
	go func() {
		<-signals
		end()
		<-signals
		close(kill)
	}()
	root := newRootCommand(kill) //nolint:contextcheck // commands get the context when they run
	root.SetArgs(args)
	if err := misnamed(root, args); err != nil {
		return report(os.Stderr, err)
	}
	return report(os.Stderr, root.ExecuteContext(ctx))
}

func newRootCommand(kill <-chan struct{}) *cobra.Command {
	root := &cobra.Command{
		Use:           "lateen",
		Short:         "A service mesh of Envoy proxies on one machine",
		Example:       "  lateen demo\n  lateen apply -f rules.yaml\n  lateen get routerules",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		PersistentPreRunE: takeLegacy,

		SuggestionsMinimumDistance: 2,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return misused("`"+cmd.CommandPath()+" --help` lists the flags", "%w", err)
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	m, kinds := &meshFlags{}, serve.Kinds()
	m.addTo(root.PersistentFlags())
	const run, objects, look, cluster, parts = "run", "objects", "look", "cluster", "parts"
	root.AddGroup(
		&cobra.Group{ID: run, Title: "Run a mesh:"},
		&cobra.Group{ID: objects, Title: "Steer it:"},
		&cobra.Group{ID: look, Title: "Look inside:"},
		&cobra.Group{ID: cluster, Title: "On Kubernetes:"},
		&cobra.Group{ID: parts, Title: "Parts, as other commands start them:"},
	)
	for group, commands := range map[string][]*cobra.Command{
		run: {newDemoCommand(m, kill), newUpCommand(m, kill)},
		objects: {
			newCreateCommand(m), newReplaceCommand(m), newApplyCommand(m), newDeleteCommand(m, kinds), newGetCommand(m, kinds),
			newDiffCommand(m), newValidateCommand(validKinds()),
		},
		look: {
			newCheckCommand(m), newBugReportCommand(m), newProxiesCommand(m), newConfigCommand(m), newExplainCommand(m), newCACommand(m), newVersionCommand(),
		},
		cluster: {newInstallCommand(m), newUninstallCommand(m), newInjectCommand(m)},
		parts:   {newServeCommand(m), newAgentCommand(), newCaptureCommand(), newGuardCommand(), newBookinfoCommand(), newReferenceCommand()},
	} {
		for _, c := range commands {
			c.GroupID = group
			if group == objects || group == look {
				m.addClusterTo(c.PersistentFlags())
			}
			if group == objects {
				addLegacy(c, istioctlFlags())
			}
			root.AddCommand(c)
		}
	}
	return root
}

// misnamed tells of a command that there is not, before anybody looks at its flags.
func misnamed(root *cobra.Command, args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") || strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		return nil
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	if found, _, err := root.Find(args); err != nil || found != root {
		return nil //nolint:nilerr // told when the command is run
	}
	return knownCommand(root, args)
}

// knownCommand refuses a word that is no command, and names the nearest one.
func knownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "`lateen --help` lists the commands"
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean `lateen " + near[0] + "`? " + hint
	}
	return misused(hint, "unknown command %q", args[0])
}
