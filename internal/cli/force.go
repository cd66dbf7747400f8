package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
)

// waiting follows a change until it is in force.
type waiting struct {
	cmd      *cobra.Command
	target   target
	revision int64
	deadline time.Time
	timeout  time.Duration
	// of asks how far the change is; nil: how far the revision is.
	of func(ctx context.Context, wait time.Duration) (api.Progress, error)
}

const (
	pollInterval = time.Second     // how often a terminal shows what is waited for
	answerTime   = 5 * time.Second // beyond what an answer waits on purpose
	longestLine  = 60              // of a handover, in characters
)

// inForce waits, if it is told to, until the change is in force in every proxy that it concerns, and says in how many
// it is. changed tells whether there was a change at all.
func (w *waiting) inForce(wait, changed bool) error {
	if !wait {
		w.say("not waited for")
		return nil
	}
	p, err := w.progress()
	switch {
	case err != nil:
		return err
	case len(p.Unseen) > 0:
		return failed("`lateen check` tells how the control plane is; what was written is stored", "%s: the control plane has not seen %s after %s",
			w.target.said(), strings.Join(p.Unseen[:min(len(p.Unseen), 3)], ", "), w.timeout)
	case !p.Reached:
		return failed("it will be in force when the mesh has started; its terminal says what is missing",
			"%s: the control plane is still starting after %s", w.target.said(), w.timeout)
	case len(p.Waiting) == 0 && !p.Done():
		return failed("it goes on by itself; `lateen check` tells how far it is",
			"%s: in force in %d of %d proxies, but how ports are secured is still being changed after %s:\n  %s",
			w.target.said(), p.Confirmed, p.Concerned, w.timeout, strings.Join(p.Handovers, "\n  "))
	case !p.Done():
		return failed("it will be in force when they answer; the logs of their agents are in the state folder, proxies/NAME/agent.log",
			"%s: in force in %d of %d proxies after %s, waiting for %s",
			w.target.said(), p.Confirmed, p.Concerned, w.timeout, strings.Join(p.Waiting, ", "))
	case len(p.Refused) > 0:
		w.say(fmt.Sprintf("in force in %d of %d proxies", p.Confirmed, p.Concerned))
		return failed("they keep what they had; `lateen delete` or correct the object",
			"refused by proxies:\n  %s", strings.Join(p.Refused, "\n  "))
	case p.Concerned > 0:
		w.say(fmt.Sprintf("in force in %d of %d proxies", p.Confirmed, p.Concerned) + away(p))
	case changed:
		w.say("in force: no other proxy had to be told" + away(p))
	default:
		w.say("nothing changed")
	}
	return nil
}

// away names the proxies that have lost their stream.
func away(p api.Progress) string {
	if len(p.Away) == 0 {
		return ""
	}
	return "; away, and as before until they are back: " + strings.Join(p.Away, ", ")
}

// progress waits until no proxy is waited for, or the time is over.
func (w *waiting) progress() (api.Progress, error) {
	terminal := isTerminal(w.cmd.ErrOrStderr())
	for {
		left := max(time.Until(w.deadline), 0)
		p, err := w.ask(min(left, pollInterval))
		if terminal {
			fmt.Fprint(w.cmd.ErrOrStderr(), "\r\x1b[K")
		}
		if err != nil || p.Done() || left == 0 {
			return p, err
		}
		if terminal {
			fmt.Fprint(w.cmd.ErrOrStderr(), underWay(p)+" …")
		}
	}
}

// underWay says in one line what is waited for.
func underWay(p api.Progress) string {
	if len(p.Waiting) > 0 || len(p.Handovers) == 0 {
		return fmt.Sprintf("in force in %d of %d proxies", p.Confirmed, p.Concerned)
	}
	line := []rune(p.Handovers[0])
	if len(line) > longestLine { // else the terminal makes two of it, of which only one is wiped
		line = append(line[:longestLine], '…')
	}
	if more := len(p.Handovers) - 1; more > 0 {
		return fmt.Sprintf("%s; and %d more", string(line), more)
	}
	return string(line)
}

func (w *waiting) ask(wait time.Duration) (api.Progress, error) {
	ctx, cancel := context.WithTimeout(w.cmd.Context(), wait+answerTime)
	defer cancel()
	if w.of != nil {
		return w.of(ctx, wait)
	}
	return w.target.client.Progress(ctx, w.revision, wait)
}

func (w *waiting) say(what string) {
	fmt.Fprintf(w.cmd.ErrOrStderr(), "lateen: %s: %s\n", w.target.said(), what)
}
