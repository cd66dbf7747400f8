package local

import (
	"crypto/tls"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Bounds of a file with a certificate or a key, and of all of them together: the control plane is told them in one piece.
const (
	mostCertificate  = 64 << 10
	mostCertificates = 2 << 20
)

// ingress reads what a document says about the door.
func (r *reader) ingress(s *ingressSpec) {
	door := &Door{Address: loopback.String(), Port: ingressPort, Origin: r.Object.At("spec.ingress")}
	if s.Port != nil {
		door.Port = int(*s.Port)
		r.port("spec.ingress.port", *s.Port)
	}
	if s.Address != "" {
		door.Address = s.Address
		if _, err := netip.ParseAddr(s.Address); err != nil {
			r.invalid("spec.ingress.address", "the address must be an IP address", "0.0.0.0 takes requests from other machines too")
		}
	}
	if s.HTTPSPort != nil {
		door.HTTPSPort = int(*s.HTTPSPort)
		r.port("spec.ingress.httpsPort", *s.HTTPSPort)
		if door.HTTPSPort == door.Port {
			r.invalid("spec.ingress.httpsPort", "the port without TLS has this number", "choose another one, such as 8443")
		}
	}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(s.Certificates)) {
		if total += r.certificate(name, s.Certificates[name]); total > mostCertificates {
			r.Tell(mesh.Problem{
				Field: "spec.ingress.certificates", Code: config.CodeTooLarge, Message: "the certificates together have more than 2 MiB",
			})
			break
		}
	}
	r.mesh.Ingress = door
}

// Beside returns the files that a Mesh document names and that are read with it: those of its certificates.
func Beside(o *config.Object) []string {
	if o.Kind != kindMesh {
		return nil
	}
	r := &reader{Check: config.Check{Object: o}}
	certificates := map[string]certificateSpec{}
	_ = config.Decode(o, "spec.ingress.certificates", &certificates) // what is wrong is told by Check
	var files []string
	for _, name := range slices.Sorted(maps.Keys(certificates)) {
		for _, file := range []string{certificates[name].Cert, certificates[name].Key} {
			if file != "" {
				files = append(files, r.file(file))
			}
		}
	}
	return files
}

// certificate reads a certificate of the door with its key, and returns how large they are.
func (r *reader) certificate(name string, s certificateSpec) int {
	path := config.Key("spec.ingress.certificates", name)
	if !config.IsDomain(name) {
		r.Tell(mesh.Problem{
			Field: path, Code: config.CodeInvalidName, Message: "this is no name of a secret",
			Hint: "it is the secretName by which Ingress objects ask for the certificate",
		})
	}
	chain, chainRead := r.pem(path+".cert", s.Cert)
	key, keyRead := r.pem(path+".key", s.Key)
	if !chainRead || !keyRead {
		return 0
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err == nil {
		err = config.UsableKey(pair.Leaf.PublicKey)
	}
	if err != nil {
		r.invalid(path, "this is no certificate with its key: "+strings.TrimPrefix(err.Error(), "tls: "), "both files hold PEM, the server's own certificate first")
		return 0
	}
	r.mesh.Certificates = append(r.mesh.Certificates, mesh.SealedCertificate{
		Namespace: r.Object.Namespace, Name: name, Origin: r.Object.At(path),
		Chain: string(chain), Key: mesh.Sealed{Secret: mesh.NewSecret(string(key))},
	})
	return len(chain) + len(key)
}

// pem reads the file that a field names, and reports it if there is none.
func (r *reader) pem(path, name string) ([]byte, bool) {
	if name == "" {
		r.Missing(path, "a certificate needs the files of its chain and of its key, such as {cert: shop.crt, key: shop.key}")
		return nil, false
	}
	text, err := readBounded(r.file(name), mostCertificate)
	if err != nil {
		r.invalid(path, "the file cannot be read: "+err.Error(), "")
	}
	return text, err == nil
}
