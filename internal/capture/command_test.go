package capture_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/capture"
	"github.com/lateen-mesh/lateen/internal/netns"
)

const (
	// commandVariable makes this program the command, for which the arguments are.
	commandVariable = "LATEEN_CAPTURE_COMMAND"
	withoutNFTables = "without nf_tables" // a value of it: as on a kernel that has none
)

// TestMain lets this program be the command, which tests run with less rights than they have.
func TestMain(m *testing.M) {
	mode := os.Getenv(commandVariable)
	if mode == "" {
		os.Exit(m.Run())
	}
	if mode == withoutNFTables {
		if err := forbidNFTables(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
	}
	os.Exit(command())
}

// command runs the command as programs do.
func command() int {
	var c capture.Command
	flags := flag.NewFlagSet("capture", flag.ExitOnError)
	c.Flags(flags)
	_ = flags.Parse(os.Args[1:])                                          // an error ends the program
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM) //nolint:forbidigo // this is a program
	defer stop()
	err := c.Run(ctx, os.Stdout, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "error:", err)
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		fmt.Fprintln(os.Stderr, "hint:", hinted.Hint())
	}
	return 1
}

// forbidNFTables makes the kernel answer this process and its children as one that has no netfilter over netlink (seccomp(2)).
func forbidNFTables() error {
	const number, family, protocol = 0, 16, 32 // places in struct seccomp_data
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
	}
	end := func(verdict uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: verdict}
	}
	filter := []unix.SockFilter{
		load(number), unless(unix.SYS_SOCKET, 5),
		load(family), unless(unix.AF_NETLINK, 3),
		load(protocol), unless(unix.NETLINK_NETFILTER, 1),
		end(unix.SECCOMP_RET_ERRNO | uint32(unix.EPROTONOSUPPORT)),
		end(unix.SECCOMP_RET_ALLOW),
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

// script runs a program as root without any rights but the capabilities $CAPABILITIES, on a file system that cannot be written.
const script = `mount -o remount,bind,ro / || exit 7
if touch /run/lateen.test 2>/dev/null || touch /lateen.test 2>/dev/null; then echo "the file system can be written"; exit 8; fi
exec setpriv --bounding-set="$CAPABILITIES" --inh-caps=-all --no-new-privs -- "$@"`

// run runs the command in a pod with capabilities, as setpriv names them.
func run(pod *netns.Pod, mode, capabilities string, args ...string) (string, error) {
	cmd := pod.Command(0, "unshare", append([]string{"--mount", "sh", "-c", script, "sh", os.Args[0]}, args...)...)
	cmd.Env = append(os.Environ(), commandVariable+"="+mode, "CAPABILITIES=-all"+capabilities)
	return pod.Run(cmd)
}

// TestCapabilities shows which rights the command needs, and that a file system that cannot be written is enough.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	const missing = "the capability NET_ADMIN is missing"
	tests := []struct {
		flag, capabilities string
		want               []string // parts of the output; the last one of an error
		fails              bool
	}{
		{"--backend=nftables", ",+net_admin", []string{`msg="traffic is captured" backend=nftables`}, false},
		{"--backend=auto", ",+net_admin", []string{`msg="traffic is captured" backend=nftables`}, false},
		{"--backend=iptables", ",+net_admin,+net_raw", []string{`msg="traffic is captured" backend=iptables`}, false},
		{"--backend=nftables", "", []string{missing, "hint: run it as root with the capabilities NET_ADMIN and NET_RAW"}, true},
		{"--backend=auto", ",+net_raw", []string{missing, "hint: run it as root"}, true},
		{"--backend=iptables", ",+net_raw", []string{missing, "hint: run it as root"}, true},
		{"--check", "", []string{missing, "hint: run it as root"}, true},
	}
	for _, test := range tests {
		t.Run(test.flag+test.capabilities, func(t *testing.T) {
			t.Parallel()
			netns.Run(t, func(t *testing.T) {
				pod := netns.NewNetwork(t).Pod("web")
				out, err := run(pod, "as it is", test.capabilities, test.flag)
				if fails := err != nil; fails != test.fails {
					t.Errorf("ended with %v", err)
				}
				for _, part := range test.want {
					if !strings.Contains(out, part) {
						t.Errorf("the output lacks %q:\n%s", part, out)
					}
				}
				if checked, err := run(pod, "as it is", ",+net_admin,+net_raw", "--check", strings.Replace(test.flag, "--check", "--backend=auto", 1)); (err != nil) != test.fails {
					t.Errorf("--check afterwards: %v\n%s", err, checked)
				}
			})
		})
	}
}

// TestWithoutNFTables shows that iptables is used where the kernel has no nf_tables, and what is said where there is none of both.
func TestWithoutNFTables(t *testing.T) {
	t.Parallel()
	const fallback = `msg="traffic not captured this way, another one is tried" backend=nftables`
	t.Run("iptables", func(t *testing.T) {
		t.Parallel()
		netns.Run(t, func(t *testing.T) {
			pod := netns.NewNetwork(t).Pod("web")
			for range 2 {
				out, err := run(pod, withoutNFTables, ",+net_admin,+net_raw")
				if err != nil || !strings.Contains(out, fallback) || !strings.Contains(out, `msg="traffic is captured" backend=iptables`) {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			if out, err := run(pod, withoutNFTables, ",+net_admin,+net_raw", "--check"); err != nil {
				t.Errorf("--check: %v\n%s", err, out)
			}
			out, err := run(pod, withoutNFTables, ",+net_admin")
			if err == nil || !strings.Contains(out, "hint: iptables wants the capability NET_RAW too") {
				t.Errorf("without NET_RAW: %v\n%s", err, out)
			}
		})
	})
	t.Run("nothing", func(t *testing.T) {
		t.Parallel()
		netns.Run(t, func(t *testing.T) {
			pod := netns.NewNetwork(t).Pod("web")
			cmd := pod.Command(0, os.Args[0])
			cmd.Env = []string{commandVariable + "=" + withoutNFTables, "PATH=/nowhere"}
			out, err := pod.Run(cmd)
			for _, part := range []string{fallback, "protocol not supported", "there are no iptables-restore and iptables-save on PATH", "hint: the kernel of the node needs nf_tables"} {
				if !strings.Contains(out, part) {
					t.Errorf("the output lacks %q:\n%s", part, out)
				}
			}
			if _, ok := errors.AsType[*exec.ExitError](err); !ok {
				t.Errorf("ended with %v", err)
			}
		})
	})
}
