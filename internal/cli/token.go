package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// joining is one use of `lateen ca token`.
type joining struct {
	mesh      *meshFlags
	namespace string
	account   string
	address   string
	ttl       time.Duration
	output    string
}

func newCATokenCommand(m *meshFlags) *cobra.Command {
	j := &joining{mesh: m}
	cmd := &cobra.Command{
		Use:   "token WORKLOAD[.NAMESPACE]",
		Short: "Make a join token, by which an agent elsewhere proves once for which workload it asks",
		Long: `Make a join token, by which an agent elsewhere proves once for which workload it asks, and print it alone. What it is for
and how to use it is told on standard error.

Account and address of a workload that the mesh knows are taken from there. Whoever has the token can be that workload, until
it has been used or has expired: keep it in a file that only its user can read.`,
		Example: "  (umask 077; lateen ca token billing-v1-0 > token)\n  lateen ca token billing-v1-0.shop --service-account billing --address 127.0.0.9 --ttl 1h",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misused("for instance: lateen ca token reviews-v1-0", "name one workload instance")
			}
			return nil
		},
		RunE: j.run,
	}
	flags := cmd.Flags()
	flags.StringVarP(&j.namespace, "namespace", "n", "", "namespace of the workload, if its name has none (default: that of a known one, else default)")
	flags.StringVar(&j.account, "service-account", "", "service account of the workload (default: that of a known one)")
	flags.StringVar(&j.address, "address", "", "IP address that it calls from; its certificate holds nowhere else (default: that of a known one, else any)")
	flags.DurationVar(&j.ttl, "ttl", 0, "for how long the token can be used, at most 24h (default: 10m)")
	flags.StringVarP(&j.output, "output", "o", "token", "token or json")
	return cmd
}

func (j *joining) run(cmd *cobra.Command, args []string) error {
	if j.output != "token" && j.output != "json" {
		return misused("token or json", "unknown output format %q", j.output)
	}
	name, err := inNamespace(strings.TrimPrefix(args[0], "pod/"), j.namespace)
	if err != nil {
		return err
	}
	t, err := j.mesh.findToWrite(cmd.Context())
	if err != nil {
		return err
	}
	if t.cluster != nil {
		return misused("pods prove who they are by the token of their service account; --local means the mesh on this machine",
			"join tokens are for meshes on this machine, and %s is none", t.said())
	}
	authority, err := t.client.Authority(cmd.Context())
	if err != nil {
		return err
	}
	asked, known, err := j.ask(cmd.Context(), t.client, name)
	if err != nil {
		return err
	}
	token, err := t.client.NewToken(cmd.Context(), asked)
	if err != nil {
		return err
	}
	if j.output == "json" {
		return showStructure(cmd.OutOrStdout(), "json", struct {
			Token    string       `json:"token"`
			Expires  time.Time    `json:"expires"`
			Workload api.NewToken `json:"workload"`
			Known    bool         `json:"known"`
			Address  string       `json:"controlPlane"`
			Domain   string       `json:"trustDomain"`
		}{token.Token, token.Expires, asked, known, authority.Address, authority.TrustDomain})
	}
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), token.Token); err != nil {
		return err
	}
	j.tell(cmd, asked, known, authority, token.Expires)
	return nil
}

// ask says for whom the token is. What the mesh knows of the workload counts, and nothing that contradicts it.
func (j *joining) ask(ctx context.Context, client *api.Client, name string) (asked api.NewToken, known bool, err error) {
	if j.address != "" {
		if _, err := netip.ParseAddr(j.address); err != nil {
			return asked, false, misused("for instance: --address 127.0.0.9", "%q is not an IP address", j.address)
		}
	}
	w, err := findWorkload(ctx, client, name)
	if err != nil {
		return asked, false, err
	}
	if w == nil {
		short, namespace, _ := strings.Cut(name, ".")
		asked = api.NewToken{Workload: short, Namespace: cmp.Or(namespace, defaultNamespace), Account: j.account, Address: j.address, TTL: mesh.Duration(j.ttl)}
		if j.account == "" {
			return asked, false, failed(unknownHint(ctx, client, name), "the mesh knows no workload %s.%s, and so not its account", short, asked.Namespace)
		}
		return asked, false, nil
	}
	short, namespace, _ := strings.Cut(string(w.ID), ".")
	asked = api.NewToken{Workload: short, Namespace: namespace, Account: w.Account, Address: w.Address, TTL: mesh.Duration(j.ttl)}
	switch {
	case j.account != "" && j.account != w.Account:
		return asked, true, failed("leave out --service-account, or change the account in the Mesh file", "%s has the account %s in the mesh, not %s", w.ID, cmp.Or(w.Account, "(none)"), j.account)
	case j.address != "" && j.address != w.Address:
		return asked, true, failed("leave out --address", "%s has the address %s in the mesh, not %s", w.ID, w.Address, j.address)
	case w.Account == "":
		return asked, true, failed("", "%s has no account in the mesh, and so no identity", w.ID)
	}
	return asked, true, nil
}

// findWorkload returns the workload that a name means, nil where the mesh knows none.
func findWorkload(ctx context.Context, client *api.Client, name string) (*api.Workload, error) {
	all, err := client.Workloads(ctx)
	if err != nil {
		return nil, err
	}
	var means []*api.Workload
	var names []string
	for i := range all {
		w := &all[i]
		if short, _, _ := strings.Cut(string(w.ID), "."); string(w.ID) == name || short == name {
			means, names = append(means, w), append(names, string(w.ID))
		}
	}
	switch len(means) {
	case 0:
		return nil, nil //nolint:nilnil // there is none
	case 1:
		return means[0], nil
	default:
		return nil, failed("name one of them, or add -n NAMESPACE", "%s means %d workloads: %s", name, len(means), strings.Join(names, ", "))
	}
}

// unknownHint says what to do about a workload that the mesh does not know.
func unknownHint(ctx context.Context, client *api.Client, name string) string {
	all, err := client.Workloads(ctx)
	if err != nil {
		return ""
	}
	var names []string
	for i := range all {
		short, _, _ := strings.Cut(string(all[i].ID), ".")
		names = append(names, short, string(all[i].ID))
	}
	hint := "say it with --service-account, if that workload comes later"
	if near := config.Nearest(name, names); near != "" {
		hint = "did you mean " + near + "? Else " + hint
	}
	return hint
}

// tell says on standard error what the token is for, and how to use it.
func (j *joining) tell(cmd *cobra.Command, asked api.NewToken, known bool, a api.Authority, expires time.Time) {
	w := cmd.ErrOrStderr()
	id := mesh.NewProxyID(asked.Workload, asked.Namespace)
	fmt.Fprintf(w, "lateen: a token for %s, to be used once until %s, %s\n", id, clock(expires), distance(expires, time.Now()))
	if !known {
		fmt.Fprintf(w, "lateen: the mesh does not know %s yet: its proxy gets its configuration when it does\n", id)
	}
	use := []string{"lateen agent --node", string(id), "--address", cmp.Or(asked.Address, "IP"), "--control-plane", cmp.Or(a.Address, "HOST:PORT")}
	if a.TrustDomain != serve.Domain {
		use = append(use, "--trust-domain", a.TrustDomain)
	}
	use = append(use, "--token-file token --dir FOLDER")
	fmt.Fprintf(w, "lateen: %s put it in a file with mode 0600, and use it with\nlateen:   %s\n", painter(w)("36", "hint:"), strings.Join(use, " "))
}
