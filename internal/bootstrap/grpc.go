package bootstrap

import (
	"encoding/json"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// The files with the identity of a workload without a proxy, in a folder that its agent keeps.
const (
	CertificateFile = "cert.pem" // its chain, leaf first
	KeyFile         = "key.pem"
	RootsFile       = "root.pem" // by which it trusts others
)

// refresh is how often the gRPC library looks for a new certificate.
const refresh = "60s"

// GRPC is what the gRPC library of a workload without a proxy starts with (gRFC A27, A65).
type GRPC struct {
	Node         mesh.Node
	ControlPlane string // HOST:PORT where Lateen answers over mutual TLS; "": as PlainXDS says
	Certificates string // with ControlPlane: path of the folder with [CertificateFile] and the like
	PlainXDS     string // where Lateen answers without TLS: "unix:PATH", for a socket of its user, or HOST:PORT
}

// JSON returns the file.
func (g GRPC) JSON() ([]byte, error) {
	server, credentials := g.PlainXDS, object{"type": "insecure"}
	if g.ControlPlane != "" {
		server, credentials = g.ControlPlane, object{"type": "tls", "config": object{
			"certificate_file":    filepath.Join(g.Certificates, CertificateFile),
			"private_key_file":    filepath.Join(g.Certificates, KeyFile),
			"ca_certificate_file": filepath.Join(g.Certificates, RootsFile),
			"refresh_interval":    refresh,
		}}
	}
	if err := CheckAddress(server, g.ControlPlane == ""); err != nil {
		return nil, err
	}
	if path, ok := strings.CutPrefix(server, UnixPrefix); ok {
		server = (&url.URL{Scheme: "unix", Path: path}).String()
	}
	text, err := json.MarshalIndent(object{
		"xds_servers": []object{{
			"server_uri":      server,
			"channel_creds":   []object{credentials},
			"server_features": []string{"xds_v3"},
		}},
		"node": object{"id": g.Node.String()},
	}, "", "  ")
	return append(text, '\n'), err
}
