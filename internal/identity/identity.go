// Package identity holds what tells workloads apart: SPIFFE IDs, the certificates that prove them, and the roots by which
// such certificates are trusted.
//
// An [ID] names an account of a namespace in a trust domain. A certificate speaks for a [Peer]: an ID, and the one workload
// instance that it was given to. A [Bundle] holds the roots of a trust domain, of which there may be several while one takes
// the place of another. The forms are those of SPIFFE (https://github.com/spiffe/spiffe/tree/main/standards: SPIFFE-ID,
// X509-SVID).
//
// Everything read here comes from outside and is checked: an ID or a certificate that breaks a rule is an error, never a
// guess.
package identity

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// ControlPlane returns the identity of the control plane in a trust domain. Agents and proxies accept no other one.
func ControlPlane(trustDomain string) ID {
	return ID{TrustDomain: trustDomain, Namespace: "lateen-system", Account: "lateen"}
}

const (
	scheme = "spiffe"
	// maxID bounds an ID in bytes (SPIFFE-ID, 2.3).
	maxID = 2048
	// maxTrustDomain bounds the name of a trust domain in bytes (SPIFFE-ID, 2.3).
	maxTrustDomain = 255
)

// ID is the SPIFFE ID of an account: spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT. The zero value names nobody.
type ID struct {
	TrustDomain string
	Namespace   string
	Account     string
}

// String returns the ID as a URI. That of the zero value is "".
func (id ID) String() string {
	if id == (ID{}) {
		return ""
	}
	return scheme + "://" + id.TrustDomain + "/ns/" + id.Namespace + "/sa/" + id.Account
}

// URL returns the ID as a certificate carries it.
func (id ID) URL() *url.URL {
	return &url.URL{Scheme: scheme, Host: id.TrustDomain, Path: "/ns/" + id.Namespace + "/sa/" + id.Account}
}

// Parse reads what [ID.String] wrote. There is one way to write an ID, and no other is taken.
func Parse(text string) (ID, error) {
	if len(text) > maxID {
		return ID{}, fmt.Errorf("a SPIFFE ID of %d bytes: at most %d", len(text), maxID)
	}
	rest, ok := strings.CutPrefix(text, scheme+"://")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" {
		return ID{}, fmt.Errorf("%q is not of the form spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT", text)
	}
	id := ID{TrustDomain: parts[0], Namespace: parts[2], Account: parts[4]}
	if err := id.Check(); err != nil {
		return ID{}, fmt.Errorf("%q: %w", text, err)
	}
	return id, nil
}

// Check returns an error unless the ID can be written and read.
func (id ID) Check() error {
	return errors.Join(CheckTrustDomain(id.TrustDomain), checkSegment("namespace", id.Namespace), checkSegment("account", id.Account))
}

// CheckTrustDomain returns an error unless the text can be the name of a trust domain (SPIFFE-ID, 2.1).
func CheckTrustDomain(name string) error {
	if name == "" || len(name) > maxTrustDomain {
		return fmt.Errorf("a trust domain has 1 to %d bytes", maxTrustDomain)
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r) {
			return fmt.Errorf("trust domain %q: only a-z, 0-9, -, . and _ can stand in it", name)
		}
	}
	return nil
}

// checkSegment checks a segment of an ID's path (SPIFFE-ID, 2.2).
func checkSegment(what, text string) error {
	if text == "" || text == "." || text == ".." {
		return fmt.Errorf("%q is no %s", text, what)
	}
	for _, r := range text {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r) {
			return fmt.Errorf("%s %q: only letters, digits, -, . and _ can stand in it", what, text)
		}
	}
	return nil
}
