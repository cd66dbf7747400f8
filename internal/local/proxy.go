package local

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/process"
)

const (
	drainTime    = 2 * time.Second
	proxyStop    = 2*drainTime + 6*time.Second // the agent's own bounds, and a moment
	proxyPause   = 200 * time.Millisecond
	proxyLongest = 10 * time.Second
	// bootstrapName is that of the file that an agent writes for what starts with it.
	bootstrapName = "bootstrap.json"
)

// proxy runs the agent of an instance, which keeps its identity and runs its Envoy, if it has one.
type proxy struct {
	site     *site
	instance *Instance
	report   func(part, condition) bool
	config   agent.Config
	log      *logFile
	ready    chan struct{} // closed when it was ready once
	once     sync.Once     // closes ready

	output  *process.Lines // what the agent that was started last has logged
	told    bool           // that its Envoy has ended
	tokens  net.Conn       // where that agent asks for join tokens
	refused string         // why the control plane gave none, as it was told last
}

func newProxy(s *site, i *Instance) *proxy {
	return &proxy{site: s, instance: i, ready: make(chan struct{})}
}

// prepare makes the folder of the proxy.
func (p *proxy) prepare() error {
	id, w := p.instance.ID(), p.instance.Workload
	dir, err := p.site.state.proxyDir(id)
	if err != nil {
		return err
	}
	p.config = agent.Config{
		Envoy: p.site.envoy, Dir: dir, AdminSocket: filepath.Join(dir, "admin.sock"), DrainTime: drainTime,
		Node: string(id), Type: string(w.Type), Address: p.instance.Address.String(),
		ControlPlane: p.site.controlPlane.String(), TrustDomain: p.site.realm.TrustDomain, InheritToken: true,
		Proxyless: w.Type == mesh.Proxyless,
	}
	p.log, err = openLog(filepath.Join(dir, "agent.log"))
	return err
}

// close takes away what the proxy had, its identity above all, and leaves its logs.
func (p *proxy) close() {
	if err := keepLogs(p.config.Dir); err != nil {
		p.log.line("the folder is not emptied: " + err.Error())
	}
	p.log.close()
}

// bootstrap is the path of what the gRPC library of a workload without a proxy starts with. It is there once the agent was ready.
func (p *proxy) bootstrap() string { return filepath.Join(p.config.Dir, bootstrapName) }

// keeper returns what keeps the agent running.
func (p *proxy) keeper() keeper {
	return keeper{
		start: p.start, attend: p.giveTokens, ended: p.ended, pause: proxyPause, longest: proxyLongest, stopWait: proxyStop,
	}
}

// start starts the agent with one end of a pair of sockets, by which it asks for join tokens: nobody else can.
func (p *proxy) start() (*process.Process, error) {
	p.output, p.told = process.NewLines(p.log.line), false
	agents, ours, err := agent.TokenPair()
	if err != nil {
		return nil, err
	}
	defer agents.Close()
	child, err := process.Start(process.Command{
		Path: p.site.executable, Args: append([]string{"agent"}, p.config.Args()...), Dir: p.config.Dir, Env: p.site.environ,
		Stdout: process.NewLines(p.event), Stderr: p.output, Files: []*os.File{agents}, Groups: p.site.guard,
	})
	if err != nil {
		_ = ours.Close() // nothing was written
		return nil, err
	}
	p.tokens = ours
	return child, nil
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
		p.once.Do(func() { close(p.ready) })
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
	why, hint := ownWords(err, p.output)
	if hint != "" {
		why += " (" + hint + ")"
	}
	p.fail("its agent " + sentence(err) + why)
}

func (p *proxy) fail(message string) {
	p.site.console.fail(fmt.Sprintf("the proxy of %s: %s", p.instance.Name, message), "it is started again; its log is "+p.log.path)
}

// await returns when the proxy was ready once, or false when ctx ends before.
func (p *proxy) await(ctx context.Context) bool {
	select {
	case <-p.ready:
		return true
	case <-ctx.Done():
		return false
	}
}
