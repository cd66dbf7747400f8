package cli

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/deploy"
	"github.com/lateen-mesh/lateen/internal/install"
)

// removal is one use of `lateen uninstall`.
type removal struct {
	mesh    *meshFlags
	keep    bool
	yes     bool
	timeout time.Duration
}

func newUninstallCommand(m *meshFlags) *cobra.Command {
	r := &removal{mesh: m}
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Take Lateen out of a cluster, and leave nothing",
		Long: `Remove everything that ` + "`lateen install`" + ` has applied and the control plane has written: its namespace with the key of the certificate
authority, the roots in all namespaces, the definitions of its kinds with all objects of these kinds.

Where there are such objects, or pods with a proxy, the command asks first, or wants --yes. --keep-crds leaves definitions and objects.
Pods keep their proxies until ` + "`lateen inject --uninject`" + ` takes them out; without a control plane they go on with what they have, until
their certificates end.

Where nothing is installed, or an earlier removal was interrupted, it does what is left to do.`,
		Example: "  lateen uninstall\n  lateen uninstall --keep-crds --yes",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return r.run(cmd) },
	}
	m.addKubeconfigTo(cmd.Flags())
	cmd.Flags().BoolVar(&r.keep, "keep-crds", false, "leave the definitions of kinds, and with them all objects of these kinds")
	cmd.Flags().BoolVarP(&r.yes, "yes", "y", false, "do not ask")
	cmd.Flags().DurationVar(&r.timeout, "timeout", installTime, "how long to wait until everything is gone")
	return cmd
}

func (r *removal) run(cmd *cobra.Command) error {
	where, err := r.mesh.clusterOnly()
	if err != nil {
		return err
	}
	manifests, err := deploy.Manifests(deploy.Options{Tag: "any", Replicas: 1})
	if err != nil {
		return err
	}
	c, err := install.New(where)
	if err != nil {
		return err
	}
	left, err := c.Survey(cmd.Context(), manifests)
	if err != nil {
		return err
	}
	say := func(what string) { fmt.Fprintf(cmd.ErrOrStderr(), "lateen: cluster %s: %s\n", where.Context, what) }
	if !left.Installed {
		say("nothing is installed")
		return nil
	}
	if err := r.agreed(cmd, where.Context, left); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), r.timeout, fmt.Errorf("not after %s", r.timeout))
	defer cancel()
	if err := c.Remove(ctx, manifests, r.keep, tellSteps(cmd.OutOrStdout())); err != nil {
		return err
	}
	if r.keep {
		say("removed; the definitions of kinds and their objects are still there")
	} else {
		say("removed; nothing is left")
	}
	return nil
}

// agreed asks whether what goes along may go, if anything does.
func (r *removal) agreed(cmd *cobra.Command, cluster string, left install.Left) error {
	var also []string
	if !r.keep {
		for _, kind := range slices.Sorted(maps.Keys(left.Objects)) {
			also = append(also, count(left.Objects[kind], kind)+" will be deleted")
		}
	}
	if left.Proxies > 0 {
		also = append(also, count(left.Proxies, "pod")+" with a proxy will have no control plane")
	}
	if len(also) == 0 || r.yes {
		return nil
	}
	what := strings.Join(also, ", ")
	if !isTerminal(cmd.ErrOrStderr()) {
		return misused("--yes does it; --keep-crds leaves the objects", "cluster %s: %s, and there is nobody to ask", cluster, what)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "lateen: cluster %s: %s. Go on? [y/N] ", cluster, what)
	answer, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if word := strings.ToLower(strings.TrimSpace(answer)); word != "y" && word != "yes" {
		return failed("", "nothing was removed")
	}
	return err
}
