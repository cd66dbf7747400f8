package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/process"
)

// BenchmarkStart measures, from the start of an agent's process, when it has its certificate, when its Envoy has opened its
// first stream, and when Envoy is ready: with an identity, and without.
func BenchmarkStart(b *testing.B) {
	for _, name := range []string{"identity", "plain"} {
		b.Run(name, func(b *testing.B) {
			from := newPlane(b, 0)
			var certificate, stream, ready time.Duration
			for i := range b.N {
				who := web
				who.Workload = fmt.Sprintf("web-v1-%d.default", i) // each gets only so many certificates
				s := startOnce(b, from, who, name == "plain")
				certificate += s.certificate
				stream += s.stream
				ready += s.ready
			}
			per := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 / float64(b.N) }
			if certificate > 0 {
				b.ReportMetric(per(certificate), "ms-certificate")
			}
			b.ReportMetric(per(stream), "ms-stream")
			b.ReportMetric(per(ready), "ms-ready")
		})
	}
}

type started struct{ certificate, stream, ready time.Duration }

func startOnce(b *testing.B, from *plane, who identity.Peer, plain bool) (s started) {
	b.Helper()
	p := newProxy(b, http.NotFoundHandler())
	c := newSecureConfig(p.config, from)
	c.Node, c.TrustDomain, c.InheritToken = who.Workload, trustDomain, true
	if plain {
		c.ControlPlane, c.TrustDomain, c.InheritToken, c.PlainXDS = "", "", false, "unix:"+filepath.Join(c.Dir, "xds.sock")
		l, err := new(net.ListenConfig).Listen(b.Context(), "unix", filepath.Join(c.Dir, "xds.sock"))
		if err != nil {
			b.Fatal(err)
		}
		defer from.serveOn(l)()
	}
	agents, ours, err := TokenPair()
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var giving sync.WaitGroup
	giving.Go(func() {
		_ = GiveTokens(ctx, ours, func(context.Context) (string, error) { return from.token(who), nil })
	})
	defer giving.Wait()
	defer cancel()
	received := make(chan time.Time, 1)
	begin := time.Now()
	agent, err := process.Start(process.Command{
		Path: os.Args[0], Args: append([]string{"agent"}, c.Args()...), Dir: c.Dir, Env: os.Environ(), Files: []*os.File{agents},
		Stdout: process.NewLines(func(line string) {
			var e Event
			if json.Unmarshal([]byte(line), &e) == nil {
				p.events <- e
			}
		}),
		Stderr: process.NewLines(func(line string) {
			if strings.Contains(line, "certificate received") {
				received <- time.Now()
			}
		}),
	})
	agents.Close()
	if err != nil {
		b.Fatal(err)
	}
	defer agent.Kill()
	if !plain {
		s.certificate = await(b, received, "a certificate").Sub(begin)
	}
	await(b, from.opened, "a stream")
	s.stream = time.Since(begin)
	p.await(b, Ready)
	s.ready = time.Since(begin)
	return s
}
