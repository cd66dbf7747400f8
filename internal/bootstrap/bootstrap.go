// Package bootstrap writes what an Envoy starts with: who it is, where Lateen is, where its admin interface listens.
// Everything else comes over xDS.
//
// With an identity Envoy dials Lateen over mutual TLS and takes nobody else for it; certificate and roots come from the agent
// beside it. Without one it is plain text. [GRPC] is the same for the gRPC library of a workload without an Envoy.
//
// The settings that keep an idle proxy small stand here: statistics and clusters are created when they are first
// used, and only the statistics that somebody reads are created at all.
//
// It is JSON here from the beginning, and tests read it as Envoy's messages: to make those costs an agent more than
// anything else that it does when it starts.
package bootstrap

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Config says what one Envoy starts with.
type Config struct {
	Node         mesh.Node
	ControlPlane string // HOST:PORT where Lateen answers over mutual TLS; "": as PlainXDS says
	TrustDomain  string // with ControlPlane: of the control plane, which must prove that
	SDSSocket    string // with ControlPlane: path of the agent's Unix socket, which tells certificate and roots
	PlainXDS     string // where Lateen answers an Envoy without an identity: "unix:PATH" or HOST:PORT
	AdminSocket  string // path of the Unix socket for Envoy's admin interface, made with mode 0600
	BindSource   bool   // use the node's address as source of every connection of its family, so that peers can tell who calls
}

const (
	// xdsCluster is where Lateen is. Envoy makes its static clusters in the order of their names, and one that has its secrets
	// from a cluster which is yet to come finds nobody to ask, and loses half a second: this comes after [envoy.SDSCluster].
	xdsCluster    = "xds"
	maxSocketPath = 107 // sockaddr_un, less the closing zero byte
	reconnectMin  = "0.1s"
	reconnectMax  = "1s"
	// maxConnections is what an Envoy takes from others at once.
	maxConnections = 20_000
	// maxProgram bounds a compiled regular expression, in RE2's instructions.
	maxProgram = 30_000
	// preferIPv4 asks for IPv6 addresses only of names without others.
	preferIPv4 = "V4_PREFERRED"
)

// object and list are those of JSON.
type (
	object = map[string]any
	list   = []any
)

// JSON returns the bootstrap as JSON, which Envoy takes with --config-path.
func (c Config) JSON() ([]byte, error) {
	if err := checkSocket(c.AdminSocket); err != nil {
		return nil, err
	}
	clusters, err := c.clusters()
	if err != nil {
		return nil, err
	}
	manager := object{"enable_deferred_cluster_creation": true}
	if c.BindSource {
		manager["upstream_bind_config"] = object{
			"source_address": source(c.Node.Address), "extra_source_addresses": list{object{"address": source(anyOfTheOtherFamily(c.Node.Address))}},
		}
	}
	text, err := json.MarshalIndent(object{
		"node":                  object{"id": c.Node.String(), "cluster": c.Node.Name},
		"admin":                 object{"address": pipe(c.AdminSocket, 0o600)},
		"static_resources":      object{"clusters": clusters},
		"dynamic_resources":     object{"ads_config": deltaADS(), "lds_config": ads(), "cds_config": ads()},
		"cluster_manager":       manager,
		"deferred_stat_options": object{"enable_deferred_creation_stats": true},
		"stats_config":          object{"stats_matcher": object{"inclusion_list": object{"patterns": statistics()}}},
		"bootstrap_extensions":  list{extensions()},
		"layered_runtime":       object{"layers": list{runtime()}},
		"overload_manager":      object{"resource_monitors": list{limits()}},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("bootstrap of %s: %w", c.Node.ID(), err)
	}
	return text, nil
}

// extension is a part of Envoy that is configured by a message of its own. The name of the message is what follows "envoy.".
func extension(name, message string, config object) object {
	typed := object{"@type": "type.googleapis.com/envoy." + message}
	maps.Copy(typed, config)
	return object{"name": name, "typed_config": typed}
}

// extensions lets listeners be reached from inside the proxy, for what comes through CONNECT.
func extensions() object {
	return extension("envoy.bootstrap.internal_listener", "extensions.bootstrap.internal_listener.v3.InternalListener", nil)
}

// runtime lets Envoy compile the regular expressions that the dialects let through: by itself it refuses those of more
// than 100 instructions.
func runtime() object {
	return object{"name": "lateen", "static_layer": object{"re2.max_program_size.error_level": maxProgram}}
}

// limits bounds the connections that a proxy takes, so that a flood of them ends at the door.
func limits() object {
	return extension("envoy.resource_monitors.global_downstream_max_connections",
		"extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
		object{"max_active_downstream_connections": maxConnections})
}

// statistics lists the statistics that are read: the proxy's own state, the connections and requests by which an agent sees
// that its Envoy has drained, and who has called without proving an identity.
func statistics() list {
	var patterns list
	for _, prefix := range []string{
		"server.", "cluster_manager.", "listener_manager.", "control_plane.", "http.", "tcp.inbound", "listener.", "lateen.",
	} {
		patterns = append(patterns, object{"prefix": prefix})
	}
	return patterns
}

// deltaADS is the one stream with the control plane. A proxy that lost it comes back soon, and not with all others at once.
func deltaADS() object {
	return object{
		"api_type":                       "DELTA_GRPC",
		"transport_api_version":          "V3",
		"set_node_on_first_message_only": true,
		"grpc_services": list{object{"envoy_grpc": object{
			"cluster_name": xdsCluster,
			"retry_policy": object{"retry_back_off": object{"base_interval": reconnectMin, "max_interval": reconnectMax}},
		}}},
	}
}

// ads is what comes over that stream. Until it is there for the first time an Envoy is not ready, however long that takes.
func ads() object {
	return object{"resource_api_version": "V3", "ads": object{}, "initial_fetch_timeout": "0s"}
}

// source is an address from which connections are made, from any port.
// anyOfTheOtherFamily is the address by which the system chooses a source of the family that an address is not of.
func anyOfTheOtherFamily(ip string) string {
	if a, err := netip.ParseAddr(ip); err == nil && !a.Unmap().Is4() {
		return "0.0.0.0"
	}
	return "::"
}

func source(ip string) object { return object{"address": ip, "port_value": 0} }
