package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// question is a request about which `lateen explain` is asked.
type question struct {
	headers []string
	source  string
	output  string
}

func (q *question) addTo(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&q.headers, "header", "H", nil, "header of the request, 'NAME: VALUE'; may be given several times")
	flags.StringVar(&q.source, "source", "", "IP address of who sends the request (default: the workload's)")
	flags.StringVarP(&q.output, "output", "o", "text", "text or json")
}

// isRequest tells whether the arguments after the proxy mean a request: "URL" or "METHOD URL".
func isRequest(args []string) bool { return strings.Contains(args[len(args)-1], "://") }

// ask prints what a proxy does with a request.
func (q *question) ask(cmd *cobra.Command, t target, proxy mesh.ProxyID, args []string) error {
	method := http.MethodGet
	if len(args) == 2 {
		method = strings.ToUpper(args[0])
	}
	headers := http.Header{}
	for _, h := range q.headers {
		name, value, ok := strings.Cut(h, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return misused("for instance: -H 'cookie: user=jason'", "%q is not a header", h)
		}
		headers.Add(name, strings.TrimSpace(value))
	}
	if q.output != "text" && q.output != "json" {
		return misused("text or json", "unknown output format %q", q.output)
	}
	d, err := t.client.Decide(cmd.Context(), api.Decide{
		Proxy: proxy, Method: method, URL: args[len(args)-1], Headers: headers, Source: q.source,
	})
	if err != nil {
		return err
	}
	if q.output == "json" {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(d)
	}
	for i := range d.Candidates { // what was written with commands lies in the state folder, whose path is long
		file := &d.Candidates[i].Origin.File
		*file = strings.TrimPrefix(*file, t.dir+string(filepath.Separator))
	}
	return showDecision(cmd.OutOrStdout(), d, args[len(args)-1])
}

// showDecision prints which route decides about what was asked, why each other one does not, and what may happen.
func showDecision(w io.Writer, d api.Decision, asked string) error {
	fmt.Fprintf(w, "%s %s at %s, by %s\n\n", d.Method, d.Authority, d.Proxy, d.Resource)
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "ROUTE\tFROM\tTAKEN\tWHY NOT")
	for _, c := range d.Candidates {
		taken := "no"
		if c.Taken {
			taken = "yes"
		}
		name := c.Name
		if c.Via != "" {
			name += " (" + c.Via + ")"
		}
		fmt.Fprintln(t, strings.Join([]string{name, cmp.Or(c.Origin.String(), "-"), taken, c.Why}, "\t"))
	}
	if len(d.Candidates) == 0 {
		fmt.Fprintln(t, "-\t-\tno\tthe proxy has no route for it")
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(table.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
	t = tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "\nSHARE\tOUTCOME")
	path := ""
	if u, err := url.Parse(asked); err == nil {
		path = u.RequestURI()
	}
	for _, o := range d.Outcomes {
		if o.Authority == d.Authority {
			o.Authority = "" // only what was rewritten is told
		}
		if o.Path == path {
			o.Path = ""
		}
		fmt.Fprintf(t, "%s %%\t%s\n", strconv.FormatFloat(o.Percent, 'f', -1, 64), outcome(o))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, o := range d.Outcomes {
		if isLong(o.Body) { // all such answers of one decision are the same
			_, err := fmt.Fprintf(w, "\nThe answer with %d says:\n\n%s\n", o.Status, strings.TrimSpace(o.Body))
			return err
		}
	}
	return nil
}

// isLong tells whether a text has several lines.
func isLong(text string) bool { return strings.Contains(strings.TrimSpace(text), "\n") }

// outcome says in words what may happen.
func outcome(o api.Outcome) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if o.Delay > 0 {
		add("waits %s", time.Duration(o.Delay))
	}
	if o.Status != 0 {
		add("is answered by the proxy with %d", o.Status)
		if o.GRPC != nil {
			add("grpc-status %d", *o.GRPC)
		}
		if o.Location != "" {
			add("location %s", o.Location)
		}
		if o.Destination != nil {
			add("in place of %s: %s", subset(*o.Destination), o.Why)
			return strings.Join(parts, ", ")
		}
		if o.Body != "" && !isLong(o.Body) {
			add("body %q", o.Body)
		}
		return strings.Join(parts, ", ")
	}
	verb := "goes to"
	if o.Tunnel {
		verb = "goes as bytes to"
	}
	if o.Destination != nil {
		add("%s %s", verb, subset(*o.Destination))
	} else {
		add("%s the proxy's own %s", verb, o.Cluster)
	}
	if o.Authority != "" {
		add("host %s", o.Authority)
	}
	if o.Path != "" {
		add("path %s", o.Path)
	}
	for _, h := range o.Append {
		add("with %s: %s", h.Name, h.Value)
	}
	if o.Mirror != nil {
		add("a copy to %s", subset(*o.Mirror))
	}
	if o.KiBPerSecond > 0 {
		add("the response at %d KiB/s", o.KiBPerSecond)
	}
	if o.Transport != "" {
		text := map[mesh.Transport]string{mesh.TLS: "by mutual TLS", mesh.Plain: "in plain text", mesh.Both: "by mutual TLS and in plain text"}[o.Transport]
		if o.Why != "" {
			text += " (" + o.Why + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// subset returns "reviews.default.svc.cluster.local:9080 version=v1".
func subset(s mesh.Subset) string {
	text := string(s.Host) + ":" + strconv.Itoa(s.Port)
	if len(s.Labels) > 0 {
		text += " " + s.Labels.String()
	}
	return text
}
