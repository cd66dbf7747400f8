//go:build e2e

package e2e

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/testapp"
)

// sniffPod looks at the network of its node.
const sniffPod = `
apiVersion: v1
kind: Pod
metadata: {name: sniffer}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: lateen-testapp:dev
    imagePullPolicy: IfNotPresent
    args: [serve, "--http=127.0.0.1:18080", "--grpc=", "--tcp=", "--first="]
    securityContext: {runAsUser: 0, capabilities: {drop: [ALL], add: [NET_RAW]}}
`

// sniff counts packets of a port on the node while f runs.
func (s *space) sniff(port string, texts []string, f func()) testapp.Sniffed {
	s.t.Helper()
	args := append([]string{"--namespace", s.name, "exec", "-i", "pod/sniffer", "--", "testapp", "sniff", "--port=" + port}, texts...)
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, kubectlPath(), args...)
	var out strings.Builder
	begun := make(chan struct{}, 1)
	cmd.Stdout = writerFunc(func(p []byte) (int, error) {
		out.Write(p)
		select {
		case begun <- struct{}{}:
		default:
		}
		return len(p), nil
	})
	stdin, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-begun:
	case <-ctx.Done():
		s.t.Fatal("the sniffer does not begin")
	}
	f()
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		s.t.Fatal(err)
	}
	all, err := decode[testapp.Sniffed](strings.TrimPrefix(out.String(), "ready\n"))
	if err != nil || len(all) != 1 {
		s.t.Fatalf("%v: %q", err, out.String())
	}
	return all[0]
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Between two pods with sidecars nothing goes over the wire in plain text; between a pod without one and a pod with one it does,
// as PERMISSIVE says, which also shows that the sniffer sees it.
func TestNothingPlainOnTheWire(t *testing.T) {
	s := bookInfo(t)
	s.apply(sniffPod)
	s.ready("sniffer")
	const secret, book = "e2e-wire-secret", "Comedy"
	texts := []string{secret, book, "GET /reviews", "GET /details"} // the node's own probes are in plain text
	ask := func(from string) func() {
		return func() {
			for range 5 {
				if r := s.ask("pod/"+from, "--fresh", "--header=x-request-id="+secret, pageURL)[0]; r.Status != 200 {
					t.Errorf("from %s: status %d: %s", from, r.Status, r.Error)
				}
			}
		}
	}
	within := s.sniff("9080", texts, ask("client"))
	if within.Packets < 20 || within.TLS < 10 {
		t.Errorf("only %d packets with %d TLS records were seen", within.Packets, within.TLS)
	}
	for text, times := range within.Texts {
		t.Errorf("%q went over the wire in %d packets", text, times)
	}
	if from := s.sniff("9080", texts, ask("stranger")); from.Texts[secret] == 0 {
		t.Errorf("the sniffer does not see what a pod without a sidecar says: %+v", from)
	}
}
