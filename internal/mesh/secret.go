package mesh

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

// Certificate is a TLS certificate with its key, under the name by which Ingress objects ask for it.
type Certificate struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Origin    Position `json:"origin"`
	Chain     string   `json:"chain"` // PEM, the server's own certificate first
	Key       Secret   `json:"key"`   // PEM
}

// Path returns "default/shop-tls".
func (c *Certificate) Path() string { return c.Namespace + "/" + c.Name }

// Secret is what must not be shown. Printed, and written as JSON or text, it is a digest: equal secrets, equal digests.
type Secret struct{ value string }

// NewSecret makes a secret of a value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value, for the one place that needs it.
func (s Secret) Reveal() string { return s.value }

// String returns "secret:" and a digest.
func (s Secret) String() string {
	sum := sha256.Sum256([]byte(s.value))
	return "secret:" + hex.EncodeToString(sum[:8])
}

// GoString returns the same as String.
func (s Secret) GoString() string { return s.String() }

// MarshalText returns the same as String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Sealed is a Secret that is written whole: only for the way from the supervisor to the control plane, which goes over
// a socket of their user.
type Sealed struct{ Secret }

// MarshalText returns the value in base64.
func (s Sealed) MarshalText() ([]byte, error) {
	return []byte(base64.StdEncoding.EncodeToString([]byte(s.value))), nil
}

// UnmarshalText reads what MarshalText wrote.
func (s *Sealed) UnmarshalText(text []byte) error {
	value, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("read secret: %w", err)
	}
	s.value = string(value)
	return nil
}
