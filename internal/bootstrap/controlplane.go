package bootstrap

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/identity"
)

// UnixPrefix begins the address of a Unix socket.
const UnixPrefix = "unix:"

// ServerName is what those who dial Lateen call it in the TLS handshake. Whom they have reached they know by its SPIFFE ID.
const ServerName = "lateen"

// clusters returns what Envoy needs to reach Lateen.
func (c Config) clusters() (list, error) {
	if c.ControlPlane == "" {
		plain, err := grpcCluster(xdsCluster, c.PlainXDS)
		return list{plain}, err
	}
	secure, err := c.secure()
	if err != nil {
		return nil, err
	}
	agent, err := grpcCluster(envoy.SDSCluster, UnixPrefix+c.SDSSocket)
	return list{agent, secure}, err
}

// secure is the cluster of the control plane over mutual TLS.
func (c Config) secure() (object, error) {
	if strings.HasPrefix(c.ControlPlane, UnixPrefix) {
		return nil, fmt.Errorf("the control plane at %s: with an identity it is reached at HOST:PORT", c.ControlPlane)
	}
	if err := identity.CheckTrustDomain(c.TrustDomain); err != nil {
		return nil, err
	}
	cluster, err := grpcCluster(xdsCluster, c.ControlPlane)
	if err != nil {
		return nil, err
	}
	cluster["transport_socket"] = extension("envoy.transport_sockets.tls", "extensions.transport_sockets.tls.v3.UpstreamTlsContext", object{
		"sni": ServerName,
		"common_tls_context": object{
			"tls_params":                         object{"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
			"alpn_protocols":                     list{"h2"},
			"tls_certificate_sds_secret_configs": list{fromAgent(envoy.IdentitySecret)},
			"combined_validation_context": object{
				"default_validation_context": object{"match_typed_subject_alt_names": list{object{
					"san_type": "URI", "matcher": object{"exact": identity.ControlPlane(c.TrustDomain).String()},
				}}},
				"validation_context_sds_secret_config": fromAgent(envoy.TrustSecret),
			},
		},
	})
	return cluster, nil
}

// fromAgent is a secret that comes as [envoy.AgentSecrets] says.
func fromAgent(secret string) object {
	return object{"name": secret, "sds_config": object{
		"resource_api_version": "V3", "initial_fetch_timeout": "0s",
		"api_config_source": object{
			"api_type": "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": true,
			"grpc_services": list{object{"envoy_grpc": object{"cluster_name": envoy.SDSCluster}}},
		},
	}}
}

const httpOptions = "extensions.upstreams.http.v3.HttpProtocolOptions"

// grpcCluster is a cluster of one server that is spoken to in gRPC, HTTP/2 that is kept alive.
func grpcCluster(name, target string) (object, error) {
	cluster := object{
		"name":            name,
		"connect_timeout": "1s",
		"typed_extension_protocol_options": object{"envoy." + httpOptions: object{
			"@type": "type.googleapis.com/envoy." + httpOptions,
			"explicit_http_config": object{"http2_protocol_options": object{
				"connection_keepalive": object{"interval": "30s", "timeout": "10s"},
			}},
		}},
	}
	address, err := find(cluster, target)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", name, err)
	}
	cluster["load_assignment"] = object{
		"cluster_name": name,
		"endpoints":    list{object{"lb_endpoints": list{object{"endpoint": object{"address": address}}}}},
	}
	return cluster, nil
}

// find says how the server of a cluster is found, and returns its address.
func find(cluster object, target string) (object, error) {
	cluster["type"] = "STATIC"
	if path, ok := strings.CutPrefix(target, UnixPrefix); ok {
		return pipe(path, 0), checkSocket(path)
	}
	host, port, err := hostPort(target)
	if err != nil {
		return nil, err
	}
	// The system chooses the source of connections: the workload's own address may lead nowhere.
	cluster["upstream_bind_config"] = object{
		"source_address": source("0.0.0.0"), "extra_source_addresses": list{object{"address": source("::")}},
	}
	if _, err := netip.ParseAddr(host); err != nil {
		delete(cluster, "type")
		cluster["cluster_type"] = extension("envoy.clusters.dns", "extensions.clusters.dns.v3.DnsCluster",
			object{"respect_dns_ttl": true, "dns_lookup_family": preferIPv4})
	}
	return object{"socket_address": object{"address": host, "port_value": port}}, nil
}

// hostPort splits the address of a server.
func hostPort(target string) (host string, port uint32, err error) {
	host, text, err := net.SplitHostPort(target)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("%q is not HOST:PORT", target)
	}
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil || number == 0 {
		return "", 0, fmt.Errorf("%q is not HOST:PORT: %q is no port", target, text)
	}
	return host, uint32(number), nil
}

// CheckAddress returns an error unless Lateen can be at such an address: HOST:PORT or, where a socket may be, "unix:PATH".
func CheckAddress(address string, socketToo bool) error {
	path, isSocket := strings.CutPrefix(address, UnixPrefix)
	switch {
	case isSocket && !socketToo:
		return fmt.Errorf("%q is not HOST:PORT", address)
	case isSocket:
		return checkSocket(path)
	}
	_, _, err := hostPort(address)
	return err
}

func checkSocket(path string) error {
	if path == "" {
		return errors.New("a socket needs a path")
	}
	if len(path) > maxSocketPath {
		return fmt.Errorf("socket path %s has %d bytes: at most %d are possible", path, len(path), maxSocketPath)
	}
	return nil
}

func pipe(path string, mode int) object { return object{"pipe": object{"path": path, "mode": mode}} }
