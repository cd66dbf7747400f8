package agent

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/bootstrap"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Config says which Envoy to start and where. [Config.Args] and [Config.Flags] carry it over a command line.
type Config struct {
	Name        string        // of the proxy, "reviews-v2-0.default"
	Envoy       string        // path of the program
	Bootstrap   string        // path of its configuration; "": the agent writes DIR/bootstrap.json, as Node says
	Dir         string        // folder to run in; relative paths in Envoy's configuration start there
	AdminSocket string        // where Envoy's admin interface listens; "": DIR/admin.sock
	DrainTime   time.Duration // how long connections are asked to go before new ones are refused; whole seconds
	Health      string        // where the agent tells how Envoy is: HOST:PORT, or the path of a Unix socket; "": nowhere

	// Of the configuration that the agent writes itself.
	Node      string // ID of the proxy, "reviews-v2-0.default"; Name, unless that is given too
	Type      string // "sidecar" or "ingress"
	Address   string // IP address of the workload
	Domain    string // DNS suffix of services
	XDSSocket string // where the control plane answers

	Log    *slog.Logger
	Events io.Writer // takes a line per [Event]
}

// Flags defines the flags of the command that runs an agent.
func (c *Config) Flags(f *flag.FlagSet) {
	f.StringVar(&c.Name, "name", "", "name of the proxy in the log (default: what --node says)")
	f.StringVar(&c.Envoy, "envoy", "", "path of Envoy (default: LATEEN_ENVOY, beside this program, on PATH)")
	f.StringVar(&c.Bootstrap, "bootstrap", "", "path of Envoy's configuration (default: one that the flags below make)")
	f.StringVar(&c.Dir, "dir", ".", "folder to run Envoy in")
	f.StringVar(&c.AdminSocket, "admin-socket", "", "path of the socket of Envoy's admin interface (default: admin.sock in --dir)")
	f.DurationVar(&c.DrainTime, "drain-time", 5*time.Second, "how long to drain Envoy, in whole seconds")
	f.StringVar(&c.Health, "health-address", "", "HOST:PORT, or path of a Unix socket, for /healthz/ready and /metrics (default: none)")
	f.StringVar(&c.Node, "node", "", "proxy as the control plane knows it, NAME.NAMESPACE")
	f.StringVar(&c.Type, "type", string(mesh.Sidecar), "what the proxy is, sidecar or ingress")
	f.StringVar(&c.Address, "address", "", "IP address of the workload")
	f.StringVar(&c.XDSSocket, "xds-socket", "", "path of the control plane's socket for proxies (default: xds.sock in --state-dir)")
}

// Args returns the arguments that [Config.Flags] reads.
func (c *Config) Args() []string {
	args := []string{"--dir", c.Dir, "--drain-time", c.DrainTime.String()}
	for _, f := range []struct{ name, value string }{
		{"--name", c.Name},
		{"--envoy", c.Envoy},
		{"--bootstrap", c.Bootstrap},
		{"--admin-socket", c.AdminSocket},
		{"--health-address", c.Health},
		{"--node", c.Node},
		{"--type", c.Type},
		{"--address", c.Address},
		{"--xds-socket", c.XDSSocket},
	} {
		if f.value != "" {
			args = append(args, f.name, f.value)
		}
	}
	return args
}

// AccessLog is the path of the access log that Envoy writes.
func (c *Config) AccessLog() string { return filepath.Join(c.Dir, accessLogName) }

// Misused is the error that a configuration says too little, or what cannot be.
type Misused struct {
	Reason string
	Advice string
}

func (e *Misused) Error() string { return e.Reason }

// Hint returns the next step.
func (e *Misused) Hint() string { return e.Advice }

// complete fills in what follows from the rest.
func (c *Config) complete() error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return fmt.Errorf("folder of envoy: %w", err)
	}
	c.Dir = dir
	if c.AdminSocket == "" {
		c.AdminSocket = filepath.Join(dir, "admin.sock")
	}
	if c.Name == "" {
		c.Name = c.Node
	}
	if c.Bootstrap == "" && c.Node == "" {
		return &Misused{"nothing says which proxy this is", "name it with --node NAME.NAMESPACE --address IP, or give Envoy's whole configuration with --bootstrap"}
	}
	return nil
}

// node returns what the control plane is told.
func (c *Config) node() (mesh.Node, error) {
	dot := strings.LastIndexByte(c.Node, '.')
	if dot <= 0 || dot == len(c.Node)-1 {
		return mesh.Node{}, &Misused{fmt.Sprintf("%q is not the name of a proxy", c.Node), "--node takes NAME.NAMESPACE, such as reviews-v1-0.default"}
	}
	if _, err := netip.ParseAddr(c.Address); err != nil {
		return mesh.Node{}, &Misused{fmt.Sprintf("%q is not an IP address", c.Address), "--address takes that of the workload"}
	}
	n := mesh.Node{
		Type: mesh.ProxyType(c.Type), Address: c.Address, Name: c.Node[:dot], Namespace: c.Node[dot+1:], Domain: c.Domain,
	}
	if _, err := mesh.ParseNode(n.String()); err != nil {
		return n, &Misused{err.Error(), "--type takes sidecar or ingress"}
	}
	return n, nil
}

// writeBootstrap writes what Envoy starts with, unless that was given.
func (c *Config) writeBootstrap() error {
	if c.Bootstrap != "" {
		return nil
	}
	n, err := c.node()
	if err != nil {
		return err
	}
	if c.XDSSocket == "" {
		return &Misused{"nothing says where the control plane is", "name its socket with --xds-socket, or its folder with --state-dir"}
	}
	socket, err := filepath.Abs(c.XDSSocket)
	if err != nil {
		return fmt.Errorf("socket of the control plane: %w", err)
	}
	text, err := bootstrap.Config{Node: n, XDSSocket: socket, AdminSocket: c.AdminSocket, BindSource: true}.JSON()
	if err != nil {
		return err
	}
	path := filepath.Join(c.Dir, "bootstrap.json")
	if err := errors.Join(os.MkdirAll(c.Dir, 0o700), os.WriteFile(path, text, 0o600)); err != nil {
		return fmt.Errorf("write what envoy starts with: %w", err)
	}
	c.Bootstrap = path
	return nil
}
