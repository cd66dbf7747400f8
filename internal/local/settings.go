package local

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lateen-mesh/lateen/internal/dialect/meshconfig"
	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const (
	mostBundle      = 4 << 20
	caBundleVarName = "SSL_CERT_FILE"
)

// systemBundles are where systems keep the authorities that they trust, as crypto/x509 looks for them on Linux.
var systemBundles = [...]string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Gentoo
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL 6
	"/etc/ssl/ca-bundle.pem",                            // OpenSUSE
	"/etc/pki/tls/cacert.pem",                           // OpenELEC
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // CentOS, RHEL 7
	"/etc/ssl/cert.pem",                                 // Alpine
}

// systemBundle returns the file with the authorities that the system trusts, "" when there is none.
func systemBundle(environ []string) string {
	for _, path := range append([]string{lookup(environ, caBundleVarName)}, systemBundles[:]...) {
		if path == "" {
			continue
		}
		if file, err := os.Stat(path); err != nil || !file.Mode().IsRegular() {
			continue
		}
		if whole, err := filepath.Abs(path); err == nil {
			return whole
		}
	}
	return ""
}

// settings reads the settings of the mesh.
func (r *reader) settings(s *settingsSpec) {
	r.hasSettings = true
	set := mesh.DefaultSettings
	if s.ConnectTimeout != nil {
		set.ConnectTimeout = meshconfig.ConnectTimeout(&r.Check, "spec.settings.connectTimeout", s.ConnectTimeout)
	}
	set.DNSResolvers = meshconfig.Resolvers(&r.Check, "spec.settings.dnsResolvers", s.DNSResolvers)
	if s.CABundle != "" {
		set.CABundle = r.bundle("spec.settings.caBundle", s.CABundle)
	}
	set.NoAccessLog = s.AccessLogFile != nil && *s.AccessLogFile == ""
	if s.AuthPolicy != nil {
		set.AuthPolicy = meshconfig.AuthPolicy(&r.Check, "spec.settings.authPolicy", *s.AuthPolicy)
	}
	if s.ControlPlaneAuthPolicy != nil {
		r.controlPlanePolicy("spec.settings.controlPlaneAuthPolicy", *s.ControlPlaneAuthPolicy)
	}
	r.excludedServices("spec.settings.mtlsExcludedServices", s.MTLSExcludedServices)
	r.mesh.Settings = set
}

// bundle returns the whole path of a file that must hold certificates.
func (r *reader) bundle(path, name string) string {
	name = r.file(name)
	text, err := readBounded(name, mostBundle)
	switch {
	case err != nil:
		r.invalid(path, "the file cannot be read: "+err.Error(), "")
	case !x509.NewCertPool().AppendCertsFromPEM(text):
		r.invalid(path, "there is no certificate in "+name, "it holds the authorities in PEM, one after the other")
	}
	if whole, err := filepath.Abs(name); err == nil {
		return whole
	}
	return name
}

// file returns the path of a file that a document names.
func (r *reader) file(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(r.folder(), name)
}

// readBounded returns what is in a file, which must be a regular one of at most so many bytes.
func readBounded(path string, most int64) ([]byte, error) {
	text, err := disk.ReadFile(path, most)
	if failed, ok := errors.AsType[*os.PathError](err); ok {
		err = failed.Err // without the name of the system call
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}
