package meshtest

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/netns"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// Config says how the control plane of a mesh runs.
type Config struct {
	Version string
	Alter   func(*xds.Resource) // see [push.Config]
	CertTTL time.Duration       // of workloads' certificates; 0: a day
	network *netns.Network      // on which captured instances are
	// Families are those of which captured instances and their services have addresses, the first one first; none: IPv4.
	Families []netns.Family
	// Agent returns what runs beside an instance's Envoy in the place of this version's agent, and writes [agent.Ready] to the
	// configuration's Events; nil: this version's.
	Agent func(agent.Config) (run func(context.Context) error)
	// XDS are options of the control plane's servers for proxies and agents.
	XDS []grpc.ServerOption
	// Plain gives the instances no identity: their Envoys are told over plain xDS what to do.
	Plain bool
	// Serve runs a control plane on a state folder outside this process, which answers over mutual TLS at an address, and
	// returns what ends it.
	Serve func(stateDir, secure string) (stop func())
}
