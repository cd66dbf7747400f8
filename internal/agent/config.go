package agent

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/bootstrap"
	"github.com/lateen-mesh/lateen/internal/identity"
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
	Metrics     string        // where it tells its metrics and Envoy's, likewise
	// AccessLogStdout sends Envoy's access log to this program's standard output, instead of [Config.AccessLog].
	AccessLogStdout bool
	Proxyless       bool // there is no Envoy: a program with a gRPC library is told where its identity is
	// Concurrency is how many threads of Envoy's carry requests; 0: 1.
	Concurrency   int
	ProxyLogLevel string // from which level on Envoy's messages are told, one of [mesh.ProxyLogLevels]; "": warning

	// Of the configuration that the agent writes itself.
	Node     string // ID of the proxy, "reviews-v2-0.default"; Name, unless that is given too
	Type     string // "sidecar" or "ingress"
	Address  string // IP address of the workload
	Domain   string // DNS suffix of services
	PlainXDS string // where the control plane answers an Envoy without an identity: HOST:PORT or "unix:PATH"

	// Of the identity.
	ControlPlane string // HOST:PORT where the control plane answers over mutual TLS; "": [DefaultControlPlane], but for PlainXDS or Bootstrap
	TrustDomain  string // of the identity; "": Domain
	RootCert     string // path of a PEM file with the roots by which the control plane is trusted at first; "": the token tells. It is read anew for each request
	TokenFile    string // path of a file with a join token; the certificate is then kept over a restart
	InheritToken bool   // join tokens come through descriptor 3, see [GiveTokens]
	// ServiceAccountToken is the path of a file with the token of the pod's ServiceAccount, which the kubelet renews there. It
	// needs RootCert. The certificate is not kept over a restart: the token gives another.
	ServiceAccountToken string

	// Tokens gives join tokens to an agent that runs in the process that has them; nil: as the fields above say.
	Tokens func(context.Context) (string, error)
	Clock  func() time.Time // on the wall; nil: the system's
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
	f.StringVar(&c.Health, "health-address", "", "HOST:PORT, or path of a Unix socket, for /healthz, /healthz/ready and /metrics (default: none)")
	f.StringVar(&c.Metrics, "metrics-address", "", "HOST:PORT, or path of a Unix socket, for /metrics, and /stats/prometheus with Envoy's too (default: none)")
	f.BoolVar(&c.AccessLogStdout, "access-log-stdout", c.AccessLogStdout, "write Envoy's access log to standard output, instead of access.log in --dir")
	f.BoolVar(&c.Proxyless, "proxyless", false, "run no Envoy, and keep the certificate in --dir for a program with a gRPC library")
	f.IntVar(&c.Concurrency, mesh.ConcurrencyFlag, 1, "how many threads of Envoy's carry requests")
	f.StringVar(&c.ProxyLogLevel, mesh.ProxyLogLevelFlag, "warning", "from which level on Envoy's messages are told: trace, debug, info, warning, error, critical or off")
	f.StringVar(&c.Node, "node", "", "proxy as the control plane knows it, NAME.NAMESPACE")
	f.StringVar(&c.Type, "type", string(mesh.Sidecar), "what the proxy is, sidecar or ingress")
	f.StringVar(&c.Address, "address", "", "IP address of the workload")
	f.StringVar(&c.Domain, "domain", cmp.Or(c.Domain, DefaultDomain), "DNS suffix of the cluster's services")
	f.StringVar(&c.PlainXDS, "plain-xds", "", "where the control plane answers proxies without an identity, HOST:PORT or unix:PATH, instead of --control-plane")
	f.StringVar(&c.ControlPlane, "control-plane", "", "HOST:PORT where the control plane answers over mutual TLS (default: "+DefaultControlPlane+")")
	f.StringVar(&c.TrustDomain, "trust-domain", "", "trust domain of the workload and the control plane (default: that of the services)")
	f.StringVar(&c.RootCert, "root-cert", "", "path of a PEM file with the roots by which the control plane is trusted at first (default: the one that the token names)")
	f.StringVar(&c.TokenFile, "token-file", "", "path of a file with a join token; what it gives is kept in --dir")
	f.StringVar(&c.ServiceAccountToken, "service-account-token", "", "path of a file with the token of a pod's ServiceAccount for the audience lateen, which is read whenever one is needed; it needs --root-cert")
	f.BoolVar(&c.InheritToken, "inherit-token", false, "ask for join tokens through descriptor 3, for a program that starts agents")
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
		{"--metrics-address", c.Metrics},
		{"--node", c.Node},
		{"--type", c.Type},
		{"--address", c.Address},
		{"--domain", c.Domain},
		{"--plain-xds", c.PlainXDS},
		{"--control-plane", c.ControlPlane},
		{"--trust-domain", c.TrustDomain},
		{"--root-cert", c.RootCert},
		{"--token-file", c.TokenFile},
		{"--service-account-token", c.ServiceAccountToken},
		{"--" + mesh.ProxyLogLevelFlag, c.ProxyLogLevel},
	} {
		if f.value != "" {
			args = append(args, f.name, f.value)
		}
	}
	if c.Concurrency != 0 {
		args = append(args, "--"+mesh.ConcurrencyFlag, strconv.Itoa(c.Concurrency))
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"--access-log-stdout", c.AccessLogStdout}, {"--proxyless", c.Proxyless}, {"--inherit-token", c.InheritToken}} {
		if f.set {
			args = append(args, f.name)
		}
	}
	return args
}

// LogLevel is the level from which on the log has to tell messages so that those are seen which Envoy tells.
func (c *Config) LogLevel() slog.Level {
	if c.ProxyLogLevel == "debug" || c.ProxyLogLevel == "trace" {
		return slog.LevelDebug
	}
	return slog.LevelInfo
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

// DefaultControlPlane is where a control plane on the same machine answers over mutual TLS, unless it was told another place.
const DefaultControlPlane = "127.0.0.1:15012"

// adminName is the name of the socket of Envoy's admin interface, in the folder that it runs in.
const adminName = "admin.sock"

// DefaultDomain is the DNS suffix of services where nobody says another.
const DefaultDomain = "cluster.local"

// complete fills in what follows from the rest.
func (c *Config) complete() error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return fmt.Errorf("folder of envoy: %w", err)
	}
	c.Dir = dir
	if c.AdminSocket == "" {
		c.AdminSocket = filepath.Join(dir, adminName)
	}
	if c.Name == "" {
		c.Name = c.Node
	}
	if c.ControlPlane == "" && c.PlainXDS == "" && c.Bootstrap == "" {
		c.ControlPlane = DefaultControlPlane
	}
	if c.TrustDomain == "" {
		c.TrustDomain = c.Domain
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	c.Concurrency, c.ProxyLogLevel = cmp.Or(c.Concurrency, 1), cmp.Or(c.ProxyLogLevel, "warning")
	return c.check()
}

// check finds out whether the configuration says enough, and nothing that cannot be.
func (c *Config) check() error {
	socket, isSocket := strings.CutPrefix(c.PlainXDS, bootstrap.UnixPrefix)
	switch {
	case c.Proxyless && (c.ControlPlane == "" || c.Node == ""):
		return &Misused{"a program without a proxy is given an identity", "give --node NAME.NAMESPACE, --address IP and --control-plane HOST:PORT"}
	case c.Bootstrap == "" && c.Node == "":
		return &Misused{"nothing says which proxy this is", "name it with --node NAME.NAMESPACE --address IP, or give Envoy's whole configuration with --bootstrap"}
	case c.ControlPlane != "" && c.PlainXDS != "":
		return &Misused{"the control plane is to be reached with and without an identity", "give one of --control-plane and --plain-xds"}
	case c.ControlPlane == "" && (c.TokenFile != "" || c.InheritToken || c.RootCert != "" || c.ServiceAccountToken != ""):
		return &Misused{"nothing says who gives the identity", "name the control plane with --control-plane HOST:PORT"}
	case c.TokenFile != "" && c.InheritToken, c.ServiceAccountToken != "" && (c.TokenFile != "" || c.InheritToken):
		return &Misused{"tokens are to come from two places", "give one of --token-file, --inherit-token and --service-account-token"}
	case c.Concurrency < 1 || c.Concurrency > mesh.MaxConcurrency:
		return &Misused{fmt.Sprintf("%d threads are too few or too many", c.Concurrency), fmt.Sprintf("--%s takes 1 to %d", mesh.ConcurrencyFlag, mesh.MaxConcurrency)}
	case !slices.Contains(mesh.ProxyLogLevels(), c.ProxyLogLevel):
		return &Misused{fmt.Sprintf("there is no level %q", c.ProxyLogLevel), "--" + mesh.ProxyLogLevelFlag + " takes " + strings.Join(mesh.ProxyLogLevels(), ", ")}
	case c.ServiceAccountToken != "" && c.RootCert == "":
		return &Misused{"the token of a ServiceAccount does not say how the control plane is known", "name the file with its roots with --root-cert"}
	}
	if isSocket {
		path, err := filepath.Abs(socket)
		if err != nil {
			return fmt.Errorf("socket of the control plane: %w", err)
		}
		c.PlainXDS = bootstrap.UnixPrefix + path
	}
	if c.PlainXDS != "" {
		if err := bootstrap.CheckAddress(c.PlainXDS, true); err != nil {
			return &Misused{err.Error(), "--plain-xds takes HOST:PORT or unix:PATH"}
		}
	}
	if c.ControlPlane == "" {
		return nil
	}
	if err := bootstrap.CheckAddress(c.ControlPlane, false); err != nil {
		return &Misused{err.Error(), "--control-plane takes HOST:PORT, such as 127.0.0.1:15012"}
	}
	if err := identity.CheckTrustDomain(c.TrustDomain); err != nil {
		return &Misused{err.Error(), "--trust-domain takes a name such as cluster.local"}
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
	if c.Proxyless {
		n.Type = mesh.Proxyless
	}
	if _, err := mesh.ParseNode(n.String()); err != nil {
		return n, &Misused{err.Error(), "--type takes sidecar or ingress"}
	}
	return n, nil
}

// writeBootstrap writes what Envoy, or a program without one, starts with, unless that was given.
func (c *Config) writeBootstrap() error {
	if c.Bootstrap != "" && !c.Proxyless {
		return nil
	}
	n, err := c.node()
	if err != nil {
		return err
	}
	var text []byte
	if c.Proxyless {
		text, err = bootstrap.GRPC{Node: n, ControlPlane: c.ControlPlane, Certificates: c.Dir}.JSON()
	} else {
		text, err = bootstrap.Config{
			Node: n, ControlPlane: c.ControlPlane, TrustDomain: c.TrustDomain, SDSSocket: c.SDSSocket(), PlainXDS: c.PlainXDS,
			AdminSocket: c.AdminSocket, BindSource: true,
		}.JSON()
	}
	if err != nil {
		return err
	}
	if c.Bootstrap == "" {
		c.Bootstrap = filepath.Join(c.Dir, "bootstrap.json")
	}
	if err := errors.Join(os.MkdirAll(c.Dir, 0o700), os.WriteFile(c.Bootstrap, text, 0o600)); err != nil {
		return fmt.Errorf("write what the proxy starts with: %w", err)
	}
	return nil
}
