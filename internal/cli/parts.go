package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/bookinfo"
	"github.com/lateen-mesh/lateen/internal/capture"
	"github.com/lateen-mesh/lateen/internal/guard"
	"github.com/lateen-mesh/lateen/internal/linelog"
	"github.com/lateen-mesh/lateen/internal/serve"
)

func newAgentCommand() *cobra.Command {
	c := agent.Config{Domain: serve.Domain}
	cmd := &cobra.Command{
		Use:     "agent --node NAME.NAMESPACE --address IP",
		Short:   "Run and watch one Envoy",
		Example: "  lateen agent --node web-v1-0.default --address 127.0.0.2 --dir /tmp/shop/proxies/web-v1-0.default --token-file web.token --health-address 127.0.0.1:15021",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			unix.Umask(0o077) // Envoy would let others read its logs
			c.Log, c.Events = linelog.New(cmd.ErrOrStderr(), c.LogLevel()), cmd.OutOrStdout()
			if c.Envoy == "" && !c.Proxyless {
				if c.Envoy, err = findEnvoy(cmd.Context()); err != nil {
					return err
				}
			}
			err = agent.New(c).Run(cmd.Context())
			if wrong, ok := errors.AsType[*agent.Misused](err); ok {
				return misused(wrong.Advice, "%w", err)
			}
			return err
		},
	}
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	c.Flags(flags)
	cmd.Flags().AddGoFlagSet(flags)
	return addLegacy(cmd, agentFlags())
}

func newCaptureCommand() *cobra.Command {
	var c capture.Command
	cmd := &cobra.Command{
		Use:     "capture",
		Short:   "Redirect a workload's traffic to its Envoy",
		Example: "  lateen capture --dry-run\n  lateen capture --include-ip-ranges 10.96.0.0/16,10.244.0.0/16\n  lateen capture --check",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := c.Run(cmd.Context(), cmd.OutOrStdout(), linelog.New(cmd.ErrOrStderr(), slog.LevelInfo))
			if wrong, ok := errors.AsType[*capture.Misused](err); ok {
				return misused(wrong.Advice, "%w", err)
			}
			return err
		},
	}
	flags := flag.NewFlagSet("capture", flag.ContinueOnError)
	c.Flags(flags)
	cmd.Flags().AddGoFlagSet(flags)
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		f.Hidden = capture.Alias(f.Name)
	})
	return cmd
}

// findEnvoy looks for Envoy where `lateen up` does.
func findEnvoy(ctx context.Context) (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", failed("", "find this program: %w", err)
	}
	return agent.FindEnvoy(ctx, agent.Lookup{Env: os.Getenv("LATEEN_ENVOY"), Dir: filepath.Dir(program), Path: os.Getenv("PATH")})
}

func newGuardCommand() *cobra.Command {
	return &cobra.Command{
		Use:    guard.Arg,
		Short:  "End process groups when what started them is gone",
		Hidden: true,
		Args:   noArguments,
		RunE:   func(cmd *cobra.Command, _ []string) error { return guard.Run(cmd.InOrStdin()) },
	}
}

func newBookinfoCommand() *cobra.Command {
	var c bookinfo.Config
	var port int
	var address string
	cmd := &cobra.Command{
		Use:     "bookinfo " + strings.Join(bookinfo.Services(), "|"),
		Short:   "Run one service of the demo application",
		Example: "  lateen bookinfo reviews --version v3 --port 9080",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misused("", "name one service: %s", strings.Join(bookinfo.Services(), ", "))
			}
			return nil
		},
		ValidArgs: bookinfo.Services(),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.Logger = linelog.New(cmd.ErrOrStderr(), slog.LevelInfo)
			handler, err := bookinfo.New(args[0], c)
			if err != nil {
				return misused("", "%w", err)
			}
			return bookinfo.Serve(cmd.Context(), net.JoinHostPort(address, strconv.Itoa(port)), handler, c.Logger)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&port, "port", 9080, "port to answer on")
	flags.StringVar(&address, "address", "127.0.0.1", "address to answer on; \"\" for all")
	flags.StringVar(&c.Version, "version", "", "version of reviews (v1, v2, v3) or ratings (v1, v2)")
	flags.StringVar(&c.Details, "details", "", "where details is (default: http://details:9080)")
	flags.StringVar(&c.Reviews, "reviews", "", "where reviews is (default: http://reviews:9080)")
	flags.StringVar(&c.Ratings, "ratings", "", "where ratings is (default: http://ratings:9080)")
	flags.StringVar(&c.Database.Type, "db-type", "", "kind of the database of ratings v2: mysql (default: DB_TYPE)")
	flags.StringVar(&c.Database.Host, "mysql-host", "", "where it is, HOST or HOST:PORT (default: MYSQL_DB_HOST, else mysqldb)")
	flags.StringVar(&c.Database.Port, "mysql-port", "", "its port, unless the host has one (default: MYSQL_DB_PORT, else 3306)")
	flags.StringVar(&c.Database.User, "mysql-user", "", "who signs in, with MYSQL_DB_PASSWORD (default: MYSQL_DB_USER, else root)")
	return cmd
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "lateen", version)
			return err
		},
	}
}
