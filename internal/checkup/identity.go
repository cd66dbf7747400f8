package checkup

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/dump"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Identity is how a workload proves who it is.
type Identity struct {
	Proxy     mesh.ProxyID   `json:"proxy"`
	Type      mesh.ProxyType `json:"type"`
	Wanted    string         `json:"wanted,omitempty"` // SPIFFE ID that it is to prove; missing: none
	Connected bool           `json:"connected"`
	Proven    string         `json:"proven,omitempty"` // SPIFFE ID that it has proven to the control plane; missing: none
	State     State          `json:"state"`
	Why       string         `json:"why,omitempty"` // it is not good

	// What its agent says.
	Chain       []Certificate `json:"chain,omitempty"`  // its own first
	Trusts      []Certificate `json:"trusts,omitempty"` // the roots by which it trusts others
	RenewAt     time.Time     `json:"renewAt,omitzero"`
	LastError   string        `json:"lastError,omitempty"` // of the last attempt to renew it; missing: it went well
	LastErrorAt time.Time     `json:"lastErrorAt,omitzero"`
	SkewSeconds float64       `json:"skewSeconds"` // what the authority's clock was ahead of its own
	Renewals    int64         `json:"renewals"`
	Failures    int64         `json:"failures"`

	Envoy    Use    `json:"envoy,omitempty"` // missing: it has no Envoy, or none that could be asked about anything
	EnvoyWhy string `json:"envoyWhy,omitempty"`
}

// State says how it is with a workload's certificate.
type State string

// The states.
const (
	Good       State = "good"
	Past       State = "expired"
	None       State = "none"       // its agent has got none yet, or there is no agent that asks for one
	Elsewhere  State = "elsewhere"  // its agent does not run on this machine, or has said nothing yet
	Unreadable State = "unreadable" // what its agent says cannot be read
)

// Use says whether an Envoy uses what its agent holds.
type Use string

// What there is.
const (
	SameUse    Use = "same"
	AnotherUse Use = "another" // another certificate, or other roots
	UnknownUse Use = "unknown" // it could not be asked
)

// Certificate is what people see of a certificate.
type Certificate struct {
	Subject     string    `json:"subject,omitempty"`
	Issuer      string    `json:"issuer"`
	Serial      string    `json:"serial"`      // hexadecimal
	Fingerprint string    `json:"fingerprint"` // SHA-256, hexadecimal
	URIs        []string  `json:"uris,omitempty"`
	DNS         []string  `json:"dns,omitempty"`
	Addresses   []string  `json:"addresses,omitempty"`
	NotBefore   time.Time `json:"notBefore"`
	NotAfter    time.Time `json:"notAfter"`
}

// chain is a workload's certificate with those between it and a root, and the roots that it trusts.
type chain struct {
	certificates []*x509.Certificate
	roots        []*x509.Certificate
}

// Identities tells of all workloads, sorted.
func Identities(ctx context.Context, m Mesh) ([]Identity, error) {
	f, err := known(ctx, m)
	if err != nil {
		return nil, err
	}
	if err := f.each(ctx, func(s *seen) { s.lookAtIdentity(ctx, f.now) }); err != nil {
		return nil, err
	}
	list := []Identity{}
	for _, s := range f.seen {
		list = append(list, s.identity)
	}
	return list, nil
}

// One tells of the workload that a name means, in the spellings of [api.Client.Workload].
func One(ctx context.Context, m Mesh, name string) (Identity, error) {
	w, err := m.API.Workload(ctx, name)
	if err != nil {
		return Identity{}, err
	}
	proxies, err := m.API.Proxies(ctx)
	if err != nil {
		return Identity{}, err
	}
	var proxy *api.Proxy
	if i := slices.IndexFunc(proxies, func(p api.Proxy) bool { return p.ID == w.ID }); i >= 0 {
		proxy = &proxies[i]
	}
	s := place(m, w, proxy)
	s.look = m.Look // of all of them it would take too long
	s.lookAtIdentity(ctx, time.Now())
	return s.identity, nil
}

// tries bounds how often agent and Envoy are compared, while a certificate may just be on its way from one to the other.
const tries = 3

// lookAtIdentity reads what the agent says, and compares it with what Envoy says.
func (s *seen) lookAtIdentity(ctx context.Context, now time.Time) {
	for n := range tries {
		s.readStatus(ctx, now)
		if s.chain == nil || s.Type == mesh.Proxyless {
			return
		}
		if s.compareEnvoy(ctx); s.identity.Envoy != AnotherUse || n == tries-1 {
			return
		}
		timer := time.NewTimer(200 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// readStatus reads what the agent says.
func (s *seen) readStatus(ctx context.Context, now time.Time) {
	id := &s.identity
	s.chain, id.Chain, id.Trusts = nil, nil, nil
	status, err := s.status(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist) && id.Connected && id.Proven == "":
		id.State, id.Why = None, "it has connected without proving who it is"
		return
	case errors.Is(err, fs.ErrNotExist):
		id.State = Elsewhere
		return
	case err != nil:
		id.State, id.Why = Unreadable, err.Error()
		return
	}
	id.RenewAt, id.LastError, id.LastErrorAt = status.RenewAt, oneLine(status.LastError), status.LastErrorAt
	id.SkewSeconds, id.Renewals, id.Failures = status.SkewSeconds, status.Renewals, status.Failures
	if status.Chain == "" {
		id.State, id.Why = None, cmp.Or(id.LastError, "it asks for the first one")
		return
	}
	c := &chain{}
	if c.certificates, err = parse(status.Chain); err == nil {
		c.roots, err = parse(status.Roots)
	}
	if err != nil || len(c.certificates) == 0 {
		id.State, id.Why = Unreadable, fmt.Sprintf("%s: %v", filepath.Join(s.dir, "identity.json"), cmp.Or(err, errNoCertificate))
		return
	}
	s.chain, id.Chain, id.Trusts = c, describe(c.certificates), describe(c.roots)
	id.State, id.Why = Good, ""
	if now.After(c.certificates[0].NotAfter) {
		id.State, id.Why = Past, "since "+c.certificates[0].NotAfter.UTC().Format(time.RFC3339)
	}
}

// status returns what the agent says, and [fs.ErrNotExist] where nobody can know.
func (s *seen) status(ctx context.Context) (agent.Status, error) {
	switch {
	case s.dir != "":
		return agent.ReadStatus(s.dir)
	case s.look == nil:
		return agent.Status{}, fs.ErrNotExist
	}
	text, err := s.look(ctx, s.ID, agent.LookIdentity)
	if err != nil {
		return agent.Status{}, err
	}
	return agent.ParseStatus(text)
}

// certs returns the certificates that the Envoy uses.
func (s *seen) certs(ctx context.Context) ([]byte, error) {
	if s.dir == "" {
		return s.look(ctx, s.ID, agent.LookCertificates)
	}
	return dump.Socket(filepath.Join(s.dir, "admin.sock")).Get(ctx, "/certs")
}

var errNoCertificate = errors.New("there is no certificate in it")

// parse reads certificates in PEM. The text is at most as long as an agent's status.
func parse(text string) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return list, nil
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
}

func describe(all []*x509.Certificate) []Certificate {
	list := []Certificate{}
	for _, c := range all {
		one := Certificate{
			Subject: c.Subject.String(), Issuer: c.Issuer.String(), Serial: serial(c), Fingerprint: identity.Fingerprint(c),
			NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
		}
		if names, err := identity.NamesIn(c.Extensions); err == nil {
			one.URIs, one.DNS = names.URIs, names.DNS
			for _, ip := range names.Addresses {
				one.Addresses = append(one.Addresses, ip.String())
			}
		}
		list = append(list, one)
	}
	return list
}

func serial(c *x509.Certificate) string { return c.SerialNumber.Text(16) }

// envoyCertificates is a page of Envoy's admin interface (envoy.admin.v3.Certificates).
type envoyCertificates struct {
	Certificates []struct {
		Roots []envoyCertificate `json:"ca_cert"`
		Chain []envoyCertificate `json:"cert_chain"`
	} `json:"certificates"`
}

type envoyCertificate struct {
	Serial string `json:"serial_number"`
	Names  []struct {
		URI string `json:"uri"`
	} `json:"subject_alt_names"`
}

// isOf tells whether a certificate names somebody of the trust domain of a SPIFFE ID.
func (c *envoyCertificate) isOf(id identity.ID) bool {
	for _, name := range c.Names {
		if named, err := identity.Parse(name.URI); err == nil && named.TrustDomain == id.TrustDomain {
			return true
		}
	}
	return false
}

// compareEnvoy compares what Envoy uses with what the agent holds. Envoy names certificates by their numbers alone.
func (s *seen) compareEnvoy(ctx context.Context) {
	id := &s.identity
	id.Envoy, id.EnvoyWhy = UnknownUse, ""
	var page envoyCertificates
	text, err := s.certs(ctx)
	if s.silent = err != nil; !s.silent {
		err = json.Unmarshal(text, &page)
	}
	if err != nil {
		id.EnvoyWhy = oneLine(err.Error())
		return
	}
	own, err := identity.PeerOf(s.chain.certificates[0])
	if err != nil {
		id.EnvoyWhy = err.Error()
		return
	}
	roots := serials(s.chain.roots)
	for _, use := range page.Certificates {
		for i := range use.Chain {
			c := &use.Chain[i]
			switch {
			case !c.isOf(own.ID):
				continue
			case !sameSerial(c.Serial, serial(s.chain.certificates[0])):
				id.Envoy, id.EnvoyWhy = AnotherUse, "it uses the certificate with the number "+oneLine(c.Serial)
				return
			case !knownRoots(use.Roots, roots):
				id.Envoy, id.EnvoyWhy = AnotherUse, "it trusts by other roots"
				return
			}
			id.Envoy = SameUse
		}
	}
	if id.Envoy == UnknownUse {
		id.EnvoyWhy = "it uses none yet"
	}
}

func serials(all []*x509.Certificate) []string {
	var list []string
	for _, c := range all {
		list = append(list, serial(c))
	}
	return list
}

// sameSerial compares numbers in hexadecimal, which may have zeros before them.
func sameSerial(a, b string) bool {
	return strings.TrimLeft(strings.ToLower(a), "0") == strings.TrimLeft(strings.ToLower(b), "0")
}

// knownRoots tells whether Envoy trusts by roots of the agent alone. It may not name all that it has.
func knownRoots(has []envoyCertificate, want []string) bool {
	for _, c := range has {
		if !slices.ContainsFunc(want, func(w string) bool { return sameSerial(c.Serial, w) }) {
			return false
		}
	}
	return len(has) > 0
}
