package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// wire listens to all that is sent over TCP in the network namespace of a test.
type wire struct {
	mu    sync.Mutex
	heard map[netip.AddrPort]*bytes.Buffer // to and from each end
}

// listen begins to listen, until the test ends.
func listen(t *testing.T) *wire {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		t.Fatalf("listen to the wire: %v", err)
	}
	moment := unix.Timeval{Usec: 50_000} // until it looks whether the test has ended
	if err := errors.Join(
		unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
		unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &moment),
	); err != nil {
		t.Fatal(err)
	}
	w := &wire{heard: map[netip.AddrPort]*bytes.Buffer{}}
	ended, end := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		packet := make([]byte, 1<<17)
		for {
			n, _, err := unix.Recvfrom(socket, packet, 0)
			if err == nil {
				w.take(packet[:n])
			}
			select {
			case <-end:
				return
			default:
			}
		}
	}()
	t.Cleanup(func() {
		close(end)
		<-ended
		if err := unix.Close(socket); err != nil {
			t.Error(err)
		}
	})
	return w
}

// take takes a packet apart: an IPv4 header and one of TCP (RFC 791, RFC 9293).
func (w *wire) take(packet []byte) {
	if len(packet) < 20 {
		return
	}
	header := int(packet[0]&15) * 4
	from, _ := netip.AddrFromSlice(packet[12:16])
	to, _ := netip.AddrFromSlice(packet[16:20])
	segment := packet[min(header, len(packet)):]
	if len(segment) < 20 {
		return
	}
	payload := segment[min(int(segment[12]>>4)*4, len(segment)):]
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, end := range []netip.AddrPort{
		netip.AddrPortFrom(from, binary.BigEndian.Uint16(segment)), netip.AddrPortFrom(to, binary.BigEndian.Uint16(segment[2:])),
	} {
		if w.heard[end] == nil {
			w.heard[end] = &bytes.Buffer{}
		}
		w.heard[end].Write(payload)
	}
}

// at returns what was sent to and from an end, in the order of its arrival.
func (w *wire) at(end netip.AddrPort) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.heard[end] == nil {
		return ""
	}
	return w.heard[end].String()
}

// forget makes it as if nothing had been heard.
func (w *wire) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.heard)
}

const whisperingMesh = `apiVersion: lateen.dev/v1alpha1
kind: Mesh
metadata: {name: whispers}
spec:
  settings: {authPolicy: PERMISSIVE}
  ingress: {}
  services:
    reviews:
      serviceAccount: reviewer
      ports: [{name: http, port: 9080}]
      workloads:
        v3: {command: [lateen, bookinfo, reviews, --version=v3, "--port=${PORT}"], ready: {http: /health}}
    ratings:
      ports: [{name: http, port: 9080}]
      workloads:
        v1: {command: [lateen, bookinfo, ratings, "--port=${PORT}"], ready: {http: /health}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: door}
spec:
  defaultBackend: {service: {name: reviews, port: {name: http}}}
`

// reviewsPage is what calls ratings, at the door.
const reviewsPage = "http://localhost:8080/reviews/0"

// whisper asks for reviews with a word that goes on to ratings, and fails unless there are stars.
func whisper(t *testing.T, word string) {
	t.Helper()
	door, err := url.Parse(reviewsPage)
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	jar.SetCookies(door, []*http.Cookie{{Name: "user", Value: word}})
	client := &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	if body, err := meshtest.Fetch(t.Context(), client, reviewsPage); err != nil || !strings.Contains(body, "stars") {
		t.Fatalf("reviews: %v\n%s", err, body)
	}
}

// What sidecars, the ingress and Lateen send one another is encrypted, as soon as a mesh runs and without a word about it. The
// policy is changed under load, and certificates are renewed, without a lost request: plain text is to be heard where it is asked
// for, and nowhere else.
func TestWire(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir, w := home(t), listen(t)
		policy := func(word string) string {
			return write(t, dir, "mesh.yaml", strings.Replace(whisperingMesh, "PERMISSIVE", word, 1))
		}
		p := start(t, dir, "up", "-f", policy("PERMISSIVE"), "--cert-ttl", "10s")
		p.prints(ready)
		certificate := func(name string) agent.Status {
			status, err := agent.ReadStatus(filepath.Join(dir, "lateen", "whispers", "proxies", name+".default"))
			if err != nil {
				t.Fatal(err)
			}
			return status
		}
		sidecars := map[string]netip.AddrPort{}
		for _, name := range []string{"reviews-v3-0", "ratings-v1-0"} {
			sidecars[name] = netip.AddrPortFrom(netip.MustParseAddr(certificate(name).Address), 9080)
		}
		whisper(t, "first-whisper")
		w.encrypted(t, sidecars, "first-whisper")
		subnet := sidecars["ratings-v1-0"].Addr().As4()
		subnet[3] = 1
		if heard := w.at(netip.AddrPortFrom(netip.AddrFrom4(subnet), 15012)); !isTLS(heard) || strings.Contains(heard, "outbound|9080") {
			t.Errorf("what Lateen tells proxies can be heard: %.200q", heard)
		}

		stop := hammer(t, reviewsPage)
		policy("NONE")
		n := 0
		until(t, "plain text", func() bool {
			n++
			word := fmt.Sprintf("whisper-%d-is-plain", n)
			whisper(t, word)
			return strings.Contains(w.at(sidecars["ratings-v1-0"]), word) && strings.Contains(w.at(sidecars["reviews-v3-0"]), word)
		})
		policy("MUTUAL_TLS")
		direct := "http://" + sidecars["ratings-v1-0"].String() + "/ratings/0"
		until(t, "plain text to be refused", func() bool {
			_, err := fetch(t, direct)
			return err != nil
		})
		for _, name := range []string{"reviews-v3-0", "ratings-v1-0", "ingress"} {
			until(t, "a second renewal of "+name, func() bool { return certificate(name).Renewals > 2 })
		}
		stop()
		w.forget()
		whisper(t, "last-whisper")
		w.encrypted(t, sidecars, "last-whisper")
		policy("PERMISSIVE")
		until(t, "plain text to be taken", func() bool {
			_, err := fetch(t, direct)
			return err == nil
		})
	})
}

// A root that was lost is not replaced in silence: that is told with what to do, and the mesh runs again when it is back.
func TestLostRoot(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		file := write(t, dir, "mesh.yaml", whisperingMesh)
		p := start(t, dir, "up", "-f", file)
		p.prints(ready)
		if code := p.interrupt(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		root := filepath.Join(dir, "lateen", "whispers", "ca", "root.pem")
		if err := os.Rename(root, root+".away"); err != nil {
			t.Fatal(err)
		}
		_, stderr, code := run(t, dir, "up", "-f", file)
		wantError(t, stderr, code, 1, 2, "the control plane ended (exit status 1): certificate authority: the root of the mesh", root, "hint: put it back from a copy")
		if err := os.Rename(root+".away", root); err != nil {
			t.Fatal(err)
		}
		start(t, dir, "up", "-f", file).prints(ready)
		whisper(t, "again")
	})
}

// encrypted wants a word to be heard between applications and their own sidecars, and to be hidden between sidecars.
func (w *wire) encrypted(t *testing.T, sidecars map[string]netip.AddrPort, word string) {
	t.Helper()
	for name, end := range sidecars {
		if heard := w.at(end); !isTLS(heard) || strings.Contains(heard, word) || strings.Contains(heard, "HTTP/1.1") {
			t.Errorf("what is sent to %s can be heard: %.200q", name, heard)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	everywhere := 0
	for end, heard := range w.heard {
		if end.Addr().String() == "127.0.0.1" {
			everywhere += strings.Count(heard.String(), word)
		}
	}
	if everywhere == 0 {
		t.Errorf("%q is not to be heard at the applications either", word)
	}
}

// isTLS tells whether a record of TLS comes first: of a handshake, or of a connection that is open already (RFC 8446, 5.1).
func isTLS(heard string) bool {
	return strings.HasPrefix(heard, "\x16\x03") || strings.HasPrefix(heard, "\x17\x03\x03")
}
