// Package agent stands beside one Envoy: it starts it, says when it is ready, starts it again when it crashes, keeps
// its access log within bounds, and at the end drains it. And it keeps the workload's identity: it makes the private key, has
// the control plane sign a certificate for it, renews that in time, and gives both to Envoy, or to a program without one.
//
// What comes in: a [Config] that says who the proxy is, or has the path of a bootstrap file, and join tokens. What goes out: one
// JSON line per [Event], Envoy's own messages through the logger, a [Status] in a file, and for who asks over HTTP whether Envoy
// is ready and the certificate good. Envoy's admin interface and its secrets go over Unix sockets only.
//
// It promises that Envoy does not outlive the agent, even when the agent is killed, and that a request which Envoy
// has taken when the agent is asked to stop is answered, within twice the drain time. An Envoy that ends before it
// was ever ready is an error with Envoy's own words: starting it again would not help. The key leaves the machine never, an
// expired certificate is given to nobody, and it never gives up asking for a new one.
package agent

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/process"
)

const (
	readyPoll  = 20 * time.Millisecond // between two questions whether Envoy is ready, at first
	longPoll   = 500 * time.Millisecond
	stopBound  = 5 * time.Second
	firstPause = 200 * time.Millisecond // between a crash and the next start, doubled each time
	longPause  = 10 * time.Second
)

// Agent runs one Envoy.
type Agent struct {
	config Config
	admin  *admin
	ready  bool // it was, once
	health health
	status atomic.Pointer[Status] // of the certificate; nil: there is nothing to tell

	becomeReady sync.Once // of a program without a proxy
}

// New returns an agent for the Envoy that the configuration describes.
func New(c Config) *Agent { return &Agent{config: c} }

// Run starts Envoy and keeps it running until ctx ends; then it drains Envoy, stops it and returns nil.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.prepare(); err != nil {
		return err
	}
	defer a.admin.close()
	stop, err := a.servePages(ctx)
	if err != nil {
		return err
	}
	defer stop()
	forget, err := a.startIdentity(ctx)
	if err != nil {
		return err
	}
	defer forget()
	if a.config.Proxyless {
		<-ctx.Done()
		return nil
	}
	return a.keepEnvoy(ctx)
}

// keepEnvoy runs Envoy, again when it has crashed, until ctx ends.
func (a *Agent) keepEnvoy(ctx context.Context) error {
	pause := firstPause
	for {
		started := time.Now()
		err := a.runEnvoy(ctx)
		if err == nil || !a.ready {
			return err
		}
		a.health.crashes.Add(1)
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

// prepare makes everything that Envoy starts with.
func (a *Agent) prepare() error {
	if err := a.config.complete(); err != nil {
		return err
	}
	a.admin = newAdmin(a.config.AdminSocket)
	return a.config.writeBootstrap()
}

// runEnvoy returns nil when Envoy was stopped since ctx has ended, else why Envoy ended.
func (a *Agent) runEnvoy(ctx context.Context) error {
	if err := removeStale(a.config.AdminSocket); err != nil {
		return err
	}
	inherited, err := a.leadAccessLog()
	if err != nil {
		return fmt.Errorf("access log: %w", err)
	}
	output := process.NewLines(func(line string) { a.logLine(ctx, line) })
	environment := os.Environ()
	if id := cmp.Or(a.config.Node, a.config.Name); id != "" {
		environment = append(environment, mesh.ProxyIDVariable+"="+id)
	}
	envoy, err := process.Start(process.Command{
		Path: a.config.Envoy, Args: a.envoyArgs(), Dir: a.config.Dir, Stdout: output, Stderr: output, Files: inherited, Env: environment,
	})
	if err != nil {
		return fmt.Errorf("start envoy: %w", err)
	}
	a.health.starts.Add(1)
	running, ended := context.WithCancel(ctx)
	defer ended()
	var beside sync.WaitGroup
	beside.Go(func() { a.watchReady(running, envoy.PID) })
	beside.Go(func() { a.boundAccessLog(running) })

	select {
	case <-ctx.Done():
		a.health.draining.Store(true)
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
		"--concurrency", strconv.Itoa(a.config.Concurrency),
		"--disable-hot-restart",
		"--drain-time-s", fmt.Sprint(int(oldWays.Seconds())),
		"--drain-strategy", "immediate",
		"--file-flush-interval-msec", "200",
		"--log-level", a.config.ProxyLogLevel,
		"--log-format", logFormat,
	}
}

// watchReady tells once that Envoy is ready.
func (a *Agent) watchReady(ctx context.Context, pid int) {
	begun, timer := time.Now(), time.NewTimer(readyPoll)
	defer timer.Stop()
	for !a.admin.ready(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		// Where so many start at once that it takes long, questions make it longer.
		timer.Reset(min(max(readyPoll, time.Since(begun)/10), longPoll))
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
