// Package agent stands beside one Envoy: it starts it, says when it is ready, starts it again when it crashes, keeps
// its access log within bounds, and at the end drains it.
//
// What comes in: a [Config] with the path of a bootstrap file. What goes out: one JSON line per [Event], and Envoy's
// own messages through the logger. Envoy's admin interface is reached over a Unix socket only.
//
// It promises that Envoy does not outlive the agent, even when the agent is killed, and that a request which Envoy
// has taken when the agent is asked to stop is answered, within twice the drain time. An Envoy that ends before it
// was ever ready is an error with Envoy's own words: starting it again would not help.
package agent

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/process"
)

const (
	readyPoll  = 20 * time.Millisecond
	stopBound  = 5 * time.Second
	firstPause = 200 * time.Millisecond // between a crash and the next start, doubled each time
	longPause  = 10 * time.Second
)

// Config says which Envoy to start and where. [Config.Args] and [Config.Flags] carry it over a command line.
type Config struct {
	Name        string        // of the proxy, "reviews-v2-0.default"
	Envoy       string        // path of the program
	Bootstrap   string        // path of its configuration
	Dir         string        // folder to run in; relative paths in Envoy's configuration start there
	AdminSocket string        // where Envoy's admin interface listens
	DrainTime   time.Duration // how long connections are asked to go before new ones are refused; whole seconds

	Log    *slog.Logger
	Events io.Writer // takes a line per [Event]
}

// Flags defines the flags of the command that runs an agent.
func (c *Config) Flags(f *flag.FlagSet) {
	f.StringVar(&c.Name, "name", "", "name of the proxy")
	f.StringVar(&c.Envoy, "envoy", "", "path of Envoy")
	f.StringVar(&c.Bootstrap, "bootstrap", "", "path of Envoy's configuration")
	f.StringVar(&c.Dir, "dir", ".", "folder to run Envoy in")
	f.StringVar(&c.AdminSocket, "admin-socket", "", "path of the socket of Envoy's admin interface")
	f.DurationVar(&c.DrainTime, "drain-time", 5*time.Second, "how long to drain Envoy, in whole seconds")
}

// Args returns the arguments that [Config.Flags] reads.
func (c *Config) Args() []string {
	return []string{
		"--name", c.Name, "--envoy", c.Envoy, "--bootstrap", c.Bootstrap, "--dir", c.Dir,
		"--admin-socket", c.AdminSocket, "--drain-time", c.DrainTime.String(),
	}
}

// Agent runs one Envoy.
type Agent struct {
	config Config
	admin  *admin
	ready  bool // it was, once
}

// New returns an agent for the Envoy that the configuration describes.
func New(c Config) *Agent {
	return &Agent{config: c, admin: newAdmin(c.AdminSocket)}
}

// Run starts Envoy and keeps it running until ctx ends; then it drains Envoy, stops it and returns nil.
func (a *Agent) Run(ctx context.Context) error {
	defer a.admin.close()
	pause := firstPause
	for {
		started := time.Now()
		err := a.runEnvoy(ctx)
		if err == nil || !a.ready {
			return err
		}
		a.config.Log.Error("envoy ended", "proxy", a.config.Name, "err", err)
		if time.Since(started) > longPause {
			pause = firstPause
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		pause = min(2*pause, longPause)
	}
}

// runEnvoy returns nil when Envoy was stopped since ctx has ended, else why Envoy ended.
func (a *Agent) runEnvoy(ctx context.Context) error {
	if err := removeStale(a.config.AdminSocket); err != nil {
		return err
	}
	output := process.NewLines(func(line string) { a.logLine(ctx, line) })
	envoy, err := process.Start(process.Command{
		Path: a.config.Envoy, Args: a.envoyArgs(), Dir: a.config.Dir, Stdout: output, Stderr: output,
	})
	if err != nil {
		return fmt.Errorf("start envoy: %w", err)
	}
	running, ended := context.WithCancel(ctx)
	defer ended()
	var beside sync.WaitGroup
	beside.Go(func() { a.watchReady(running, envoy.PID) })
	beside.Go(func() { a.boundAccessLog(running) })

	select {
	case <-ctx.Done():
		beside.Wait()
		a.drain(context.WithoutCancel(ctx), envoy)
		a.emit(Event{Event: Drained, PID: envoy.PID})
		return nil
	case <-envoy.Done():
		ended()
		beside.Wait()
		failure := exitError(envoy.Err(), output.Last())
		a.emit(Event{Event: Exited, PID: envoy.PID, Error: failure.Error()})
		return failure
	}
}

func (a *Agent) envoyArgs() []string {
	return []string{
		"--config-path", a.config.Bootstrap,
		"--concurrency", "1",
		"--disable-hot-restart",
		"--drain-time-s", fmt.Sprint(int(a.config.DrainTime.Seconds())),
		"--file-flush-interval-msec", "200",
		"--log-level", "warning",
		"--log-format", logFormat,
	}
}

// watchReady tells once that Envoy is ready.
func (a *Agent) watchReady(ctx context.Context, pid int) {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for !a.admin.ready(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	a.ready = true
	a.emit(Event{Event: Ready, PID: pid})
}

// exitError says how Envoy ended, with the last of what it said.
func exitError(exit error, output []string) error {
	said := "it said nothing"
	if n := len(output); n > 0 {
		said = strings.Join(output[max(0, n-3):], "\n  ")
	}
	return fmt.Errorf("envoy ended (%s): %s", process.Describe(exit), said)
}

// AccessLog is the path of the access log that Envoy writes.
func (c *Config) AccessLog() string { return filepath.Join(c.Dir, accessLogName) }
