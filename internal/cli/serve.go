package cli

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/local"
	"github.com/lateen-mesh/lateen/internal/serve"
)

func newServeCommand(m *meshFlags) *cobra.Command {
	var paths []string
	var namespace string
	var adminPort int
	var level slog.Level
	cmd := &cobra.Command{
		Use:   "serve --state-dir FOLDER",
		Short: "Run the control plane alone",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, _, err := m.dir(demoName)
			if err != nil {
				return err
			}
			if dir, err = filepath.Abs(dir); err != nil {
				return err
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			carried := local.MeshKind()
			carried.Translate = nil // what is wrong with Mesh documents is told by who runs them
			c := serve.Config{
				StateDir: dir, Mesh: m.name, Paths: paths, Namespace: namespace, Carried: config.Kinds{carried},
				Version: version, Log: newLog(cmd.ErrOrStderr(), level),
			}
			if adminPort != 0 {
				address := net.JoinHostPort("127.0.0.1", strconv.Itoa(adminPort))
				if c.Admin, err = new(net.ListenConfig).Listen(cmd.Context(), "tcp", address); err != nil {
					return failed("choose another port with --admin-port", "%w", err)
				}
			}
			plane, err := serve.New(c)
			if err != nil {
				return err
			}
			return plane.Run(cmd.Context())
		},
	}
	cmd.Flags().StringArrayVarP(&paths, "filename", "f", nil, "file or folder to watch; may be given several times")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of objects that name none (default: default)")
	cmd.Flags().TextVar(&level, "log-level", slog.LevelInfo, "debug, info, warn or error")
	cmd.Flags().IntVar(&adminPort, "admin-port", defaultAdminPort, "port of health and metrics, 0 for none")
	return cmd
}
