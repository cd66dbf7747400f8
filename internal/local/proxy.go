package local

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/process"
)

const (
	drainTime    = 2 * time.Second
	proxyStop    = 2*drainTime + 6*time.Second // the agent's own bounds, and a moment
	proxyPause   = 200 * time.Millisecond
	proxyLongest = 10 * time.Second
)

// proxy runs the agent of an instance, which runs its Envoy.
type proxy struct {
	site     *site
	instance *Instance
	report   func(part, condition) bool
	config   agent.Config
	log      *logFile

	output *process.Lines // what the agent that was started last has logged
	told   bool           // that its Envoy has ended
}

// prepare makes the folder of the proxy and what its Envoy starts with, or the gRPC library of a workload without a proxy.
func (p *proxy) prepare() error {
	id := p.instance.ID()
	dir, err := p.site.state.proxyDir(id)
	if err != nil {
		return err
	}
	p.config = agent.Config{
		Name: string(id), Envoy: p.site.envoy, Dir: dir, DrainTime: drainTime,
		Bootstrap: filepath.Join(dir, "bootstrap.json"), AdminSocket: filepath.Join(dir, "admin.sock"),
	}
	text, err := p.site.bootstrap(p.instance.MeshWorkload(), p.config.AdminSocket)
	if err != nil {
		return fmt.Errorf("proxy %s: %w", id, err)
	}
	if err := os.WriteFile(p.config.Bootstrap, text, 0o600); err != nil {
		return fmt.Errorf("proxy %s: %w", id, err)
	}
	p.log, err = openLog(filepath.Join(dir, "agent.log"))
	return err
}

// keeper returns what keeps the agent running.
func (p *proxy) keeper() keeper {
	return keeper{start: p.start, ended: p.ended, pause: proxyPause, longest: proxyLongest, stopWait: proxyStop}
}

func (p *proxy) start() (*process.Process, error) {
	p.output, p.told = process.NewLines(p.log.line), false
	return process.Start(process.Command{
		Path: p.site.executable, Args: append([]string{"agent"}, p.config.Args()...), Dir: p.config.Dir, Env: p.site.environ,
		Stdout: process.NewLines(p.event), Stderr: p.output, Groups: p.site.guard,
	})
}

// event takes a line that the agent wrote.
func (p *proxy) event(line string) {
	var e agent.Event
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		p.log.line(line)
		return
	}
	switch e.Event {
	case agent.Ready:
		p.report(partProxy, up)
	case agent.Exited:
		p.told = true
		if p.report(partProxy, failed) {
			p.fail(e.Error)
		}
	}
}

// ended tells that the agent is gone, unless it has told itself why.
func (p *proxy) ended(err error, _ time.Duration) {
	if !p.report(partProxy, failed) || p.told {
		return
	}
	p.fail("its agent " + sentence(err) + lastWords(err, p.output))
}

func (p *proxy) fail(message string) {
	p.site.console.fail(fmt.Sprintf("the proxy of %s: %s", p.instance.Name, message), "it is started again; its log is "+p.log.path)
}
