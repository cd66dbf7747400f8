package cli

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/dialect/meshconfig"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/linelog"
	"github.com/lateen-mesh/lateen/internal/local"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/source/kube"
	"github.com/lateen-mesh/lateen/internal/source/settings"
	"github.com/lateen-mesh/lateen/internal/unixsocket"
)

// serveFlags are the flags of the control plane.
type serveFlags struct {
	paths     []string
	folders   []string
	registry  string
	settings  string
	reading   string
	namespace string
	adminPort int
	level     slog.Level
	secure    string
	plain     string
	trust     string
	certTTL   time.Duration
	plugged   ca.Plugged
	admin     string
	known     registryFlags
	replica   replicaFlags
	hooks     hookFlags
}

func (s *serveFlags) addTo(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&s.paths, "filename", "f", nil, "file or folder to watch; may be given several times")
	flags.StringArrayVar(&s.folders, "config", nil, "folder with rules to watch; the same as --filename")
	flags.StringVar(&s.registry, "registry", "", "JSON `file` that says what runs (default: what lateen up tells)")
	flags.StringVar(&s.settings, "meshConfig", "", "`file` with the settings of the mesh, MeshConfig in YAML, read again when it changes (default: those of a Mesh file)")
	flags.StringVarP(&s.namespace, "namespace", "n", "", "namespace of objects that name none (default: default)")
	flags.TextVar(&s.level, "log-level", slog.LevelInfo, "debug, info, warn or error")
	flags.StringVar(&s.secure, "secure-address", "127.0.0.1:15012", "`HOST:PORT` of certificates and, over mutual TLS, of xDS; \"\" for none")
	flags.StringVar(&s.plain, "plain-xds", "", "`HOST:PORT` or unix:PATH of xDS without any proof of who asks, and without keys (default: closed; alone: "+plainAddress+")")
	flags.Lookup("plain-xds").NoOptDefVal = plainAddress
	flags.StringVar(&s.reading, "api-address", "", "`HOST:PORT`, on the loopback address, of the part of the API that changes nothing, for whoever can connect there: in a pod those who may create pods/portforward (default: none)")
	flags.StringVar(&s.trust, "trust-domain", "", "trust domain of the identities (default: "+serve.Domain+")")
	flags.DurationVar(&s.certTTL, "cert-ttl", ca.DefaultTTL, "how long a workload's certificate holds")
	flags.StringVar(&s.plugged.SigningCert, "signing-cert", "", "`file` with the certificate that signs, instead of a root of Lateen's own (PEM)")
	flags.StringVar(&s.plugged.SigningKey, "signing-key", "", "`file` with its key")
	flags.StringVar(&s.plugged.CertChain, "cert-chain", "", "`file` with the certificates between it and the root")
	flags.StringVar(&s.plugged.RootCert, "root-cert", "", "`file` with the root")
	flags.IntVar(&s.adminPort, "admin-port", defaultAdminPort, "port of health, metrics and debug pages on 127.0.0.1, 0 for none")
	flags.StringVar(&s.admin, "admin-address", "", "`HOST:PORT` of the same, instead of --admin-port (default in a pod: "+podAdmin+")")
	s.known.addTo(flags)
	s.replica.addTo(flags)
	s.hooks.addTo(flags)
}

// Where a control plane that runs in the cluster which it is about is found, unless flags say otherwise: on all addresses of its pod.
const (
	podSecure = ":15012"
	podAdmin  = ":15014"
)

// inPod takes what the flags do not say from the fact that the control plane runs in a pod.
func (s *serveFlags) inPod(flags *pflag.FlagSet) {
	if !flags.Changed("secure-address") {
		s.secure = podSecure
	}
	if !flags.Changed("admin-address") && !flags.Changed("admin-port") {
		s.admin = podAdmin
	}
}

func newServeCommand(m *meshFlags) *cobra.Command {
	var s serveFlags
	cmd := &cobra.Command{
		Use:     "serve --state-dir FOLDER",
		Short:   "Run the control plane alone",
		Example: "  lateen serve --state-dir /tmp/shop --config rules/ --registry registry.json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.Flags().Changed("plain-xds") && s.plain == plainAddress {
				return misused("--plain-xds takes its address behind a =: --plain-xds="+args[0], "unexpected argument %q", args[0])
			}
			return noArguments(cmd, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			collectOften()
			cluster, err := s.known.cluster()
			if err != nil {
				return err
			}
			if err := s.replica.check(cluster != nil); err != nil {
				return err
			}
			if cluster != nil && cluster.Context == kubeclient.InCluster {
				s.inPod(cmd.Flags())
			}
			log := linelog.New(cmd.ErrOrStderr(), s.level)
			log.Info("version", "version", version, "go", runtime.Version(), "envoy", agent.Versions)
			log.Info("flags", flagsSet(cmd)...)
			c, err := s.config(cmd.Context(), m, log)
			if err != nil {
				return err
			}
			var plane *serve.Plane
			if cluster != nil {
				if err := s.inCluster(cmd.Context(), &c, cluster, func() *serve.Plane { return plane }); err != nil {
					return err
				}
			}
			if plane, err = serve.New(c); err != nil {
				return err
			}
			return plane.Run(cmd.Context())
		},
	}
	s.addTo(cmd.Flags())
	return addLegacy(cmd, discoveryFlags())
}

// inCluster has a control plane know a cluster: what runs there, the settings of its mesh, and its pods by their tokens; and answer
// its API server. Plane returns the control plane once it is made.
func (s *serveFlags) inCluster(ctx context.Context, c *serve.Config, cluster *kubeclient.Cluster, plane func() *serve.Plane) error {
	c.Attached = append(c.Attached, s.known.attached(cluster))
	c.Clusters = append(c.Clusters, kube.ObjectsName)
	if c.Settings == nil {
		c.Settings, c.SettingsPlace = documentIn(cluster, mesh.SystemName, mesh.SettingsKey, c.Log)
	}
	var h *hooks
	if s.hooks.address != "" {
		var err error
		if h, err = s.hooks.listen(ctx, cluster, plane, c.Log); err != nil {
			return err
		}
		c.Attached = append(c.Attached, h.attached())
		c.Shared.Answers = h.answers
	}
	return s.replica.join(c, cluster.Config, plane, h.told(func() []byte { return plane().Roots() }), c.Log)
}

// collectAt is how much garbage a control plane lets gather, in percent of what is alive (decision 45).
const collectAt = 50

// collectOften has the control plane stay small, unless GOGC says something else.
func collectOften() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
}

// settingsOf returns what hands over the settings that stand in a file.
func settingsOf(path string, log *slog.Logger) func(context.Context, serve.SettingsSink) error {
	return func(ctx context.Context, sink serve.SettingsSink) error {
		return settings.Watch(ctx, settings.Config{Path: path, Log: log, Sink: func(ctx context.Context, r settings.Reading) error {
			if !r.Found && r.Err == nil {
				log.Warn("there are no settings: those of a mesh that says nothing are in force", "path", path)
			}
			return sink(ctx, serve.SettingsText{Document: meshconfig.Document{Name: path, Text: r.Text}, Found: r.Found, Err: r.Err})
		}})
	}
}

func (s *serveFlags) config(ctx context.Context, m *meshFlags, log *slog.Logger) (serve.Config, error) {
	dir, _, err := m.dir(demoName)
	if err != nil {
		return serve.Config{}, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return serve.Config{}, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return serve.Config{}, err
	}
	carried := local.MeshKind()
	carried.Translate = nil // what is wrong with Mesh documents is told by who runs them
	c := serve.Config{
		StateDir: dir, Mesh: m.name, Paths: append(append([]string{}, s.folders...), s.paths...), RegistryFile: s.registry,
		Namespace: s.namespace, Carried: config.Kinds{carried}, Version: version, Log: log,
		Domain: s.known.domain, TrustDomain: s.trust, CertTTL: s.certTTL, Plugged: s.plugged,
	}
	if s.settings != "" {
		c.Settings, c.SettingsPlace = settingsOf(s.settings, log), s.settings
	}
	if c.Secure, err = listenFor(ctx, s.secure, "--secure-address"); err != nil {
		return c, err
	}
	if c.PlainXDS, err = listenFor(ctx, s.plain, "--plain-xds"); err != nil {
		return c, err
	}
	if s.reading != "" && !isLoopback(s.reading) {
		return c, misused("for instance: --api-address 127.0.0.1:15013", "--api-address is on the loopback address, since it asks nobody who he is, and not %q", s.reading)
	}
	if c.Reading, err = listenFor(ctx, s.reading, "--api-address"); err != nil {
		return c, err
	}
	if s.admin != "" {
		c.Admin, err = listenFor(ctx, s.admin, "--admin-address")
		return c, err
	}
	if s.adminPort != 0 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(s.adminPort))
		if c.Admin, err = new(net.ListenConfig).Listen(ctx, "tcp", address); err != nil {
			return c, failed("choose another port with --admin-port", "%w", err)
		}
	}
	return c, nil
}

// documentIn returns what hands over what stands in a ConfigMap of the control plane in a cluster, below a key, and where that is: in
// the namespace of this pod, or where Lateen is installed.
func documentIn(c *kubeclient.Cluster, name, key string, log *slog.Logger) (read func(context.Context, serve.SettingsSink) error, place string) {
	object := mesh.Ref{Kind: "ConfigMap", Namespace: mesh.SystemNamespace, Name: name}
	if c.Context == kubeclient.InCluster {
		object.Namespace = c.Namespace
	}
	place = object.String() + ", " + key
	return func(ctx context.Context, sink serve.SettingsSink) error {
		return kube.WatchSettings(ctx, kube.Settings{
			Client: c.Config, Namespace: object.Namespace, Name: object.Name, Key: key, Log: log,
			Sink: func(ctx context.Context, r kube.SettingsReading) error {
				return sink(ctx, serve.SettingsText{Document: meshconfig.Document{Name: place, Object: object, Text: r.Text}, Found: r.Found, Err: r.Err})
			},
		})
	}, place
}

// isLoopback tells whether HOST:PORT can be reached from this machine, or this pod, only.
func isLoopback(address string) bool {
	at, err := netip.ParseAddrPort(address)
	return err == nil && at.Addr().IsLoopback()
}

// plainAddress is where proxies without an identity are used to find a control plane.
const plainAddress = "127.0.0.1:15010"

// listenFor listens where a flag says, HOST:PORT or unix:PATH; "": nowhere.
func listenFor(ctx context.Context, address, flag string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return unixsocket.Listen(ctx, path)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, failed("choose another address with "+flag, "%w", err)
	}
	return l, nil
}

// secretFlag matches the names of flags whose values are not for a log.
var secretFlag = regexp.MustCompile(`token|password|secret|key`)

// flagsSet returns the flags that were given, for the log.
func flagsSet(cmd *cobra.Command) []any {
	var attrs []any
	cmd.Flags().Visit(func(f *pflag.Flag) {
		value := f.Value.String()
		if secretFlag.MatchString(f.Name) {
			value = "not shown"
		}
		attrs = append(attrs, slog.String(f.Name, value))
	})
	return attrs
}
