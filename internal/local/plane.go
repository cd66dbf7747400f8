package local

import (
	"fmt"
	"sync"
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
	end    string // how it ended last, and why
	times  int    // in a row, without having come back

	mu   sync.Mutex
	mute bool     // it has ended before it came back
	held []string // what it says meanwhile, which it may have said before
}

// mostHeld bounds the lines that are held back.
const mostHeld = 100

func (p *plane) keeper() keeper {
	return keeper{start: p.start, ended: p.ended, pause: planePause, longest: planeLongest, stopWait: planeStop}
}

func (p *plane) start() (*process.Process, error) {
	p.output = process.NewLines(p.line)
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
	if again := p.site.announcer.lose(); again && message+hint == p.end {
		p.times++
		p.hear(false)
		if p.times&(p.times-1) == 0 { // rarer and rarer
			p.site.console.fail(fmt.Sprintf("the control plane still does not run, after %d attempts", p.times), "")
		}
		return
	}
	p.hear(true)
	p.end, p.times = message+hint, 1
	if hint != "" {
		hint += "; "
	}
	p.site.console.fail(message, fmt.Sprintf("%sit is started again in %s; the proxies go on with what they have", hint, pause))
}

// line hands on what it says. After it has ended before it came back, that waits until it is known to be something new.
func (p *plane) line(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mute && len(p.held) < mostHeld && p.site.announcer.away() {
		p.held = append(p.held, line)
		return
	}
	p.mute = false
	p.release()
	p.site.console.output(planeName, planeName, line)
}

// hear hands on what was held back, or forgets it, and holds back what comes.
func (p *plane) hear(it bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if it {
		p.release()
	}
	p.held, p.mute = nil, true
}

// back hands on what was held back: it is the word of one that runs.
func (p *plane) back() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release()
	p.mute = false
}

func (p *plane) release() {
	for _, line := range p.held {
		p.site.console.output(planeName, planeName, line)
	}
	p.held = nil
}
