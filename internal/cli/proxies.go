package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/view"
)

// looking is one use of `lateen proxies`.
type looking struct {
	mesh      *meshFlags
	namespace string
	all       bool
	output    string
	watch     bool
}

func newProxiesCommand(m *meshFlags) *cobra.Command {
	l := &looking{mesh: m}
	cmd := &cobra.Command{
		Use:     "proxies [PROXY]",
		Aliases: []string{"proxy-status"},
		Short:   "Show the proxies: since when they are connected, what they hold, whether they are in sync",
		Long: `Show the proxies, one line each: since when it is connected, its scope, how many resources it holds of each type
(by the names of xDS), whether all that concerns it is in force, and when it refused something last. A proxy that runs and
is not connected is shown too. Proxies of one scope are given the same, but for what is each one's own.

The list is that of one namespace, that of -n or "default", or with -A of all.

With a name, show one proxy in detail. ` + proxyNames + `

With --watch, show them again when something changes, and how far changes have travelled meanwhile.`,
		Example: "  lateen proxies\n  lateen proxies -A -o wide\n  lateen proxies deploy/reviews-v1\n  lateen proxies --watch",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return misused("for instance: lateen proxies reviews-v1-0", "name one proxy, or none for all")
			}
			return nil
		},
		RunE: l.run,
	}
	flags := cmd.Flags()
	flags.StringVarP(&l.namespace, "namespace", "n", "", "namespace of the list (default: default), or of the proxy, if its name has none (default: any)")
	flags.BoolVarP(&l.all, "all-namespaces", "A", false, "of every namespace")
	flags.StringVarP(&l.output, "output", "o", "short", "short, wide, json or yaml")
	flags.BoolVarP(&l.watch, "watch", "w", false, "show changes as they come, until Ctrl-C")
	return cmd
}

func (l *looking) run(cmd *cobra.Command, args []string) error {
	forPeople := l.output == "short" || l.output == "wide"
	switch {
	case !forPeople && l.output != "json" && l.output != "yaml":
		return misused("short, wide, json or yaml", "unknown output format %q", l.output)
	case l.watch && !forPeople:
		return misused("programs ask GET /v1/watch/proxies", "--watch shows changes to people, not as %s", l.output)
	case l.watch && len(args) > 0:
		return misused("leave out the name", "--watch shows all proxies")
	}
	name := ""
	if len(args) == 1 {
		var err error
		if name, err = inNamespace(args[0], l.namespace); err != nil {
			return err
		}
	}
	t, err := l.mesh.find(cmd.Context())
	if err != nil {
		return err
	}
	if name != "" {
		return l.one(cmd, t, name)
	}
	l.namespace = cmp.Or(l.namespace, t.namespace())
	if l.watch {
		return l.follow(cmd, t)
	}
	proxies, err := t.client.Proxies(cmd.Context())
	if err != nil {
		return err
	}
	tellSilent(cmd, t.client)
	chosen := l.choose(proxies)
	if !forPeople {
		return showStructure(cmd.OutOrStdout(), l.output, chosen)
	}
	if err := l.show(cmd.OutOrStdout(), chosen); err != nil {
		return err
	}
	hintAt(cmd.ErrOrStderr(), chosen, len(proxies))
	return nil
}

// tellSilent names replicas of the control plane of which nobody knows which proxies they have.
func tellSilent(cmd *cobra.Command, client *api.Client) {
	replicas, err := client.Replicas(cmd.Context())
	if err != nil {
		return // the list is there
	}
	for _, r := range replicas {
		if r.Problem != "" {
			fmt.Fprintf(cmd.ErrOrStderr(), "lateen: warning: the replica %s of the control plane cannot be asked, and its proxies are not in this list: %s\n", r.Name, r.Problem)
		}
	}
}

// proxyNames is the help of every command that takes the name of a proxy.
const proxyNames = `A proxy is named as NAME or NAME.NAMESPACE, pod/NAME, deploy/WORKLOAD or
svc/SERVICE, if that means one. A name without a namespace means that of any namespace, with -n that of this one.`

// addProxyNamespace adds -n to a command that takes the name of a proxy.
func addProxyNamespace(flags *pflag.FlagSet, namespace *string) {
	flags.StringVarP(namespace, "namespace", "n", "", "namespace of the proxy, if its name has none (default: any)")
}

// inNamespace returns the name of a proxy with a namespace, if one is given.
func inNamespace(name, namespace string) (string, error) {
	_, own, ok := strings.Cut(name, ".")
	switch {
	case namespace == "" || own == namespace:
		return name, nil
	case ok:
		return "", misused("leave out one of them", "the name %s is of another namespace than -n %s", name, namespace)
	default:
		return name + "." + namespace, nil
	}
}

// choose returns the proxies of the namespace that is asked for.
func (l *looking) choose(proxies []api.Proxy) []api.Proxy {
	suffix := "." + cmp.Or(l.namespace, defaultNamespace)
	return slices.DeleteFunc(slices.Clone(proxies), func(p api.Proxy) bool {
		return !l.all && !strings.HasSuffix(string(p.ID), suffix)
	})
}

// show prints a table.
func (l *looking) show(w io.Writer, proxies []api.Proxy) error {
	if len(proxies) == 0 {
		_, err := fmt.Fprintln(w, nothingFound)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	wide := l.output == "wide"
	header := "PROXY\tKIND\tCONNECTED\tSCOPE\tHOLDS\tIN SYNC\tLAST REFUSAL"
	if wide {
		header = "PROXY\tKIND\tCONNECTED\tSCOPE\tCHANGE\tHOLDS\tIN SYNC\tLAST REFUSAL\tPENDING\tIDENTITY"
	}
	fmt.Fprintln(t, header)
	for i := range proxies {
		p := &proxies[i]
		cells := []string{string(p.ID), string(p.Type), connected(p), cmp.Or(p.Scope, "-")}
		if wide {
			cells = append(cells, revision(p.Revision), holds(p.Holds), inSync(p), lastRefusal(p, true), pending(p), cmp.Or(p.Identity, "-"))
		} else {
			cells = append(cells, holds(p.Holds), inSync(p), lastRefusal(p, false))
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// hintAt tells the next step where something is not as it should be.
func hintAt(w io.Writer, chosen []api.Proxy, all int) {
	hint := ""
	for i := range chosen {
		if p := &chosen[i]; len(p.Refused) > 0 && hint == "" {
			hint = fmt.Sprintf("`lateen proxies %s` shows what it refuses and why, `lateen config %s --diff` what it has instead", p.ID, p.ID)
		}
	}
	if len(chosen) == 0 && all > 0 {
		hint = fmt.Sprintf("there are %d in other namespaces: -A shows them", all)
	}
	if hint != "" {
		fmt.Fprintf(w, "lateen: %s %s\n", painter(w)("36", "hint:"), hint)
	}
}

func connected(p *api.Proxy) string {
	switch {
	case p.Connected:
		return age(p.Since)
	case p.Since.IsZero():
		return "no"
	default:
		return "no, for " + age(p.Since)
	}
}

// age returns how long ago something was, in one unit.
func age(since time.Time) string {
	d := max(time.Since(since), 0)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

func revision(n int64) string {
	if n < 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// discovery are the names of xDS for what a proxy holds, from where requests come in to where they go.
var discovery = []struct {
	kind view.Kind
	word string
}{
	{view.KindListener, "LDS"},
	{view.KindFilter, "ECDS"},
	{view.KindScope, "SRDS"},
	{view.KindRoutes, "RDS"},
	{view.KindVirtualHost, "VHDS"},
	{view.KindCluster, "CDS"},
	{view.KindEndpoints, "EDS"},
	{view.KindSecret, "SDS"},
}

// holds returns "3 LDS 1 RDS".
func holds(counts map[string]int) string {
	var parts []string
	for _, d := range discovery {
		if n := counts[string(d.kind)]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, d.word))
		}
	}
	return cmp.Or(strings.Join(parts, " "), "-")
}

// inSync tells whether all that concerns a proxy is in force.
func inSync(p *api.Proxy) string {
	var parts []string
	if len(p.Refused) > 0 {
		parts = append(parts, fmt.Sprintf("refuses %d", len(p.Refused)))
	}
	switch {
	case !p.Connected:
		return "-"
	case p.Silent:
		parts = append(parts, "takes no messages")
	case p.Behind > 0:
		parts = append(parts, fmt.Sprintf("%d pending", p.Behind))
	case p.Current:
		return "yes"
	case len(parts) == 0 && p.Revision < 0:
		return "connecting"
	case len(parts) == 0:
		return "coming"
	}
	return strings.Join(parts, ", ")
}

// lastRefusal returns when the proxy refused something last, and what and why.
func lastRefusal(p *api.Proxy, whole bool) string {
	switch r := p.LastRefusal; {
	case r == nil:
		return "-"
	case whole:
		return fmt.Sprintf("%s ago: %s: %s", age(r.Time), r.Resource, oneLine(r.Reason))
	default:
		return age(r.Time) + " ago"
	}
}

// oneLine returns a proxy's words, which others may have chosen, as one line of bounded length.
func oneLine(words string) string {
	const most = 500
	words = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, words)), " ")
	if len(words) > most {
		return strings.ToValidUTF8(words[:most], "") + "…"
	}
	return words
}

// shownPending is how many pending resources stand in one line.
const shownPending = 2

func pending(p *api.Proxy) string {
	var names []string
	for _, one := range p.Pending[:min(len(p.Pending), shownPending)] {
		names = append(names, one.Resource)
	}
	if more := p.Behind - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return cmp.Or(strings.Join(names, ", "), "-")
}
