package capture

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

const (
	tableName = "lateen"
	// natPriority and filterPriority are where the kernel's own translation of destinations, and filters, are.
	natPriority    = -100
	filterPriority = 0
)

// Text returns the tables as `nft --file` takes them, after what removes the tables of before.
func Text(tables []Table) string {
	var b strings.Builder
	for _, t := range tables {
		fmt.Fprintf(&b, "table %[1]s %[2]s\ndelete table %[1]s %[2]s\ntable %[1]s %[2]s {\n", t.Family, tableName)
		for _, c := range t.Chains {
			kind, priority := c.nature()
			fmt.Fprintf(&b, "\tchain %s {\n\t\ttype %s hook %s priority %d; policy accept;\n", c.Hook, kind, c.Hook, priority)
			for _, r := range c.Rules {
				fmt.Fprintf(&b, "\t\t%s comment %q\n", strings.Join(r.words(t.Family), " "), r.Why)
			}
			b.WriteString("\t}\n")
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// nature returns the type of a base chain of nftables, and its priority.
func (c Chain) nature() (kind string, priority int32) {
	if c.Hook == Input {
		return "filter", filterPriority
	}
	return "nat", natPriority
}

// words returns a rule in the language of nft.
func (r Rule) words(f Family) []string {
	var w []string
	if r.ToItself {
		w = append(w, `oifname "lo"`)
	}
	if r.From.IsValid() {
		w = append(w, string(f), "saddr", nftNetwork(r.From))
	}
	if r.To.IsValid() {
		w = append(w, string(f), "daddr", nftNetwork(r.To))
	}
	if r.NotTo.IsValid() {
		w = append(w, string(f), "daddr", "!=", nftNetwork(r.NotTo))
	}
	w = append(w, "meta l4proto tcp")
	if r.Port != 0 {
		w = append(w, "th dport", strconv.Itoa(int(r.Port)))
	}
	if r.User != 0 {
		w = append(w, "meta skuid", strconv.FormatUint(uint64(r.User), 10))
	}
	if r.NotRedirected {
		w = append(w, "ct status & dnat == 0")
	}
	switch r.Verdict {
	case Redirect:
		return append(w, fmt.Sprintf("redirect to :%d", r.RedirectTo))
	case Refuse:
		return append(w, "reject with tcp reset")
	default:
		return append(w, "return")
	}
}

// RestoreText returns the tables as iptables-restore --noflush takes them: each nat and filter table in one transaction. The
// chains are the package's own, made anew; jumps says how many rules of the kernel's chains lead there already.
func RestoreText(t Table, jumps func(Hook) int) string {
	var b strings.Builder
	for _, part := range []struct {
		table string
		hooks []Hook
	}{{"nat", []Hook{Prerouting, Output}}, {"filter", []Hook{Input}}} {
		fmt.Fprintf(&b, "*%s\n", part.table)
		var lines []string
		for _, hook := range part.hooks {
			fmt.Fprintf(&b, ":%s - [0:0]\n", chainName(hook))
			if n := jumps(hook); n != 1 {
				remove := strings.Replace(jumpTo(hook), "-A", "-D", 1)
				lines = append(append(lines, slices.Repeat([]string{remove}, n)...), jumpTo(hook))
			}
			lines = append(lines, t.restoreLines(hook)...)
		}
		for _, line := range lines {
			b.WriteString(line + "\n")
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

func chainName(hook Hook) string { return strings.ToUpper(tableName + "_" + string(hook)) }

// jumpTo is the rule that leads from a chain of the kernel's to ours.
func jumpTo(hook Hook) string {
	return fmt.Sprintf("-A %s -p tcp -j %s", strings.ToUpper(string(hook)), chainName(hook))
}

// restoreLines are the rules at a hook, in the words in which iptables-save says them.
func (t Table) restoreLines(hook Hook) []string {
	var lines []string
	for _, c := range t.Chains {
		if c.Hook != hook {
			continue
		}
		for _, r := range c.Rules {
			lines = append(lines, "-A "+chainName(hook)+" "+strings.Join(r.restoreWords(), " "))
		}
	}
	return lines
}

// restoreWords returns a rule in the language of iptables.
func (r Rule) restoreWords() []string {
	var w []string
	if r.From.IsValid() {
		w = append(w, "-s", r.From.String())
	}
	if r.To.IsValid() {
		w = append(w, "-d", r.To.String())
	}
	if r.NotTo.IsValid() {
		w = append(w, "!", "-d", r.NotTo.String())
	}
	if r.ToItself {
		w = append(w, "-o", "lo")
	}
	w = append(w, "-p", "tcp")
	if r.Port != 0 {
		w = append(w, "-m", "tcp", "--dport", strconv.Itoa(int(r.Port)))
	}
	if r.User != 0 {
		w = append(w, "-m", "owner", "--uid-owner", strconv.FormatUint(uint64(r.User), 10))
	}
	if r.NotRedirected {
		w = append(w, "-m", "conntrack", "!", "--ctstate", "DNAT")
	}
	w = append(w, "-m", "comment", "--comment", strconv.Quote(r.Why))
	switch r.Verdict {
	case Redirect:
		return append(w, "-j", "REDIRECT", "--to-ports", strconv.Itoa(int(r.RedirectTo)))
	case Refuse:
		return append(w, "-j", "REJECT", "--reject-with", "tcp-reset")
	default:
		return append(w, "-j", "RETURN")
	}
}

// nftNetwork is a network as nft says it: one address without its length.
func nftNetwork(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
