package local

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/process"
)

const (
	appPause   = time.Second
	appLongest = 30 * time.Second
	appStop    = 10 * time.Second
)

// application runs the command of an instance.
type application struct {
	site     *site
	instance *Instance
	// bootstrap is the path of what the gRPC library starts with where there is no proxy.
	bootstrap string
	report    func(part, condition) bool // false: nobody listens any more

	output  *process.Lines // of the process that was started last
	failure string         // what was told last
}

// keeper returns what keeps the application running.
func (a *application) keeper() keeper {
	return keeper{start: a.start, attend: a.attend, ended: a.ended, pause: appPause, longest: appLongest, stopWait: appStop}
}

func (a *application) start() (*process.Process, error) {
	i, w := a.instance, a.instance.Workload
	variables := i.variables()
	command := make([]string, len(w.Command))
	for n, word := range w.Command {
		command[n], _, _ = expand(word, variables)
	}
	bin := a.site.state.bin()
	a.output = process.NewLines(func(line string) { a.site.console.output(i.Name, w.Name, line) })
	dir, err := filepath.Abs(w.Dir)
	if err != nil {
		return nil, err
	}
	path, err := findProgram(command[0], dir, searchPath(a.site.environ, bin))
	if err != nil {
		return nil, err
	}
	return process.Start(process.Command{
		Path: path, Args: command[1:], Dir: dir, Env: environment(a.site.environ, bin, a.bootstrap, i),
		Stdout: a.output, Stderr: a.output, Groups: a.site.guard,
	})
}

// attend tells when the application is ready. One that does not get there in time is an error.
func (a *application) attend(ctx context.Context, _ *process.Process) error {
	first := a.instance.Workload.Ports[0].Name
	address := netip.AddrPortFrom(loopback, uint16(a.instance.Ports[first])).String()
	if err := (probe{address, a.instance.Workload.Ready}).await(ctx); err != nil {
		return err
	}
	if ctx.Err() == nil {
		a.report(partApp, up)
	}
	return nil
}

// ended tells what happened, with the application's last words, and once what to do about it.
func (a *application) ended(err error, pause time.Duration) {
	if !a.report(partApp, failed) {
		return
	}
	message := a.instance.Name + " " + sentence(err) + lastWords(err, a.output)
	hint := ""
	if message != a.failure {
		hint = fmt.Sprintf("its command is at %s; change it there, or wait: it is started again, next in %s", a.instance.Workload.Origin, pause)
	}
	a.failure = message
	a.site.console.fail(message, hint)
}

// sentence says how a process ended, so that it can follow its name.
func sentence(err error) string {
	if ended, ok := errors.AsType[*exit](err); ok {
		return "ended (" + ended.Error() + ")"
	}
	if slow, ok := errors.AsType[*notReady](err); ok {
		return slow.Error()
	}
	return "cannot be started: " + err.Error()
}

// ownWords returns what a command of this program said last before it ended, to follow how it ended, and the hint that came
// with it.
func ownWords(err error, output *process.Lines) (why, hint string) {
	if ended, ok := errors.AsType[*exit](err); ok && ended.killed {
		return "", ""
	}
	for _, line := range output.Last() {
		if text, ok := strings.CutPrefix(line, "lateen: error: "); ok {
			why, hint = ": "+text, ""
		} else if text, ok := strings.CutPrefix(line, "lateen: hint: "); ok {
			hint = text
		}
	}
	if why == "" {
		return lastWords(err, output), ""
	}
	return why, hint
}

// lastWords returns what a process said last, to follow how it ended. What is killed from outside did not say why.
func lastWords(err error, output *process.Lines) string {
	last := output.Last()
	if ended, ok := errors.AsType[*exit](err); ok && ended.killed || len(last) == 0 {
		return ""
	}
	return ": " + last[len(last)-1]
}
