package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/credentials"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/ca/enrol"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// enrolment is a workload on its way to a certificate.
type enrolment struct {
	workload *mesh.Workload
	ask      enrol.Ask
	answer   enrol.Answer
}

// enrolments prepares workloads that ask a server for certificates. Each has its key.
func enrolments(tb testing.TB, s *server, workloads []*mesh.Workload) []*enrolment {
	tb.Helper()
	var all []*enrolment
	for _, w := range workloads {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, &enrolment{workload: w, ask: enrol.Ask{Address: s.secure, TrustDomain: serve.Domain, Key: key}})
	}
	return all
}

// token gets a join token.
func (e *enrolment) token(ctx context.Context, c *api.Client) error {
	w := e.workload
	token, err := c.NewToken(ctx, api.NewToken{Workload: w.Name, Namespace: w.Namespace, Account: w.Account, Address: w.Address})
	e.ask.Token = token.Token
	return err
}

// request gets a certificate, by the token or, when there is a certificate already, by that.
func (e *enrolment) request(ctx context.Context) (err error) {
	if e.answer, err = enrol.Request(ctx, e.ask); err != nil {
		return fmt.Errorf("%s: %w", e.workload.ID(), err)
	}
	shown := &tls.Certificate{PrivateKey: e.ask.Key}
	for _, c := range e.answer.Chain {
		shown.Certificate = append(shown.Certificate, c.Raw)
	}
	e.ask.Token, e.ask.ServiceAccount, e.ask.Trust, e.ask.Renew = "", "", &e.answer.Trust, shown
	return nil
}

// credentials are those of a proxy with the certificate. Like Envoy it offers no key exchange but the one that is used.
func (e *enrolment) credentials() credentials.TransportCredentials {
	trust, shown := e.answer.Trust, e.ask.Renew
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}, InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			return trust.VerifyControlPlane(state.PeerCertificates, time.Now())
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shown, nil },
	})
}

// enrolling is how many workloads ask at the same time.
const enrolling = 32

// allOf does something for each, some of them at the same time.
func allOf(tb testing.TB, list []*enrolment, do func(*enrolment) error) {
	tb.Helper()
	var group errgroup.Group
	group.SetLimit(enrolling)
	for _, e := range list {
		group.Go(func() error { return do(e) })
	}
	if err := group.Wait(); err != nil {
		tb.Fatal(err)
	}
}

// secure gives all proxies an identity.
func (r *rig) secure() {
	r.Helper()
	list := enrolments(r, r.server, r.registry.Workloads[:r.proxies])
	allOf(r, list, func(e *enrolment) error { return e.token(r.Context(), r.server.api) })
	allOf(r, list, func(e *enrolment) error { return e.request(r.Context()) })
	for i, e := range list {
		r.fleet.proxies[i].creds = e.credentials()
	}
}

// BenchmarkCertificates measures what a certificate costs the control plane on one processor, once whatever -benchtime says: a
// join token over the API, a certificate for it, and renewals, over gRPC and TLS, each on a connection of its own. What
// the signature alone costs is measured in internal/ca.
func BenchmarkCertificates(b *testing.B) {
	const workloads, renewals = 500, 4
	w := newWorld(workloads, 10, 5)
	s := newServer(b, part(b))
	if _, err := s.api.PutRegistry(b.Context(), w.registry); err != nil {
		b.Fatal(err)
	}
	list := enrolments(b, s, w.registry.Workloads)
	measure := func(name string, times int, do func(*enrolment) error) {
		defer s.profiled("certificates-" + name)()
		begun, used := time.Now(), s.cpuTime()
		for range times {
			allOf(b, list, do)
		}
		n := float64(len(list) * times)
		cpu := s.cpuTime() - used
		b.ReportMetric(ms(cpu)/n, name+"-cpu-ms")
		b.ReportMetric(n/cpu.Seconds(), name+"s/core-s")
		b.ReportMetric(n/time.Since(begun).Seconds(), name+"s/s")
	}
	request := func(e *enrolment) error { return e.request(b.Context()) }
	measure("token", 1, func(e *enrolment) error { return e.token(b.Context(), s.api) })
	measure("join", 1, request)
	measure("renewal", renewals, request)
	b.ReportMetric(0, "ns/op") // one operation is all of them
}
