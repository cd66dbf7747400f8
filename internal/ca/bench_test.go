package ca_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/ca/enrol"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
)

// BenchmarkSign is what one certificate costs one processor, from the bytes of the request to the checked certificate.
func BenchmarkSign(b *testing.B) {
	for _, root := range []struct {
		name string
		key  func() crypto.Signer
	}{
		{"root=P-256", nil},
		{"root=P-384", func() crypto.Signer { return ecdsaKey(b, elliptic.P384()) }},
		{"root=RSA-2048", func() crypto.Signer { return rsaKey(b, 2048) }},
		{"root=RSA-4096", func() crypto.Signer { return rsaKey(b, 4096) }},
	} {
		b.Run(root.name, func(b *testing.B) {
			r := newRig(b, func(c *ca.Config) {
				if root.key != nil {
					own := selfSigned(b, root.key())
					c.Plugged = filesOf(b, own, nil, own).write(b)
				}
			})
			csr := newCSR(b, identitytest.NewKey(b), x509.CertificateRequest{})
			begun := cpu(b)
			for i := 0; b.Loop(); i++ {
				who := attest.Attested{Peer: identitytest.Peer(domain, fmt.Sprintf("w%d", i), "127.9.8.1"), By: attest.ByToken}
				if _, err := r.Sign(b.Context(), csr, who); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/(cpu(b)-begun).Seconds(), "certificates/cpu-s")
		})
	}
}

// cpu returns what this process has used of processors: others may use them too.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var used unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkHandshake is a connection of a workload to the control plane, both ends in one process; what the certificate of the control
// plane costs its other end is left out.
func BenchmarkHandshake(b *testing.B) {
	r := newRig(b)
	held := r.leafFor(b, identitytest.Peer(domain, "reviews", "127.9.8.1"))
	server, client := r.ServerTLS("localhost"), clientOf(&held, tls.VersionTLS13)
	begun := cpu(b)
	for b.Loop() {
		if _, _, err := r.handshake(b, server, client); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu(b)-begun).Microseconds())/float64(b.N), "cpu-µs/op")
}

// BenchmarkRenew is a renewal as an agent makes it: a connection over TLS with the old certificate, the request, and a look at
// the answer, both ends in one process.
func BenchmarkRenew(b *testing.B) {
	r := newRig(b)
	ask := r.ask(b, r.serve(b, r.Attestor()))
	held := r.leafFor(b, identitytest.Peer(domain, "reviews", "127.9.8.1"))
	ask.Renew = &held
	for b.Loop() {
		r.clock.move(10 * time.Second) // within its rate
		if _, err := enrol.Request(b.Context(), ask); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkJoin is what a join token costs: it is on the disk before it counts, twice.
func BenchmarkJoin(b *testing.B) {
	r := newRig(b)
	for i := 0; b.Loop(); i++ {
		token, _, err := r.Tokens().Issue(identitytest.Peer(domain, fmt.Sprintf("w%d", i), ""), time.Second)
		must(b, err)
		if _, err := r.Tokens().Attest(b.Context(), attest.Evidence{Token: token.Reveal(), Key: []byte("a key")}); err != nil {
			b.Fatal(err)
		}
		r.clock.move(2 * time.Minute) // it is forgotten
	}
}
