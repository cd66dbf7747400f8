package attest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// A token is text: a word for the form, the pin of the authority that knows it, and a secret, with dots between.
const (
	tokenForm  = "lateen1"
	secretSize = 32
	pinSize    = 16
)

// Pin is the beginning of the SHA-256 of a root certificate. By it an agent knows the root before it trusts anybody.
type Pin [pinSize]byte

// PinOf returns the pin of a root.
func PinOf(root *x509.Certificate) Pin {
	sum := sha256.Sum256(root.Raw)
	return Pin(sum[:pinSize])
}

// Token is a join token. It is a secret: print it for whoever is to have it, and nowhere else.
type Token struct {
	Pin    Pin // of the root of the authority that knows it
	secret [secretSize]byte
}

// newToken returns a token that nobody knows.
func newToken(pin Pin) Token {
	t := Token{Pin: pin}
	rand.Read(t.secret[:])
	return t
}

// errNoToken says nothing of the text, which may be a secret with a slip in it.
var errNoToken = errors.New("this is no join token: one has the form lateen1.PIN.SECRET")

// ParseToken reads what [Token.Reveal] wrote, white space around it left aside. There is one way to write a token.
func ParseToken(text string) (Token, error) {
	if len(text) > 1024 {
		return Token{}, errNoToken
	}
	parts := strings.Split(strings.TrimSpace(text), ".")
	if len(parts) != 3 || parts[0] != tokenForm {
		return Token{}, errNoToken
	}
	var t Token
	if !decode(t.Pin[:], parts[1]) || !decode(t.secret[:], parts[2]) {
		return Token{}, errNoToken
	}
	return t, nil
}

// decode fills the bytes with what a text encodes, and tells whether it does so exactly.
func decode(to []byte, text string) bool {
	data, err := encoding().DecodeString(text)
	return err == nil && copy(to, data) == len(data) && len(data) == len(to) && encoding().EncodeToString(to) == text
}

func encoding() *base64.Encoding { return base64.RawURLEncoding.Strict() }

// Reveal returns the token as text.
func (t Token) Reveal() string {
	return tokenForm + "." + encoding().EncodeToString(t.Pin[:]) + "." + encoding().EncodeToString(t.secret[:])
}

// String keeps the secret out of logs.
func (t Token) String() string {
	return tokenForm + "." + encoding().EncodeToString(t.Pin[:]) + ".[redacted]"
}

// Format does so whatever the verb.
func (t Token) Format(s fmt.State, _ rune) { fmt.Fprint(s, t.String()) }

// digest is what is kept of a token.
type digest [sha256.Size]byte

func (t Token) digest() digest { return sha256.Sum256([]byte(t.Reveal())) }
