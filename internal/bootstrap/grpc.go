package bootstrap

import (
	"encoding/json"
	"net/url"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// GRPC is what the gRPC library of a workload without a proxy starts with (gRFC A27). Lateen is reached over a Unix socket
// of its user, so nothing is encrypted.
type GRPC struct {
	Node      mesh.Node
	XDSSocket string
}

// JSON returns the file.
func (g GRPC) JSON() ([]byte, error) {
	type object = map[string]any
	socket := url.URL{Scheme: "unix", Path: g.XDSSocket}
	text, err := json.MarshalIndent(object{
		"xds_servers": []object{{
			"server_uri":      socket.String(),
			"channel_creds":   []object{{"type": "insecure"}},
			"server_features": []string{"xds_v3"},
		}},
		"node": object{"id": g.Node.String()},
	}, "", "  ")
	return append(text, '\n'), err
}
