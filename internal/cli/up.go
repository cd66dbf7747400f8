package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/linelog"
	"github.com/lateen-mesh/lateen/internal/local"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/source/file"
)

const (
	defaultMeshFile  = "mesh.yaml"
	defaultAdminPort = 8090
)

// up is what the commands that run a mesh have in common.
type up struct {
	mesh        *meshFlags
	kill        <-chan struct{}
	files       []string
	namespace   string
	envoy       string
	ingressPort int
	httpsPort   int
	adminPort   int
	trustDomain string
	certTTL     time.Duration
	quiet       bool
}

func (u *up) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&u.envoy, "envoy", "", "Envoy to run (default: LATEEN_ENVOY, beside this program, on PATH)")
	flags.IntVar(&u.ingressPort, "ingress-port", 0, "port of the ingress (default: what the Mesh file says, else 8080)")
	flags.IntVar(&u.httpsPort, "https-port", 0, "port of the ingress for TLS (default: what the Mesh file says, else none)")
	flags.IntVar(&u.adminPort, "admin-port", defaultAdminPort, "port of health, metrics and debug pages")
	flags.StringVar(&u.trustDomain, "trust-domain", serve.Domain, "trust domain of the workloads' identities")
	flags.DurationVar(&u.certTTL, "cert-ttl", ca.DefaultTTL, "how long a workload's certificate holds; it is renewed after half of that")
	flags.BoolVarP(&u.quiet, "quiet", "q", false, "print nothing but errors")
}

func newUpCommand(m *meshFlags, kill <-chan struct{}) *cobra.Command {
	u := &up{mesh: m, kill: kill}
	cmd := &cobra.Command{
		Use:     "up [-f FILE|FOLDER]",
		Short:   "Run a mesh on this machine, as Mesh files say",
		Example: "  lateen up -f mesh.yaml",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(u.files) == 0 {
				u.files = []string{defaultMeshFile}
				if _, err := os.Stat(defaultMeshFile); err != nil {
					return misused("name a file or folder with -f; `lateen demo --print` shows what one looks like",
						"there is no %s in this folder", defaultMeshFile)
				}
			}
			name, err := u.meshName()
			if err != nil {
				return err
			}
			return u.run(cmd, name, func(d local.Door, token string) []string { return u.doors(d, token, "ingress", "/") })
		},
	}
	cmd.Flags().StringArrayVarP(&u.files, "filename", "f", nil, "Mesh file, or folder of files; may be given several times")
	cmd.Flags().StringVarP(&u.namespace, "namespace", "n", "", "namespace of objects that name none (default: default)")
	u.addTo(cmd.Flags())
	return cmd
}

// meshName returns the name of the first Mesh document, or "" when none can be read: then running it will say why.
func (u *up) meshName() (string, error) {
	for _, path := range u.files {
		names, err := file.List(path)
		if err != nil {
			return "", failed("name another file or folder with -f", "%w", err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				return "", err
			}
			objects, _ := config.Parse(name, text, u.namespace)
			if m, _ := local.Read(objects); m != nil {
				return m.Name, nil
			}
		}
	}
	return "", nil
}

// doors tells where people find the mesh, and what they may do next. Without an ingress its ports are 0. The debug pages
// have the name that applications in the mesh are not reached by, so that browsers keep their cookie from those.
func (u *up) doors(d local.Door, token, name, path string, next ...string) []string {
	var lines []string
	if d.Port != 0 {
		lines = append(lines, fmt.Sprintf("  %-12s  http://localhost:%d%s", name, d.Port, path))
	}
	if d.HTTPSPort != 0 {
		lines = append(lines, fmt.Sprintf("  %-12s  https://localhost:%d%s", name, d.HTTPSPort, path))
	}
	if u.adminPort != 0 {
		lines = append(lines, fmt.Sprintf("  %-12s  http://localhost:%d/", "health", u.adminPort))
		if token != "" {
			lines = append(lines, fmt.Sprintf("  %-12s  http://127.0.0.1:%d/debug/?token=%s", "debug", u.adminPort, token))
		}
	}
	return append(append(lines, next...), "Ctrl-C ends it.")
}

// run runs the mesh until the command is told to end.
func (u *up) run(cmd *cobra.Command, fallback string, urls func(d local.Door, token string) []string) error {
	if fallback == "" {
		fallback = "default"
	}
	if err := u.check(); err != nil {
		return err
	}
	dir, name, err := u.mesh.dir(fallback)
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	socket, err := api.Socket(dir)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return failed("", "find this program: %w", err)
	}
	log := linelog.New(cmd.ErrOrStderr(), slog.LevelInfo)
	return local.New(local.Config{
		Name: name, StateDir: dir, TrustDomain: u.trustDomain, Source: u.source(log),
		Executable: program, ServeArgs: u.serveArgs(dir, name), AdminPort: u.adminPort, IngressPort: u.ingressPort, HTTPSPort: u.httpsPort,
		Envoy: agent.Lookup{
			Flag: u.envoy, Env: os.Getenv("LATEEN_ENVOY"), Dir: filepath.Dir(program), Path: os.Getenv("PATH"),
		},
		Environ: os.Environ(), API: api.NewClient(socket),
		URLs:   func(d local.Door) []string { return urls(d, readToken(dir)) },
		Stdout: cmd.OutOrStdout(), Stderr: cmd.ErrOrStderr(), Terminal: isTerminal(cmd.OutOrStdout()),
		Colour: isTerminal(cmd.OutOrStdout()) && os.Getenv("NO_COLOR") == "", Quiet: u.quiet, Kill: u.kill, Log: log,
	}).Run(cmd.Context())
}

// check finds out whether what the flags say of identities can be.
func (u *up) check() error {
	if err := identity.CheckTrustDomain(u.trustDomain); err != nil {
		return misused("give another one with --trust-domain", "%w", err)
	}
	if u.certTTL < ca.ShortestTTL || u.certTTL > ca.LongestTTL {
		return misused("give another one with --cert-ttl", "a certificate holds from %s to %s, and not %s", ca.ShortestTTL, ca.LongestTTL, u.certTTL)
	}
	return nil
}

// readToken returns the token of the running control plane for its debug pages, or "".
func readToken(stateDir string) string {
	text, err := os.ReadFile(filepath.Join(stateDir, api.TokenFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func (u *up) serveArgs(dir, name string) []string {
	args := []string{"serve", "--mesh", name, "--state-dir", dir, "--admin-port", strconv.Itoa(u.adminPort), "--namespace", u.namespace, "--log-level", "warn"}
	args = append(args, "--trust-domain", u.trustDomain, "--cert-ttl", u.certTTL.String())
	for _, f := range u.files {
		args = append(args, "-f", f)
	}
	return args
}

// source watches the files for Mesh documents. What is wrong with all others is told by the control plane.
func (u *up) source(log *slog.Logger) local.Source {
	return func(ctx context.Context, sink func(context.Context, []config.Object, []mesh.Problem) error) error {
		s, err := file.New(file.Config{Paths: u.files, Namespace: u.namespace, Check: local.Check, Beside: local.Beside, Sink: sink, Log: log})
		if err != nil {
			return err
		}
		return s.Run(ctx)
	}
}

// validKinds are the kinds of objects that files may hold.
func validKinds() config.Kinds { return append(serve.Kinds(), local.MeshKind()) }
