package ingress

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// tlsType is the type of Secrets that hold a certificate and its key.
const tlsType = "kubernetes.io/tls"

// The keys of such a Secret.
const (
	certificateKey = "tls.crt"
	privateKey     = "tls.key"
)

// translateSecret checks a Secret and returns the certificate in it. Secrets of other types mean nothing.
func translateSecret(o *config.Object) (config.Meaning, []mesh.Problem) {
	s := secret{config.Check{Object: o}}
	var kind string
	s.Decode("type", &kind)
	if kind != tlsType {
		return config.Meaning{}, s.Problems
	}
	chain, chainField := s.value(certificateKey)
	key, keyField := s.value(privateKey)
	if len(s.Problems) > 0 {
		return config.Meaning{}, s.Problems
	}
	certificates := s.certificates(chainField, chain)
	private := s.key(keyField, key)
	if len(s.Problems) > 0 {
		return config.Meaning{}, s.Problems
	}
	if _, err := tls.X509KeyPair(certificates, private); err != nil {
		s.bad(keyField, "the key does not belong to the certificate, or is damaged")
		return config.Meaning{}, s.Problems
	}
	return config.Meaning{Certificates: []*mesh.Certificate{{
		Namespace: o.Namespace, Name: o.Name, Origin: o.Origin, Chain: string(certificates), Key: mesh.NewSecret(string(private)),
	}}}, nil
}

// secret checks one Secret. What it tells holds nothing of the values.
type secret struct{ config.Check }

func (s *secret) bad(field, message string) {
	s.Tell(mesh.Problem{Field: field, Code: config.CodeInvalidValue, Message: message})
}

// value returns what the Secret holds under a key, and where it stands: as text in stringData, else in base64 in data.
// The decoder of package config is kept from the values, since its problems quote what they are about.
func (s *secret) value(key string) (value, field string) {
	for _, holder := range []string{"stringData", "data"} {
		var table yaml.Node
		s.Decode(holder, &table)
		switch {
		case table.Kind == 0 || table.ShortTag() == "!!null":
			continue
		case table.Kind != yaml.MappingNode:
			s.Tell(mesh.Problem{Field: holder, Code: config.CodeWrongType, Message: "want a mapping of keys to values"})
			return "", ""
		}
		field = config.Key(holder, key)
		var node yaml.Node
		s.Decode(field, &node)
		switch {
		case node.Kind == 0:
			continue
		case node.Kind != yaml.ScalarNode || node.ShortTag() != "!!str":
			s.Tell(mesh.Problem{Field: field, Code: config.CodeWrongType, Message: "want text"})
			return "", field
		case holder == "stringData":
			return node.Value, field
		}
		decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(node.Value), ""))
		if err != nil {
			s.bad(field, "the value is not in base64")
		}
		return string(decoded), field
	}
	field = config.Key("data", key)
	s.Missing(field, fmt.Sprintf("a Secret of type %s needs the key %s", tlsType, key))
	return "", field
}

// certificates returns the certificates of a PEM text, and nothing else of it.
func (s *secret) certificates(field, text string) []byte {
	var out []byte
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			s.bad(field, "a certificate in it cannot be read")
			return nil
		}
		if len(out) == 0 {
			if err := config.UsableKey(c.PublicKey); err != nil {
				s.bad(field, err.Error())
				return nil
			}
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
	}
	if len(out) == 0 {
		s.bad(field, "there is no certificate in it: PEM is wanted, -----BEGIN CERTIFICATE-----")
	}
	return out
}

// key returns the private key of a PEM text, and nothing else of it.
func (s *secret) key(field, text string) []byte {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "PRIVATE KEY" && !strings.HasSuffix(block.Type, " PRIVATE KEY") {
			continue
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			s.bad(field, "the key is encrypted: nobody could tell its password")
			return nil
		}
		return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})
	}
	s.bad(field, "there is no private key in it: PEM is wanted, -----BEGIN PRIVATE KEY-----")
	return nil
}
