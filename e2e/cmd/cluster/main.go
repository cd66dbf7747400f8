// Command cluster has the project's own Kubernetes run, see package testcluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/lateen-mesh/lateen/internal/testcluster"
)

const usage = `usage: cluster COMMAND

  up                start the cluster of this checkout, with the images below bin/images
  down              end it, and remove everything that it has left
  images [FILE]...  give it images again, all below bin/images or these archives
  exec COMMAND      run a command in its network, with KUBECONFIG set
  with COMMAND      run a command while it is up; if it was not up before, it is not afterwards
  status            what runs in it

LATEEN_CLUSTER names a folder for the state of another cluster than the checkout's own.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "cluster: error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 3 && args[0] == testcluster.ArgInit {
		return testcluster.Init(testcluster.Cluster{Root: args[1], Dir: args[2]})
	}
	if len(args) == 3 && args[0] == testcluster.ArgRun {
		return testcluster.Run(ctx, testcluster.Cluster{Root: args[1], Dir: args[2]})
	}
	root, err := testcluster.Root(".")
	if err != nil {
		return err
	}
	c := testcluster.Default(root)
	if dir := os.Getenv("LATEEN_CLUSTER"); dir != "" {
		c.Dir = dir
	}
	command := ""
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch {
	case command == "up" && len(args) == 0:
		_, err := up(ctx, c)
		return err
	case command == "down" && len(args) == 0:
		return c.Down(ctx)
	case command == "images":
		return c.LoadImages(ctx, args...)
	case command == "exec" && len(args) > 0:
		return inside(c, args[0], args[1:]...)
	case command == "with" && len(args) > 0:
		return with(ctx, c, args)
	case command == "status" && len(args) == 0:
		return inside(c, "kubectl", "get", "nodes,pods", "--all-namespaces", "--output=wide")
	default:
		fmt.Fprint(os.Stderr, usage)
		return errors.New("there is no such command")
	}
}

// up starts the cluster unless it is up, and gives it the images that there are now.
func up(ctx context.Context, c testcluster.Cluster) (started bool, err error) {
	started, err = c.Up(ctx, os.Stderr)
	if err != nil {
		return false, err
	}
	if err := c.LoadImages(ctx); err != nil {
		return started, err
	}
	word := "is up already"
	if started {
		word = "is up"
	}
	fmt.Fprintf(os.Stderr, "cluster: %s in %s; `make cluster-shell` talks to it\n", word, c.Dir)
	return started, nil
}

// inside becomes a command in the network of the cluster.
func inside(c testcluster.Cluster, name string, args ...string) error {
	cmd, err := c.Command(name, args...)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", cmd.Path, syscall.Exec(cmd.Path, cmd.Args, cmd.Env))
}

// with runs a command while the cluster is up, and leaves it as it was found.
func with(ctx context.Context, c testcluster.Cluster, args []string) (err error) {
	started, err := up(ctx, c)
	if started {
		defer func() { err = errors.Join(err, c.Down(context.WithoutCancel(ctx))) }()
	}
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	return cmd.Run()
}
