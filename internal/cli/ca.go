package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/checkup"
)

func newCACommand(m *meshFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Show who is who, and let workloads elsewhere prove who they are",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return misused("`lateen ca show` or `lateen ca token`", "unknown command %q", cmd.CommandPath()+" "+args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCAShowCommand(m), newCATokenCommand(m))
	return cmd
}

// authorityShown is one use of `lateen ca show`.
type authorityShown struct {
	mesh      *meshFlags
	namespace string
	output    string
}

func newCAShowCommand(m *meshFlags) *cobra.Command {
	s := &authorityShown{mesh: m}
	cmd := &cobra.Command{
		Use:   "show [PROXY]",
		Short: "Show the certificate authority, and the certificates of workloads",
		Long: `Show the certificate authority and a line for each workload: the identity that it is to prove, when its certificate
expires and is renewed, whether its Envoy uses what its agent holds, and what went wrong last.

With a name, show one workload's certificate: its names, its times, the roots that the workload trusts.
` + proxyNames + `

The certificates are read from what agents on this machine say, also while no control plane answers. Keys are never shown.`,
		Example: "  lateen ca show\n  lateen ca show reviews-v1-0\n  lateen ca show deploy/reviews-v1 -o json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return misused("for instance: lateen ca show reviews-v1-0", "name one proxy, or none for all")
			}
			return nil
		},
		RunE: s.run,
	}
	addProxyNamespace(cmd.Flags(), &s.namespace)
	cmd.Flags().StringVarP(&s.output, "output", "o", "short", "short, json or yaml")
	return cmd
}

func (s *authorityShown) run(cmd *cobra.Command, args []string) error {
	if s.output != "short" && s.output != "json" && s.output != "yaml" {
		return misused("short, json or yaml", "unknown output format %q", s.output)
	}
	name := ""
	if len(args) == 1 {
		var err error
		if name, err = inNamespace(args[0], s.namespace); err != nil {
			return err
		}
	}
	t, err := s.mesh.findOrLeft(cmd.Context())
	if err != nil {
		return err
	}
	if name != "" {
		return s.one(cmd, t, name)
	}
	authority, err := t.client.Authority(cmd.Context())
	var identities []checkup.Identity
	if err == nil {
		identities, err = checkup.Identities(cmd.Context(), t.checked())
	}
	if err != nil && t.cluster != nil {
		return err
	}
	if err != nil {
		return s.offline(cmd, t, err)
	}
	identities = s.choose(identities)
	w := cmd.OutOrStdout()
	if s.output != "short" {
		return showStructure(w, s.output, struct {
			Authority api.Authority      `json:"authority"`
			Workloads []checkup.Identity `json:"workloads"`
		}{authority, identities})
	}
	if err := showAuthority(w, &authority); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return showIdentities(w, identities)
}

// choose returns the workloads of the namespace that is asked for.
func (s *authorityShown) choose(all []checkup.Identity) []checkup.Identity {
	return slices.DeleteFunc(all, func(id checkup.Identity) bool {
		return s.namespace != "" && !strings.HasSuffix(string(id.Proxy), "."+s.namespace)
	})
}

// checked says where to look.
func (t target) checked() checkup.Mesh {
	m := checkup.Mesh{Name: t.name, Dir: t.dir, API: t.client}
	if t.cluster != nil {
		m.Look = t.cluster.look
	}
	return m
}

// one prints one workload's certificate.
func (s *authorityShown) one(cmd *cobra.Command, t target, name string) error {
	id, err := checkup.One(cmd.Context(), t.checked(), name)
	if err != nil && t.cluster != nil {
		return err
	}
	if err != nil {
		return s.oneOffline(cmd, t, name, err)
	}
	return s.showOne(cmd, &id)
}

func (s *authorityShown) showOne(cmd *cobra.Command, id *checkup.Identity) error {
	if s.output != "short" {
		return showStructure(cmd.OutOrStdout(), s.output, id)
	}
	if err := showIdentity(cmd.OutOrStdout(), id); err != nil {
		return err
	}
	if id.State == checkup.Elsewhere {
		fmt.Fprintf(cmd.ErrOrStderr(), "lateen: %s its agent has the certificate, in identity.json of its --dir\n", painter(cmd.ErrOrStderr())("36", "hint:"))
	}
	return nil
}

// pairs prints lines of a word and what there is to say of it, aligned.
type pairs struct{ w *tabwriter.Writer }

func newPairs(w io.Writer) pairs { return pairs{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)} }

func (p pairs) line(word, format string, args ...any) {
	fmt.Fprintf(p.w, "%s\t%s\n", word, fmt.Sprintf(format, args...))
}

// showAuthority prints what there is to know of the authority.
func showAuthority(w io.Writer, a *api.Authority) error {
	p := newPairs(w)
	whose := "with a root of its own"
	if a.Plugged {
		whose = "plugged in"
	}
	p.line("authority", "of %s, %s", a.TrustDomain, whose)
	if a.Address != "" {
		p.line("asked at", "%s", a.Address)
	}
	roots := a.Roots
	for _, c := range a.Issuing {
		if i := slices.Index(roots, c); i >= 0 {
			roots = slices.Delete(slices.Clone(roots), i, i+1)
			showAuthorityCertificate(p, "root, signs", c, a.Now)
		} else {
			showAuthorityCertificate(p, "signs", c, a.Now)
		}
	}
	for _, c := range roots {
		showAuthorityCertificate(p, "root", c, a.Now)
	}
	if a.CertTTL == 0 { // it is from files
		return p.w.Flush()
	}
	p.line("gives", "certificates for %s", checkup.Span(time.Duration(a.CertTTL)))
	p.line("gave", "%s", counted(a.Issued, issuedWords))
	p.line("refused", "%s", counted(a.Refused, refusedWords))
	p.line("tokens", "%d not used yet", a.Tokens)
	if a.Restored > 0 {
		p.line("put back", "%s, lost or changed since it started", count(a.Restored, "file"))
	}
	if a.Problem != "" {
		p.line("problem", "%s", oneLine(a.Problem))
	}
	return p.w.Flush()
}

func showAuthorityCertificate(p pairs, word string, c api.AuthorityCertificate, now time.Time) {
	p.line(word, "%s", c.Subject)
	p.line("", "%s to %s", c.NotBefore.Format(time.DateOnly), ends(c.NotAfter, now, time.DateOnly))
	p.line("", "SHA-256 %s", c.Fingerprint)
}

// issuedWords say by what a certificate was given, refusedWords why none was.
var (
	issuedWords  = map[string]string{"token": "by join token", "certificate": "by the one before", "own": "to itself"}
	refusedWords = map[string]string{
		"request": "a bad request", "evidence": "no proof who asks", "identity": "another's name", "rate": "asking too often",
		"busy": "too many at once", "failure": "failures of its own",
	}
)

// counted returns "3 since it started: 2 by join token, 1 to itself".
func counted(all map[string]uint64, words map[string]string) string {
	var parts []string
	sum := uint64(0)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if n := all[key]; n > 0 {
			sum += n
			parts = append(parts, fmt.Sprintf("%d %s", n, cmp.Or(words[key], key)))
		}
	}
	if sum == 0 {
		return "none since it started"
	}
	return fmt.Sprintf("%d since it started: %s", sum, strings.Join(parts, ", "))
}

// ends says when something ends, and how far away that is.
func ends(t, now time.Time, layout string) string { return t.Format(layout) + ", " + distance(t, now) }

// distance says how far away a time is.
func distance(t, now time.Time) string {
	if t.Before(now) {
		return checkup.Span(now.Sub(t)) + " ago"
	}
	return "in " + checkup.Span(t.Sub(now))
}

// useWords say what an Envoy does with what its agent holds.
var useWords = map[checkup.Use]string{"": "-", checkup.SameUse: "uses it", checkup.AnotherUse: "uses another", checkup.UnknownUse: "not known"}

// showIdentities prints a line for each workload.
func showIdentities(w io.Writer, identities []checkup.Identity) error {
	if len(identities) == 0 {
		_, err := fmt.Fprintln(w, nothingFound)
		return err
	}
	now := time.Now()
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PROXY\tIDENTITY\tCERTIFICATE\tEXPIRES\tRENEWS\tENVOY\tLAST ERROR")
	for i := range identities {
		id := &identities[i]
		cells := []string{string(id.Proxy), cmp.Or(id.Wanted, "-"), string(id.State), "-", "-", useWords[id.Envoy], "-"}
		if len(id.Chain) > 0 {
			cells[3], cells[4] = distance(id.Chain[0].NotAfter, now), distance(id.RenewAt, now)
		}
		if why := cmp.Or(id.LastError, id.Why, id.EnvoyWhy); why != "" {
			cells[6] = oneLine(why)
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	return t.Flush()
}

// showIdentity prints one workload's certificate.
func showIdentity(w io.Writer, id *checkup.Identity) error {
	p, now := newPairs(w), time.Now()
	is := "connected"
	if !id.Connected {
		is = "not connected"
	}
	p.line("proxy", "%s, %s, %s", id.Proxy, id.Type, is)
	p.line("identity", "%s", cmp.Or(id.Wanted, "none: it has no account"))
	switch proven := id.Proven; {
	case id.Connected && proven == "":
		p.line("proven", "nothing: it has connected without a certificate")
	case proven != "" && proven != id.Wanted:
		p.line("proven", "%s", proven)
	}
	state := string(id.State)
	if id.Why != "" {
		state += ": " + oneLine(id.Why)
	}
	p.line("certificate", "%s", state)
	for i, c := range id.Chain {
		word := "signed by"
		if i == 0 {
			word = "names"
			p.line(word, "%s", strings.Join(slices.Concat(c.URIs, c.DNS, c.Addresses), ", "))
		} else {
			p.line(word, "%s", c.Subject)
		}
		p.line("", "%s to %s", clock(c.NotBefore), ends(c.NotAfter.Local(), now, time.DateTime))
		p.line("", "serial %s, SHA-256 %s", c.Serial, c.Fingerprint)
	}
	if len(id.Chain) > 0 {
		p.line("signed by", "%s", id.Chain[len(id.Chain)-1].Issuer)
		p.line("renews", "%s; got %d so far, %s failed", ends(id.RenewAt.Local(), now, time.DateTime), id.Renewals, count(int(id.Failures), "attempt"))
	}
	for _, c := range id.Trusts {
		p.line("trusts", "%s, until %s", c.Subject, ends(c.NotAfter, now, time.DateOnly))
		p.line("", "SHA-256 %s", c.Fingerprint)
	}
	if len(id.Chain) > 0 {
		p.line("clock", "%s", skew(id.SkewSeconds))
	}
	switch id.Envoy {
	case checkup.SameUse:
		p.line("envoy", "uses this certificate")
	case checkup.AnotherUse, checkup.UnknownUse:
		p.line("envoy", "%s", oneLine(id.EnvoyWhy))
	}
	if id.LastError != "" {
		p.line("last error", "%s, %s", oneLine(id.LastError), ends(id.LastErrorAt.Local(), now, time.DateTime))
	}
	return p.w.Flush()
}

// skew says how two clocks differ.
func skew(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d > time.Second:
		return checkup.Span(d) + " behind the authority's"
	case d < -time.Second:
		return checkup.Span(-d) + " ahead of the authority's"
	default:
		return "as the authority's"
	}
}
