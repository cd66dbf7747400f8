// Package sidecar is the command line of what runs beside an application in a pod: an agent with its Envoy, and what captures
// traffic for it.
//
// Commands that package cli has too are the same, with the same flags, words and exit codes. There is one of them for every pod of a
// cluster, so what counts is how much memory it takes: it links neither the control plane nor a library for command lines.
package sidecar

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/capture"
	"github.com/lateen-mesh/lateen/internal/linelog"
)

// version is set when the program is built.
var version = "dev"

// Exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
)

// mostProcessors bounds what runs at the same time, and with that the memory that Go keeps for each processor: an agent has little
// to do, and nodes have many of them.
const mostProcessors = 2

// program is the name that errors begin with.
const program = "lateen-agent"

// Output is where a command writes.
type Output struct{ Out, Err io.Writer }

// command is one that there is.
type command struct {
	name, what string
	run        func(ctx context.Context, args []string, o Output) error
}

func commands() []command {
	return []command{
		{"agent", "Run and watch one Envoy", runAgent},
		{"drain", "Have the clients of an Envoy go, before its pod ends", runDrain},
		{"capture", "Redirect a workload's traffic to its Envoy", runCapture},
		{"look", "Show what the Envoy of this pod has, or what its agent says of its certificate", runLook},
		{"version", "Print the version", runVersion},
	}
}

// Main runs the program with arguments, without its name, and returns its exit code. SIGINT and SIGTERM end a command in order.
func Main(ctx context.Context, args []string, o Output) int {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(min(mostProcessors, runtime.GOMAXPROCS(0)))
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if len(args) > 0 {
		for _, c := range commands() {
			if c.name == args[0] {
				return report(o.Err, c.run(ctx, args[1:], o))
			}
		}
	}
	if len(args) == 0 || strings.TrimLeft(args[0], "-") == "help" || args[0] == "-h" {
		fmt.Fprintf(o.Out, "%s is what runs beside an application in a pod.\n\n", program)
		for _, c := range commands() {
			fmt.Fprintf(o.Out, "  %s %-9s %s\n", program, c.name, c.what)
		}
		return 0
	}
	return report(o.Err, &misused{fmt.Errorf("unknown command %q", args[0]), "`" + program + " --help` lists the commands"})
}

// misused is an error of wrong usage.
type misused struct {
	error
	hint string
}

// Hint returns the next step.
func (m *misused) Hint() string { return m.hint }

// report tells an error, with its hint if it has one, and returns the exit code.
func report(w io.Writer, err error) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintf(w, "%s: error: %s\n", program, err)
	type hinted interface {
		error
		Hint() string
	}
	if h, ok := errors.AsType[hinted](err); ok && h.Hint() != "" {
		fmt.Fprintf(w, "%s: hint: %s\n", program, h.Hint())
	}
	for _, wrong := range []any{new(*misused), new(*agent.Misused), new(*capture.Misused)} {
		if errors.As(err, wrong) {
			return exitUsage
		}
	}
	return exitFailure
}

// parse reads the arguments of a command that takes nothing but flags.
func parse(name string, args []string, o Output, define func(*flag.FlagSet)) error {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	define(flags)
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(o.Out)
		flags.PrintDefaults()
		return err
	case err == nil && flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err != nil {
		return &misused{err, "`" + program + " " + name + " --help` lists the flags"}
	}
	return nil
}

func runAgent(ctx context.Context, args []string, o Output) error {
	c := agent.Config{AccessLogStdout: true, Events: o.Out}
	if err := parse("agent", args, o, c.Flags); err != nil {
		return err
	}
	c.Log = linelog.New(o.Err, c.LogLevel())
	unix.Umask(0o077) // Envoy would let others read its logs
	if c.Envoy == "" && !c.Proxyless {
		path, err := findEnvoy(ctx)
		if err != nil {
			return err
		}
		c.Envoy = path
	}
	return agent.New(c).Run(ctx)
}

// findEnvoy looks for Envoy where `lateen agent` does.
func findEnvoy(ctx context.Context) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return agent.FindEnvoy(ctx, agent.Lookup{Env: os.Getenv("LATEEN_ENVOY"), Dir: filepath.Dir(self), Path: os.Getenv("PATH")})
}

// askAgain is when an Envoy is asked once more that did not answer, as one that is under load or starts.
const askAgain = 500 * time.Millisecond

// runDrain is for the kubelet to run when it begins to end a pod: only when the application has ended, or this command, does it ask
// the agent to. So it waits also where Envoy does not answer: others send meanwhile as if it did.
func runDrain(ctx context.Context, args []string, o Output) error {
	var dir string
	var wait time.Duration
	if err := parse("drain", args, o, func(f *flag.FlagSet) {
		f.StringVar(&dir, "dir", ".", "folder that Envoy runs in")
		f.DurationVar(&wait, "wait", 0, "how long to wait then, for those who learn little by little that the pod goes")
	}); err != nil {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		err := agent.AskToGo(ctx, dir)
		var again <-chan time.Time
		if err != nil {
			again = time.After(askAgain)
		}
		select {
		case <-timer.C:
			return err
		case <-ctx.Done():
			return err
		case <-again:
		}
	}
}

func runCapture(ctx context.Context, args []string, o Output) error {
	var c capture.Command
	if err := parse("capture", args, o, c.Flags); err != nil {
		return err
	}
	return c.Run(ctx, o.Out, linelog.New(o.Err, slog.LevelInfo))
}

// stateDir is the folder of the agent in a pod.
const stateDir = "/run/lateen"

func runLook(ctx context.Context, args []string, o Output) error {
	dir, page := stateDir, agent.LookConfig
	err := parse("look", args, o, func(f *flag.FlagSet) {
		f.StringVar(&dir, "dir", dir, "folder of the agent")
		f.StringVar(&page, "page", page, strings.Join([]string{agent.LookConfig, agent.LookCertificates, agent.LookIdentity}, ", "))
	})
	if err != nil {
		return err
	}
	text, err := agent.Look(ctx, dir, page)
	if err != nil {
		return err
	}
	_, err = o.Out.Write(text)
	return err
}

func runVersion(_ context.Context, args []string, o Output) error {
	if err := parse("version", args, o, func(*flag.FlagSet) {}); err != nil {
		return err
	}
	_, err := fmt.Fprintln(o.Out, program, version)
	return err
}
