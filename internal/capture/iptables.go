package capture

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

const (
	toolBound = 10 * time.Second // for one run of a tool
	mostSaved = 1 << 20          // bytes that iptables-save may print
	// lockWait is for how many seconds the tools wait for one another.
	lockWait = "5"
)

// iptables applies rules through the tools of that name: a kernel without nf_tables has no interface that is as simple.
type iptables map[Family]tools

// tools are the paths of two tools; "": there are none.
type tools struct{ restore, save string }

// programs is how the names of a family's tools begin.
var programs = map[Family]string{IPv4: "iptables", IPv6: "ip6tables"}

func (iptables) name() Backend { return IPTables }

// findIPTables looks for the tools on PATH: those that the system prefers, and those for a kernel without nf_tables. There is
// always one.
func findIPTables() []backend {
	var all []backend
	for _, flavour := range []string{"", "-legacy"} {
		found := iptables{}
		for _, f := range families {
			restore, err := exec.LookPath(programs[f] + flavour + "-restore")
			if err != nil {
				continue
			}
			save, err := exec.LookPath(programs[f] + flavour + "-save")
			if err != nil {
				continue
			}
			found[f] = tools{restore: restore, save: save}
		}
		if len(found) > 0 {
			all = append(all, found)
		}
	}
	if len(all) == 0 {
		return []backend{iptables{}}
	}
	return all
}

// apply replaces the rules, those of each of iptables' tables in one transaction.
func (i iptables) apply(ctx context.Context, tables []Table) error {
	for _, t := range tables {
		if i[t.Family].restore == "" {
			return fmt.Errorf("iptables: there are no %[1]s-restore and %[1]s-save on PATH", programs[t.Family])
		}
	}
	for _, t := range tables {
		saved, err := i.saved(ctx, t.Family)
		if err != nil {
			return err
		}
		jumps := func(h Hook) int { return count(saved, jumpTo(h)) }
		if _, err := run(ctx, RestoreText(t, jumps), i[t.Family].restore, "--noflush", "--wait", lockWait); err != nil {
			return err
		}
	}
	return nil
}

// check compares the rules with those in the kernel.
func (i iptables) check(ctx context.Context, tables []Table) error {
	for _, t := range tables {
		if i[t.Family].save == "" {
			return errAbsent
		}
		saved, err := i.saved(ctx, t.Family)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(saved, func(line string) bool { return strings.Contains(line, chainName(Output)) }) {
			return errAbsent
		}
		for _, c := range t.Chains {
			if err := compareLines(saved, c.Hook, t.restoreLines(c.Hook)); err != nil {
				return err
			}
		}
	}
	return nil
}

// compareLines compares what iptables-save says of a chain.
func compareLines(saved []string, hook Hook, want []string) error {
	var got []string
	for _, line := range saved {
		if strings.HasPrefix(line, "-A "+chainName(hook)+" ") {
			got = append(got, line)
		}
	}
	if jumps := count(saved, jumpTo(hook)); jumps != 1 {
		return fmt.Errorf("%d rules of iptables lead to chain %s instead of one", jumps, chainName(hook))
	}
	if len(got) != len(want) {
		return fmt.Errorf("chain %s of iptables has %d rules instead of %d", chainName(hook), len(got), len(want))
	}
	for i := range want {
		if canonical(got[i]) != canonical(want[i]) {
			return fmt.Errorf("rule %d of chain %s of iptables is %q instead of %q", i+1, chainName(hook), got[i], want[i])
		}
	}
	return nil
}

func count(lines []string, wanted string) int {
	n := 0
	for _, line := range lines {
		if line == wanted {
			n++
		}
	}
	return n
}

// canonical drops what the versions of iptables-save write differently: quotes around one word.
func canonical(line string) string { return strings.ReplaceAll(line, `"`, "") }

// saved returns the lines of iptables-save, or of its like for another family.
func (i iptables) saved(ctx context.Context, f Family) ([]string, error) {
	var lines []string
	for _, table := range []string{"nat", "filter"} {
		text, err := run(ctx, "", i[f].save, "-t", table)
		if err != nil {
			return nil, err
		}
		lines = append(lines, strings.Split(text, "\n")...)
	}
	return lines, nil
}

// run runs a tool. A file system that cannot be written has no place for the lock that some of them want: any file will do
// that all who change these rules have, and in a network namespace of its own there is only this program.
func run(ctx context.Context, input, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, toolBound)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "XTABLES_LOCKFILE="+lockFile)
	cmd.Stdin = strings.NewReader(input)
	var output, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", path, strings.Join(args, " "), err, firstLines(said.String()))
	}
	if output.Len() > mostSaved {
		return "", fmt.Errorf("%s: more than %d bytes of rules", path, mostSaved)
	}
	return output.String(), nil
}

// lockFile is on every system, and not on a disk.
const lockFile = "/dev/null"

// firstLines cuts what a tool has said.
func firstLines(text string) string {
	const most = 3
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[:min(most, len(lines))], "; ")
}
