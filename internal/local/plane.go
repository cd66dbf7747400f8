package local

import (
	"fmt"
	"time"

	"github.com/lateen-mesh/lateen/internal/process"
)

const (
	planeName    = "lateen"
	planePause   = 100 * time.Millisecond
	planeLongest = 5 * time.Second
	planeStop    = 5 * time.Second
)

// plane runs the control plane. While it is away, proxies go on with what they have.
type plane struct {
	site   *site
	args   []string
	broken chan error // takes one error: it ended before it ever answered

	output *process.Lines
}

func (p *plane) keeper() keeper {
	return keeper{start: p.start, ended: p.ended, pause: planePause, longest: planeLongest, stopWait: planeStop}
}

func (p *plane) start() (*process.Process, error) {
	p.output = process.NewLines(func(line string) { p.site.console.output(planeName, planeName, line) })
	child, err := process.Start(process.Command{
		Path: p.site.executable, Args: p.args, Env: p.site.environ, Stdout: p.output, Stderr: p.output, Groups: p.site.guard,
	})
	p.site.announcer.again()
	return child, err
}

func (p *plane) ended(err error, pause time.Duration) {
	why, hint := ownWords(err, p.output)
	message := "the control plane " + sentence(err) + why
	if !p.site.announcer.reached() {
		select {
		case p.broken <- &Failure{Message: message, Advice: hint}:
		default:
		}
		return
	}
	p.site.announcer.lose()
	if hint != "" {
		hint += "; "
	}
	p.site.console.fail(message, fmt.Sprintf("%sit is started again in %s; the proxies go on with what they have", hint, pause))
}
