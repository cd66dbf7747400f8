package agent

import (
	"context"
	"os"
	"time"
)

const (
	accessLogName  = "access.log" // what Lateen's listeners write, relative to the folder that Envoy runs in
	maxAccessLog   = 16 << 20
	accessLogCheck = 10 * time.Second
)

// boundAccessLog keeps at most two files of about 16 MiB until ctx ends.
func (a *Agent) boundAccessLog(ctx context.Context) {
	tick := time.NewTicker(accessLogCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := a.rotate(ctx, maxAccessLog); err != nil {
				a.config.Log.Warn("access log not rotated", "proxy", a.config.Name, "err", err)
			}
		}
	}
}

// rotate sets an access log of more than limit bytes aside and makes Envoy begin a new one.
func (a *Agent) rotate(ctx context.Context, limit int64) error {
	path := a.config.AccessLog()
	file, err := os.Stat(path)
	if err != nil || file.Size() <= limit {
		return nil //nolint:nilerr // nothing was logged yet
	}
	if err := os.Rename(path, path+".1"); err != nil {
		return err
	}
	return a.admin.reopenLogs(ctx)
}
