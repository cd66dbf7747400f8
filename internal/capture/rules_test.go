package capture_test

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/capture"
	"github.com/lateen-mesh/lateen/internal/golden"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// dryRun returns what the command prints for some flags.
func dryRun(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var c capture.Command
	flags := flag.NewFlagSet("capture", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	c.Flags(flags)
	if err := flags.Parse(append([]string{"--dry-run"}, args...)); err != nil {
		return "", err
	}
	var out strings.Builder
	err := c.Run(t.Context(), &out, testLog(t))
	return out.String(), err
}

func TestRules(t *testing.T) {
	golden.Run(t, "testdata/rules", func(t *testing.T, c *golden.Case) {
		args := strings.Fields(c.In("in.flags"))
		text, err := dryRun(t, args...)
		if err != nil {
			told := err.Error() + "\n"
			if hinted, ok := errors.AsType[*capture.Misused](err); ok {
				told += hinted.Hint() + "\n"
			}
			c.Out("error", told)
			return
		}
		c.Out("nftables", text)
		if text, err = dryRun(t, append(args, "--backend=iptables")...); err != nil {
			t.Fatal(err)
		}
		c.Out("iptables", text)
	})
}

// TestMostIsBounded shows how much can be asked for, and that the kernel takes so much.
func TestMostIsBounded(t *testing.T) {
	t.Parallel()
	inFlavours(t, func(t *testing.T, b capture.Backend) {
		c := capture.Config{Backend: b}
		for i := range 128 {
			c.Include = append(c.Include, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16))
			c.Exclude = append(c.Exclude, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 1, 0}), 24))
		}
		for i := range 16 {
			c.Take, c.Pass = append(c.Take, uint16(i+100)), append(c.Pass, uint16(i+100))
		}
		for i := range 32 {
			c.Keep = append(c.Keep, uint16(i+1))
		}
		pod := netns.NewNetwork(t).Pod("web")
		apply(t, pod, c)
		for _, more := range []capture.Config{
			{Backend: b, Include: append(c.Include, netip.MustParsePrefix("192.0.2.0/24")), Exclude: c.Exclude},
			{Backend: b, Keep: append(c.Keep, 65), Take: c.Take, Pass: c.Pass},
		} {
			if err := pod.Do(func() error { return capture.Apply(t.Context(), more, testLog(t)) }); err == nil {
				t.Error("more was taken")
			}
		}
	})
}

// TestTextIsWhatIsApplied shows that the text for people, as nft reads it, is what Apply does.
func TestTextIsWhatIsApplied(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		n := netns.NewNetwork(t)
		c := capture.Config{Backend: capture.NFTables, Include: []netip.Prefix{
			netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("10.0.0.0/7"), netip.MustParsePrefix("192.0.2.1/32"),
			netip.MustParsePrefix("fd00:96::/112"), netip.MustParsePrefix("fd00:97::/47"), netip.MustParsePrefix("2001:db8::1/128"),
		}, Exclude: []netip.Prefix{netip.MustParsePrefix("10.96.7.0/25"), netip.MustParsePrefix("fd00:96::7:0/117")}, Pass: []uint16{25}, Send: []uint16{443}, Take: []uint16{9080}}
		tables, err := c.Tables()
		if err != nil {
			t.Fatal(err)
		}
		applied, read := n.Pod("applied"), n.Pod("read")
		apply(t, applied, c)
		for range 2 { // it replaces what was before
			cmd := read.Command(0, "nft", "--file", "-")
			cmd.Stdin = strings.NewReader(capture.Text(tables))
			if out, err := read.Run(cmd); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		}
		if want, got := listed(t, applied), listed(t, read); got != want {
			t.Errorf("the text means\n%s\nwhat is applied is\n%s", got, want)
		}
		if out, err := read.Run(read.Command(0, "ip", "address", "add", mesh.FromProxyIPv6+"/128", "dev", "lo")); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if err := read.Do(func() error { return capture.Check(t.Context(), c, testLog(t)) }); err != nil {
			t.Error(err)
		}
	})
}

func listed(t *testing.T, pod *netns.Pod) string {
	t.Helper()
	out, err := pod.Run(pod.Command(0, "nft", "list", "ruleset"))
	if err != nil || !strings.Contains(out, "redirect to :15006") {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// TestCheck shows that rules which differ from what is wanted are found, whatever differs.
func TestCheck(t *testing.T) {
	t.Parallel()
	const chain = "lateen output"
	changes := map[capture.Backend][]string{
		capture.NFTables: {
			"flush chain ip " + chain, "add rule ip " + chain + " return", "insert rule ip " + chain + " tcp dport 80 return",
			"replace rule ip " + chain + " handle HANDLE oifname \"lo\" meta l4proto tcp return",
			"add table ip lateen { flags dormant; }", "delete chain ip lateen input", "delete table ip lateen",
			"add chain ip " + chain + " { policy drop; }",
			"flush chain ip6 " + chain, "insert rule ip6 " + chain + " tcp dport 80 return", "delete table ip6 lateen",
		},
		capture.IPTables: {
			"-F LATEEN_OUTPUT", "-A LATEEN_OUTPUT -j RETURN", "-I LATEEN_OUTPUT -p tcp -m tcp --dport 80 -j RETURN",
			"-R LATEEN_OUTPUT 1 -p tcp -j RETURN", "-D OUTPUT -p tcp -j LATEEN_OUTPUT", "-A OUTPUT -p tcp -j LATEEN_OUTPUT",
			"ip6 -F LATEEN_OUTPUT", "ip6 -D OUTPUT -p tcp -j LATEEN_OUTPUT",
		},
	}
	for b, changes := range changes {
		t.Run(string(b), func(t *testing.T) {
			t.Parallel()
			netns.Run(t, func(t *testing.T) {
				n := netns.NewNetwork(t)
				c := capture.Config{Backend: b}
				for i, change := range changes {
					pod := n.Pod(fmt.Sprint(i))
					check := func() error {
						return pod.Do(func() error { return capture.Check(t.Context(), c, testLog(t)) })
					}
					wantAbsent(t, check())
					apply(t, pod, c)
					if err := check(); err != nil {
						t.Errorf("what was applied: %v", err)
					}
					ofIPv6, isIPv6 := strings.CutPrefix(change, "ip6 ")
					cmd := pod.Command(0, "iptables", append([]string{"-t", "nat"}, strings.Fields(change)...)...)
					switch {
					case b == capture.NFTables:
						cmd = pod.Command(0, "nft", strings.ReplaceAll(change, "HANDLE", firstHandle(t, pod)))
					case isIPv6:
						cmd = pod.Command(0, "ip6tables", append([]string{"-t", "nat"}, strings.Fields(ofIPv6)...)...)
					}
					if out, err := pod.Run(cmd); err != nil {
						t.Fatalf("%s: %v\n%s", change, err, out)
					}
					if err := check(); err == nil {
						t.Errorf("nobody noticed: %s", change)
					} else {
						t.Logf("%s: %v", change, err)
					}
					apply(t, pod, c)
					if err := check(); err != nil {
						t.Errorf("after %s and a repair: %v", change, err)
					}
				}
			})
		})
	}
}

func wantAbsent(t *testing.T, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "traffic is not captured") {
		t.Errorf("a pod without rules: %v", err)
	}
}

// firstHandle returns the kernel's number of the first rule for output.
func firstHandle(t *testing.T, pod *netns.Pod) string {
	t.Helper()
	out, err := pod.Run(pod.Command(0, "nft", "--handle", "list", "chain", "ip", "lateen", "output"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, after, _ := strings.Cut(out, "from the proxy to the application\" # handle ")
	handle, _, _ := strings.Cut(after, "\n")
	return handle
}

// TestFamilies shows that rules are there for the families of a workload's addresses, and that a pod without IPv6 needs none for it.
func TestFamilies(t *testing.T) {
	t.Parallel()
	inFlavours(t, func(t *testing.T, b capture.Backend) {
		n := netns.NewNetwork(t)
		both := []capture.Family{capture.IPv4, capture.IPv6}
		for i, test := range []struct {
			asked        []capture.Family
			without      bool   // IPv6 is turned off in the pod
			families     string // in the log
			fails, gives bool
		}{
			{nil, false, "families=ip,ip6 ", false, true},
			{nil, true, "families=ip ", false, false},
			{[]capture.Family{capture.IPv4}, false, "families=ip ", false, false},
			{[]capture.Family{capture.IPv6}, false, "families=ip6 ", false, true},
			{both, true, "", true, false},
		} {
			pod := n.Pod(fmt.Sprint(i))
			ip := func(args ...string) string {
				out, err := pod.Run(pod.Command(0, "ip", args...))
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				return out
			}
			if test.without {
				if err := pod.Do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/lo/disable_ipv6", []byte("1"), 0) }); err != nil {
					t.Fatal(err)
				}
			}
			c := capture.Config{Backend: b, Families: test.asked}
			var said strings.Builder
			err := pod.Do(func() error { return capture.Apply(t.Context(), c, slog.New(slog.NewTextHandler(&said, nil))) })
			if (err != nil) != test.fails || !strings.Contains(said.String(), test.families) {
				t.Errorf("%v, without IPv6 %v: %v\n%s", test.asked, test.without, err, &said)
			}
			if gives := strings.Contains(ip("address", "show", "dev", "lo"), mesh.FromProxyIPv6+"/128"); gives != test.gives {
				t.Errorf("%v, without IPv6 %v: the loopback interface has the source of IPv6: %v", test.asked, test.without, gives)
			}
			check := func() error { return pod.Do(func() error { return capture.Check(t.Context(), c, testLog(t)) }) }
			if err := check(); (err != nil) != test.fails {
				t.Errorf("%v, without IPv6 %v: %v", test.asked, test.without, err)
			}
			if !test.gives {
				continue
			}
			ip("address", "delete", mesh.FromProxyIPv6+"/128", "dev", "lo")
			if err := check(); err == nil || !strings.Contains(err.Error(), "has not the address ::6") {
				t.Errorf("without the source of IPv6: %v", err)
			}
		}
	})
}
