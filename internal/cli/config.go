package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/dump"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// inspecting is one use of `lateen config`.
type inspecting struct {
	mesh      *meshFlags
	namespace string
	output    string
	diff      bool
}

// inspected are the kinds that a word means.
var inspected = map[string][]view.Kind{
	"listeners": {view.KindListener},
	"filters":   {view.KindFilter},
	"scopes":    {view.KindScope},
	"routes":    {view.KindRoutes, view.KindVirtualHost},
	"clusters":  {view.KindCluster},
	"endpoints": {view.KindEndpoints},
	"secrets":   {view.KindSecret},
}

const inspectedWords = "listeners, clusters, routes, endpoints, secrets, filters or scopes"

func newConfigCommand(m *meshFlags) *cobra.Command {
	i := &inspecting{mesh: m}
	cmd := &cobra.Command{
		Use:     "config PROXY [listeners|clusters|routes|endpoints|secrets|filters|scopes]",
		Aliases: []string{"proxy-config"},
		Short:   "Show the configuration that a proxy itself says it has, beside what it was sent",
		Long: `Show the configuration that a proxy itself says it has, beside what it was sent, and mark what differs.

STATE is "same"; "own" for what the proxy started with or looked up by itself; "differs", "only in proxy" or "only sent";
"not sent" for what waits for something else; "warming" for what the proxy has and does not use yet; "refused". What is
wrong with a resource stands below the tables. Keys and credentials are never shown.

The part may stand before the proxy, in the singular, or as xDS abbreviates it (lds, cds, rds, vhds, eds, sds, ecds, srds).

` + proxyNames,
		Example: "  lateen config productpage-v1-0\n  lateen config deploy/reviews-v1 clusters\n" +
			"  lateen config ingress secrets -o json\n  lateen config svc/ratings --diff",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return misused("for instance: lateen config productpage-v1-0 clusters", "name a proxy, and what to show of it or nothing")
			}
			_, part := proxyAndPart(args)
			if part != "" && kindsOf(part) == nil {
				return misused(inspectedWords, "unknown part of a configuration %q", part)
			}
			return nil
		},
		RunE: i.run,
	}
	flags := cmd.Flags()
	addProxyNamespace(flags, &i.namespace)
	flags.StringVarP(&i.output, "output", "o", "short", "short, json or yaml")
	flags.BoolVar(&i.diff, "diff", false, "only what differs; the exit code is 1 if something does")
	return cmd
}

// kindsOf returns the kinds that a word means, plural or singular or as xDS abbreviates it; nil: none.
func kindsOf(word string) []view.Kind {
	word = strings.ToLower(word)
	if kinds, ok := inspected[word]; ok {
		return kinds
	}
	for _, d := range discovery {
		if word == strings.ToLower(d.word) {
			if d.kind == view.KindRoutes {
				return inspected["routes"] // virtual hosts are a part of them
			}
			return []view.Kind{d.kind}
		}
	}
	return inspected[word+"s"]
}

// proxyAndPart returns the two arguments, which may stand the other way round, as istioctl has them. A first word that may
// be either is the proxy.
func proxyAndPart(args []string) (proxy, part string) {
	switch {
	case len(args) == 1:
		return args[0], ""
	case kindsOf(args[1]) == nil && kindsOf(args[0]) != nil:
		return args[1], args[0]
	default:
		return args[0], args[1]
	}
}

func (i *inspecting) run(cmd *cobra.Command, args []string) error {
	if i.output != "short" && i.output != "json" && i.output != "yaml" {
		return misused("short, json or yaml", "unknown output format %q", i.output)
	}
	name, part := proxyAndPart(args)
	name, err := inNamespace(name, i.namespace)
	if err != nil {
		return err
	}
	t, err := i.mesh.find(cmd.Context())
	if err != nil {
		return err
	}
	proxy, rows, err := inspect(cmd.Context(), t, name)
	if err != nil {
		return err
	}
	if part != "" {
		kinds := kindsOf(part)
		rows = slices.DeleteFunc(rows, func(r dump.Row) bool { return !slices.Contains(kinds, r.Kind) })
	}
	different := 0
	for n := range rows {
		if !rows[n].Alike() {
			different++
		}
	}
	if i.diff {
		rows = slices.DeleteFunc(rows, func(r dump.Row) bool { return r.Alike() })
	}
	if err := i.show(cmd, proxy, rows, different); err != nil {
		return err
	}
	if i.diff && different > 0 {
		return errDiffers
	}
	return nil
}

// show prints the resources.
func (i *inspecting) show(cmd *cobra.Command, proxy mesh.ProxyID, rows []dump.Row, different int) error {
	out, told := cmd.OutOrStdout(), cmd.ErrOrStderr()
	if i.output != "short" {
		return showStructure(out, i.output, struct {
			Proxy     mesh.ProxyID `json:"proxy"`
			Resources []dump.Row   `json:"resources"`
		}{proxy, rows})
	}
	if i.diff && different == 0 {
		fmt.Fprintf(told, "lateen: %s has what it was sent\n", proxy)
		return nil
	}
	if err := showRows(out, rows); err != nil {
		return err
	}
	switch {
	case different > 0 && !i.diff:
		fmt.Fprintf(told, "lateen: %s %s not as sent: --diff shows only those, -o json both sides\n",
			painter(told)("36", "hint:"), differentOnes(different))
	case different > 0:
		fmt.Fprintf(told, "lateen: %s -o json shows both sides\n", painter(told)("36", "hint:"))
	}
	return nil
}

func differentOnes(n int) string {
	if n == 1 {
		return "1 resource is"
	}
	return fmt.Sprintf("%d resources are", n)
}

// inspect reads what a proxy was sent and what it has. Both are read again if what it was sent changed meanwhile.
func inspect(ctx context.Context, t target, name string) (mesh.ProxyID, []dump.Row, error) {
	p, err := t.client.Proxy(ctx, name)
	if err != nil {
		return "", nil, err
	}
	if p.Type == mesh.Proxyless {
		return "", nil, failed("`lateen proxies "+string(p.ID)+"` shows what it was sent",
			"%s runs without a proxy: its gRPC library holds the configuration, and nobody can ask it", p.ID)
	}
	folder := filepath.Join(t.dir, "proxies", string(p.ID))
	var reader dump.Reader = dump.Socket(filepath.Join(folder, "admin.sock"))
	if t.cluster != nil {
		reader = podReader{t.cluster, p.ID}
	}
	resources := func(ctx context.Context) (api.Resources, error) { return t.client.Resources(ctx, string(p.ID), "") }
	rows, sent, err := dump.Look(ctx, reader, resources)
	if errors.Is(err, dump.ErrNobody) {
		hint := "its Envoy does not run there, or under another user"
		if log := filepath.Join(folder, "agent.log"); exists(log) {
			hint = "its log is " + log
		}
		return "", nil, failed(hint, "proxy %s: %w", p.ID, err)
	}
	if err != nil {
		return "", nil, fmt.Errorf("proxy %s: %w", p.ID, err)
	}
	return sent.Proxy, rows, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// shownVersion is how many characters of a version people are shown.
const shownVersion = 8

// showRows prints a table for each kind, and what is wrong below.
func showRows(w io.Writer, rows []dump.Row) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(w, nothingFound)
		return err
	}
	var t *tabwriter.Writer
	for n := range rows {
		r := &rows[n]
		if n == 0 || rows[n-1].Kind != r.Kind {
			if t != nil {
				if err := t.Flush(); err != nil {
					return err
				}
				fmt.Fprintln(w)
			}
			t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, strings.Join(slices.Concat([]string{heading(r.Kind)}, dump.Columns[r.Kind], []string{"VERSION", "STATE"}), "\t"))
		}
		version := cmp.Or(r.Version[:min(len(r.Version), shownVersion)], "-")
		name, state := r.Name, string(r.State)
		for _, cells := range r.Lines() {
			fmt.Fprintln(t, strings.Join(slices.Concat([]string{name}, cells, []string{version, state}), "\t"))
			name, version, state = "", "", "" // the lines that follow belong to the same
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	lead := "\n"
	for n := range rows {
		if r := &rows[n]; r.Why != "" {
			fmt.Fprintf(w, "%s%s %s: %s: %s\n", lead, r.Kind, r.Name, r.State, oneLine(r.Why))
			lead = ""
		}
	}
	return nil
}

// heading is the word over the names of a kind.
func heading(kind view.Kind) string {
	return strings.ToUpper(strings.ReplaceAll(string(kind), "-", " "))
}
