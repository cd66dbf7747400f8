package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// legacy are the flags of istioctl that mean nothing here, with what to say of them. Scripts that give them still work.
var legacy = []struct {
	name, short, say string
	alone            bool // takes no value
}{
	{name: "platform", short: "p", say: "objects go to the mesh on this machine, which --mesh names"},
	{name: "kubeconfig", short: "c", say: "objects go to the mesh on this machine, which --mesh names"},
	{name: "istioNamespace", short: "i", say: "the control plane is found by --mesh"},
	{name: "v", short: "v", say: sayLog},
	{name: "vmodule", say: sayLog},
	{name: "logtostderr", say: sayLog, alone: true},
	{name: "alsologtostderr", say: sayLog, alone: true},
	{name: "stderrthreshold", say: sayLog},
	{name: "log_dir", say: sayLog},
	{name: "log_backtrace_at", say: sayLog},
}

const (
	sayLog           = "commands keep no log; `lateen serve --log-level` sets that of the control plane"
	legacyAnnotation = "legacy" // of a flag: what to say when it is given
)

// addLegacy lets a command take the flags of istioctl.
func addLegacy(cmd *cobra.Command) *cobra.Command {
	flags := cmd.Flags()
	for _, l := range legacy {
		if l.alone {
			flags.BoolP(l.name, l.short, false, "")
		} else {
			flags.StringP(l.name, l.short, "", "")
		}
		f := flags.Lookup(l.name)
		f.Hidden, f.Annotations = true, map[string][]string{legacyAnnotation: {l.say}}
	}
	return cmd
}

// warnLegacy tells which flags have no effect.
func warnLegacy(cmd *cobra.Command, _ []string) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		for _, say := range f.Annotations[legacyAnnotation] {
			fmt.Fprintf(cmd.ErrOrStderr(), "lateen: warning: --%s has no effect: %s\n", f.Name, say)
		}
	})
}
