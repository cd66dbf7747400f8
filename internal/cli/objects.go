package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// change is what the commands that change objects have in common.
type change struct {
	mesh      *meshFlags
	files     []string
	namespace string
	wait      bool
	timeout   time.Duration
	asked     []api.File // that were read
}

const defaultTimeout = 30 * time.Second

func (c *change) addTo(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVarP(&c.files, "filename", "f", nil, "file, folder, or - for standard input; may be given several times")
	flags.StringVarP(&c.namespace, "namespace", "n", "", "namespace of objects that name none (default: default, in a cluster that of the context)")
	flags.BoolVar(&c.wait, "wait", true, "wait until the change is in force in every proxy that it concerns")
	flags.DurationVar(&c.timeout, "timeout", defaultTimeout, "how long to wait")
}

func newCreateCommand(m *meshFlags) *cobra.Command {
	return newWriteCommand(m, api.Create, "Create objects; those that exist are refused")
}

func newReplaceCommand(m *meshFlags) *cobra.Command {
	return newWriteCommand(m, api.Replace, "Replace objects that exist")
}

func newApplyCommand(m *meshFlags) *cobra.Command {
	return newWriteCommand(m, api.Apply, "Create objects, or replace those that exist")
}

func newWriteCommand(m *meshFlags, op api.Op, short string) *cobra.Command {
	c := &change{mesh: m}
	cmd := &cobra.Command{
		Use:     string(op) + " -f FILE|FOLDER|-",
		Short:   short,
		Example: fmt.Sprintf("  lateen %s -f route-rule-all-v1.yaml", op),
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			files, err := readFiles(c.files, cmd.InOrStdin())
			if err != nil {
				return err
			}
			c.asked = files
			return c.run(cmd, "written", func(ctx context.Context, t target) (api.Written, error) {
				return t.objects.Write(ctx, api.Write{Op: op, Namespace: c.namespace, Files: files})
			})
		},
	}
	c.addTo(cmd)
	return cmd
}

// noArguments refuses arguments: most often a file whose -f is missing.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return misused("files are given with -f", "unexpected argument %q", args[0])
}

// run asks for a change, tells what was done, and waits until it is in force.
func (c *change) run(cmd *cobra.Command, done string, ask func(context.Context, target) (api.Written, error)) error {
	deadline := time.Now().Add(c.timeout)
	ctx, cancel := context.WithTimeout(cmd.Context(), max(c.timeout, defaultTimeout))
	defer cancel()
	t, err := c.mesh.findToWrite(ctx)
	if err != nil {
		return err
	}
	written, err := ask(ctx, t)
	for _, r := range written.Results { // also those before the error
		fmt.Fprintln(cmd.OutOrStdout(), describe(r))
	}
	tell(cmd.ErrOrStderr(), written.Problems)
	if err != nil {
		return err
	}
	if len(written.Results) > 0 {
		w := waiting{cmd: cmd, target: t, revision: written.Revision, deadline: deadline, timeout: c.timeout}
		if t.cluster == nil {
			err = w.inForce(c.wait, changes(written))
		} else {
			s := sighting{waiting: &w, results: written.Results, files: c.asked, namespace: c.namespace}
			err = s.inForce(c.wait, changes(written))
			written.Problems = append(written.Problems, s.found...)
		}
		if err != nil {
			return err
		}
	}
	return incomplete(written, done)
}

// describe returns the line that says what was done with an object, in istioctl's words.
func describe(r api.Result) string {
	name := r.Type + "/" + r.Object.Path()
	switch r.Verb {
	case "created":
		return fmt.Sprintf("Created config %s at revision %d", name, r.ResourceVersion)
	case "updated":
		return fmt.Sprintf("Updated config %s to revision %d", name, r.ResourceVersion)
	case "deleted":
		return "Deleted config: " + name
	default:
		return fmt.Sprintf("Unchanged config %s at revision %d", name, r.ResourceVersion)
	}
}

func changes(w api.Written) bool {
	for _, r := range w.Results {
		if r.Verb != "unchanged" {
			return true
		}
	}
	return false
}

// incomplete says that some objects were left out, or nil.
func incomplete(w api.Written, done string) error {
	n := errorsIn(w.Problems)
	idle := 0 // errors of objects that were written and do nothing, such as a second one for one destination
	for _, r := range w.Results {
		for _, p := range w.Problems {
			if p.Severity == mesh.Error && p.Object == r.Object {
				idle++
			}
		}
	}
	switch {
	case n == 0 && len(w.Results) == 0 && len(w.Problems) == 0:
		return failed("", "the files hold no objects")
	case n == 0:
		return nil
	case len(w.Results) == 0:
		return failed("", "nothing was %s: %s", done, count(n, "error"))
	case idle == n:
		return failed("", "everything was %s, but not everything applies: %s", done, count(n, "error"))
	default:
		return failed("", "not everything was %s: %s", done, count(n, "error"))
	}
}
