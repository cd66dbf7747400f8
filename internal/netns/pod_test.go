package netns

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPods shows that pods reach one another, the node and what is outside, each from its own address.
func TestPods(t *testing.T) {
	t.Parallel()
	Run(t, func(t *testing.T) {
		n := NewNetwork(t)
		n.Outside("198.51.100.7")
		n.Outside("2001:db8::7")
		web, shop := n.Pod("web", IPv4, IPv6), n.Pod("shop", IPv6, IPv4)
		if web.Address != "10.244.0.2" || shop.Address != "fd00:244::3" {
			t.Fatalf("the pods have %s and %s", web.Address, shop.Address)
		}
		outside, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ":8080")
		if err != nil {
			t.Fatal(err)
		}
		defer outside.Close()
		for _, l := range []net.Listener{outside, shop.Listen(":8080"), web.Listen("127.0.0.1:8080")} {
			go tellPeer(l)
		}
		for to, want := range map[string]string{
			"10.244.0.3:8080":    "10.244.0.2", // the other pod
			"10.244.0.1:8080":    "10.244.0.2", // the node
			"198.51.100.7:8080":  "10.244.0.2",
			"127.0.0.1:8080":     "127.0.0.1", // its own, and not the node's
			"[fd00:244::3]:8080": "fd00:244::2",
			"[fd00:244::1]:8080": "fd00:244::2",
			"[2001:db8::7]:8080": "fd00:244::2",
		} {
			conn, err := web.Dial(t.Context(), "tcp", to)
			if err != nil {
				t.Errorf("from a pod to %s: %v", to, err)
				continue
			}
			from, err := io.ReadAll(conn)
			conn.Close()
			if err != nil || string(from) != want {
				t.Errorf("%s was called by %q (%v), want %s", to, from, err, want)
			}
		}
	})
}

// tellPeer tells everybody who calls the address that the call comes from.
func tellPeer(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
		_, _ = io.WriteString(conn, host)
		conn.Close()
	}
}

// TestPodProcesses shows as whom and where processes run in a pod, and what they see of its files.
func TestPodProcesses(t *testing.T) {
	t.Parallel()
	Run(t, func(t *testing.T) {
		pod := NewNetwork(t).Pod("web")
		file := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(file, []byte("nameserver 192.0.2.1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		pod.Mount(file, "/etc/resolv.conf")
		out, err := pod.Run(pod.Command(0, "cat", "/etc/resolv.conf", "/proc/self/net/fib_trie"))
		if err != nil || !strings.HasPrefix(out, "nameserver 192.0.2.1\n") || !strings.Contains(out, pod.Address) {
			t.Errorf("%v\n%s", err, out)
		}
		if text, err := os.ReadFile("/etc/resolv.conf"); err != nil || strings.Contains(string(text), "192.0.2.1") {
			t.Errorf("the test itself sees %q (%v)", text, err)
		}
		out, err = pod.Run(pod.Command(1337, "grep", "-E", "^(Uid|Gid|Groups|CapEff):", "/proc/self/status"))
		want := "Uid:\t1337\t1337\t1337\t1337\nGid:\t1337\t1337\t1337\t1337\nGroups:\t \nCapEff:\t0000000000000000\n"
		if err != nil || out != want {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
