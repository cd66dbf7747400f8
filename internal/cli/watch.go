package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/local"
)

const (
	watchWait  = 30 * time.Second       // that one request waits for a change
	watchPace  = 100 * time.Millisecond // between two requests
	watchCalm  = 300 * time.Millisecond // without a change before the table is printed again
	watchLimit = 2 * time.Second        // after which it is printed anyway
)

// follow shows the proxies, and shows them again when something changes, until the command is ended.
func (l *looking) follow(cmd *cobra.Command, t target) error {
	ctx := cmd.Context()
	w := newWatching(cmd.OutOrStdout(), l)
	supervised := t.cluster == nil && local.Runs(t.dir)
	ask := api.Watch{Revision: -1}
	for ctx.Err() == nil {
		watched, err := t.client.WatchProxies(ctx, ask)
		_, away := errors.AsType[*api.Unreachable](err)
		switch {
		case ctx.Err() != nil: // that is how it ends
		case away:
			rest(ctx, watchCalm) // a mesh that ends holds its folder a moment longer than its control plane lives
			if supervised && !local.Runs(t.dir) {
				fmt.Fprintf(cmd.ErrOrStderr(), "lateen: mesh %s has ended\n", t.name)
				return nil
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "lateen: the control plane is away; the proxies go on with what they have")
			found, err := t.again(ctx)
			if err != nil && ctx.Err() == nil {
				return err
			}
			t, ask = found, api.Watch{Revision: -1}
			w.travels, w.newest = nil, -1
		case err != nil:
			return err
		default:
			calm := watched.Cursor == ask.After
			watched.Proxies = l.choose(watched.Proxies)
			if err := w.see(watched, calm); err != nil {
				return err
			}
			ask = api.Watch{After: watched.Cursor, Revision: w.seen(), Wait: w.patience()}
		}
		rest(ctx, watchPace)
	}
	w.end()
	return nil
}

// watching prints what changes. On a terminal the lines of changes that travel are written over one another.
type watching struct {
	out      io.Writer
	terminal bool
	table    func(io.Writer, []api.Proxy) error
	printed  string       // the table that was printed last, without what changes by itself
	differs  time.Time    // since when the table is another one; zero: it is not
	travels  []travelling // that are not over, oldest first
	open     int          // lines at the end that are written over
	newest   int64        // revision that was told of
}

// travelling is a change on its way, and what was last said of it.
type travelling struct {
	revision int64
	said     string
}

func newWatching(out io.Writer, l *looking) *watching {
	return &watching{out: out, terminal: isTerminal(out), table: l.show, newest: -1}
}

// see takes how the proxies are. calm tells that nothing has changed since the last time.
func (w *watching) see(now api.Watched, calm bool) error {
	w.travel(now.Travels)
	w.newest = max(w.newest, now.Revision)
	key := tableKey(now.Proxies)
	switch {
	case key == w.printed:
		w.differs = time.Time{}
		return nil
	case w.differs.IsZero():
		w.differs = time.Now()
	}
	if w.printed != "" && !calm && time.Since(w.differs) < watchLimit {
		return nil
	}
	w.end()
	if w.printed != "" {
		fmt.Fprintln(w.out)
	}
	w.printed, w.differs = key, time.Time{}
	return w.table(w.out, now.Proxies)
}

// patience is how long to wait for the next change: shortly, if the table is to be printed when nothing comes.
func (w *watching) patience() time.Duration {
	if w.differs.IsZero() {
		return watchWait
	}
	return watchCalm
}

// seen returns the revision after which travels are of interest.
func (w *watching) seen() int64 {
	if len(w.travels) > 0 {
		return w.travels[0].revision - 1
	}
	return w.newest
}

// travel says how far changes have come.
func (w *watching) travel(travels []api.Travel) {
	if len(travels) == 0 {
		return
	}
	var over, left []travelling
	for _, t := range travels {
		line := travelled(t)
		i := slices.IndexFunc(w.travels, func(known travelling) bool { return known.revision == t.Revision })
		known := i >= 0
		changed := !known || w.travels[i].said != line
		if !known && t.Revision <= w.newest {
			continue // it was over before
		}
		if t.Waiting == 0 {
			over = append(over, travelling{t.Revision, line})
		} else {
			left = append(left, travelling{t.Revision, line})
		}
		if changed && !w.terminal {
			fmt.Fprintln(w.out, line)
		}
	}
	w.travels = left
	if w.terminal {
		w.redraw(over, left)
	}
}

// redraw writes the lines at the end anew: those that are over stay, those that are left are written over next time.
func (w *watching) redraw(over, left []travelling) {
	var b strings.Builder
	if w.open > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r\x1b[J", w.open)
	}
	for _, t := range slices.Concat(over, left) {
		b.WriteString(t.said + "\n")
	}
	w.open = len(left)
	fmt.Fprint(w.out, b.String())
}

// end keeps the lines that stand.
func (w *watching) end() { w.open = 0 }

// travelled returns "change 57: programmed in 411 of 412, refused by 1".
func travelled(t api.Travel) string {
	line := fmt.Sprintf("change %d: programmed in %d of %d", t.Revision, t.Confirmed, t.Concerned)
	if t.Refused > 0 {
		line += fmt.Sprintf(", refused by %d", t.Refused)
	}
	return line
}

// tableKey tells tables apart but for what changes by itself and with every revision.
func tableKey(proxies []api.Proxy) string {
	list := slices.Clone(proxies)
	for i := range list {
		list[i].Revision = min(list[i].Revision, 0)
	}
	text, err := json.Marshal(list)
	if err != nil {
		return err.Error()
	}
	return cmp.Or(string(text), "none")
}

// rest waits, or until the context ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
