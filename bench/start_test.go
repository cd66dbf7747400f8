package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// startRounds is how often each way of starting is measured.
const startRounds = 15

// started is what was measured of one agent, by name.
type started map[string]float64

// From the start of `lateen agent` to its workload's certificate, to an Envoy that is ready, and to the first request that is
// answered, over mutual TLS where there is a certificate. Beside it the same without an identity.
func BenchmarkAgentStart(b *testing.B) {
	m := meshtest.New(b)
	m.Start("fort", "v1", meshtest.Named("fort"))
	m.Start("open", "v1", meshtest.Named("open"))
	m.Edit(func(r *mesh.Registry) {
		for i, s := range r.Services {
			changed := *s
			changed.Ports = []mesh.Port{s.Ports[0]}
			changed.Ports[0].AuthPolicy = map[string]mesh.AuthPolicy{"fort": mesh.AuthMutualTLS, "open": mesh.AuthNone}[s.Name]
			r.Services[i] = &changed
		}
	})
	seen := map[string][]started{}
	for n := range startRounds {
		for _, way := range []string{"fort", "open"} {
			seen[way] = append(seen[way], startAgent(b, m, way, fmt.Sprintf("%s-caller-%d", way, n)))
		}
	}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\twith identity\twithout\t")
	for _, name := range []string{"certificate-ms", "ready-ms", "first-ms", "agent-cpu-ms", "envoy-cpu-ms", "agent-MiB", "agent-own-MiB"} {
		fmt.Fprintf(table, "%s\t", name)
		for _, way := range []string{"fort", "open"} {
			var values []float64
			for _, s := range seen[way] {
				values = append(values, s[name])
			}
			fmt.Fprintf(table, "%.1f\t", medianOf(values))
			b.ReportMetric(medianOf(values), way+"-"+name)
		}
		fmt.Fprintln(table)
	}
	_ = table.Flush() // into a buffer
	fmt.Fprint(os.Stdout, "\n", text.String())
	b.ReportMetric(0, "ns/op") // one operation is all rounds
}

// startAgent starts an agent that calls a service, measures that, and ends it.
func startAgent(b *testing.B, m *meshtest.Mesh, service, name string) started {
	b.Helper()
	i := m.Expect(name)
	c := agent.Config{Node: string(i.ID()), Type: string(i.Type), Address: i.Address, Envoy: meshtest.Envoy(b), Dir: i.Dir, DrainTime: time.Second}
	tokens, ours, err := agent.TokenPair()
	if err != nil {
		b.Fatal(err)
	}
	if service == "fort" {
		c.ControlPlane, c.InheritToken = m.Secure, true
	} else {
		c.PlainXDS = "unix:" + serve.XDSSocket(m.Dir)
	}
	go func() {
		_ = agent.GiveTokens(b.Context(), ours, func(ctx context.Context) (string, error) { return m.Token(ctx, i.Workload) })
	}()
	certificate, ready := newMoment([]byte("certificate received")), newMoment([]byte(agent.Ready))
	//nolint:noctx // it is ended below, and by the kernel if this process is
	cmd := exec.Command(program(b), append([]string{"agent"}, c.Args()...)...)
	cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = []*os.File{tokens}, ready, certificate
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	_ = tokens.Close() // nothing was written
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	ready.await(b, name)
	s := started{"ready-ms": ms(ready.at.Sub(begun)), "first-ms": ms(firstAnswer(b, i, service).Sub(begun))}
	if service == "fort" {
		certificate.await(b, name)
		s["certificate-ms"] = ms(certificate.at.Sub(begun))
	}
	own := fmt.Sprintf("/proc/%d", cmd.Process.Pid)
	for name, proc := range map[string]string{"agent-cpu-ms": own, "envoy-cpu-ms": envoyIn(b, i.Dir)} {
		used, err := cpuOf([]string{proc})
		if err != nil {
			b.Fatal(err)
		}
		s[name] = ms(used)
	}
	s["agent-MiB"], s["agent-own-MiB"] = statusLine(b, own, "VmRSS:"), statusLine(b, own, "RssAnon:")
	return s
}

// firstAnswer asks a service through a proxy until it answers, and returns when it did.
func firstAnswer(b *testing.B, i *meshtest.Instance, service string) time.Time {
	b.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	client := i.Client()
	var last string
	for end := time.Now().Add(meshtest.Patience); time.Now().Before(end); <-tick.C {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+service+":9080/", nil)
		if err != nil {
			b.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			last = err.Error()
			continue
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err == nil && res.StatusCode == http.StatusOK && string(body) == service {
			return time.Now()
		}
		last = fmt.Sprint(res.Status, string(body), err)
	}
	b.Fatalf("%s gets no answer of %s, but %s", i.Name, service, last)
	return time.Time{}
}

// statusLine returns a line of a process's status in MiB.
func statusLine(b testing.TB, proc, line string) float64 {
	b.Helper()
	text, err := os.ReadFile(proc + "/status")
	if err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		var kB float64
		if rest, ok := strings.CutPrefix(lines.Text(), line); ok {
			if _, err := fmt.Sscan(rest, &kB); err != nil {
				b.Fatal(err)
			}
			return kB / 1024
		}
	}
	b.Fatalf("no %s in %s", line, text)
	return 0
}

// moment is when a program first wrote something. Else its words are kept for when it does not.
type moment struct {
	word []byte
	at   time.Time
	seen chan struct{}
	text bytes.Buffer
}

func newMoment(word []byte) *moment { return &moment{word: word, seen: make(chan struct{})} }

func (m *moment) Write(p []byte) (int, error) {
	m.text.Write(p)
	if m.at.IsZero() && bytes.Contains(m.text.Bytes(), m.word) {
		m.at = time.Now()
		close(m.seen)
	}
	return len(p), nil
}

func (m *moment) await(b *testing.B, name string) {
	b.Helper()
	select {
	case <-m.seen:
	case <-time.After(meshtest.Patience):
		b.Fatalf("%s does not say %q after %v", name, m.word, meshtest.Patience)
	}
}
