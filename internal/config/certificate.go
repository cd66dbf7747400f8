package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
)

// minRSA is the length in bits of the shortest RSA key that Envoy takes.
const minRSA = 2048

// UsableKey tells what keeps Envoy from taking a certificate with this public key.
func UsableKey(key any) error {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSA {
			return fmt.Errorf("the RSA key has %d bits: at least %d are needed", key.N.BitLen(), minRSA)
		}
		return nil
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() || key.Curve == elliptic.P384() || key.Curve == elliptic.P521() {
			return nil
		}
	}
	return errors.New("the certificate has a kind of key that proxies do not take: RSA, or ECDSA on P-256, P-384 or P-521, is needed")
}
