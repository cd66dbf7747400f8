package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/view"
)

// one prints one proxy in detail.
func (l *looking) one(cmd *cobra.Command, t target, name string) error {
	p, err := t.client.Proxy(cmd.Context(), name)
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	if l.output == "json" || l.output == "yaml" {
		return showStructure(w, l.output, p)
	}
	showDetail(w, &p, l.output == "wide")
	if p.Connected {
		fmt.Fprintf(cmd.ErrOrStderr(), "lateen: %s `lateen config %s` shows what the proxy itself says, beside what it was sent\n",
			painter(cmd.ErrOrStderr())("36", "hint:"), p.ID)
	}
	return nil
}

// clock returns a time as people here read it.
func clock(t time.Time) string { return t.Local().Format(time.DateTime) }

// maxNames bounds the names of one kind that people are shown.
const maxNames = 20

func showDetail(w io.Writer, p *api.ProxyDetail, whole bool) {
	if !p.Connected {
		fmt.Fprintf(w, "%s, %s, not connected for %s\n", p.ID, p.Type, age(p.Since))
		return
	}
	fmt.Fprintf(w, "%s, %s, connected for %s, scope %s\n", p.ID, p.Type, age(p.Since), p.Scope)
	if p.Current {
		fmt.Fprintf(w, "in sync at change %d\n", p.Revision)
	} else {
		fmt.Fprintf(w, "not in sync: %s; all was in force at change %s\n", inSync(&p.Proxy), revision(p.Revision))
	}
	if p.Identity != "" {
		fmt.Fprintf(w, "has proven to be %s\n", p.Identity)
	} else {
		fmt.Fprintln(w, "has no identity: it speaks plain text")
	}
	for _, r := range p.Refusals {
		fmt.Fprintf(w, "\nrefuses %s, %s ago (%s):\n  %s\n", r.Resource, age(r.Time), clock(r.Time), oneLine(r.Reason))
	}
	if r := p.LastRefusal; r != nil && len(p.Refusals) == 0 {
		fmt.Fprintf(w, "\nrefused %s last, %s ago (%s), which is mended:\n  %s\n",
			r.Resource, age(r.Time), clock(r.Time), oneLine(r.Reason))
	}
	if len(p.Pending) > 0 {
		fmt.Fprintf(w, "\npending (%d)\n", p.Behind)
	}
	for _, one := range p.Pending {
		state := "not sent yet"
		if one.Sent {
			state = "sent, not confirmed"
		}
		fmt.Fprintf(w, "  %s: %s\n", one.Resource, state)
	}
	for _, d := range discovery {
		names := p.Names[string(d.kind)]
		if len(names) == 0 {
			continue
		}
		listNames(w, fmt.Sprintf("%s (%d, by %s)", pluralOf(d.kind), len(names), d.word), names, whole)
	}
	if len(p.NextIsGiven) > 0 {
		listNames(w, fmt.Sprintf("its next replica is given (%d)", len(p.NextIsGiven)), p.NextIsGiven, whole)
	}
}

// listNames prints a list under a title, or its beginning.
func listNames(w io.Writer, title string, names []string, whole bool) {
	fmt.Fprintf(w, "\n%s\n", title)
	for i, name := range names {
		if i == maxNames && !whole {
			fmt.Fprintf(w, "  and %d more: -o wide shows them\n", len(names)-i)
			break
		}
		fmt.Fprintln(w, "  "+name)
	}
}

// pluralOf returns the word for several resources of a kind.
func pluralOf(kind view.Kind) string {
	word := strings.ReplaceAll(string(kind), "-", " ")
	return strings.TrimSuffix(word, "s") + "s"
}
