package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// accessLogLink is where the access log leads in the place of a file: to the first descriptor that Envoy inherits.
	accessLogLink = "/proc/self/fd/3"
	accessLogName = "access.log" // what Lateen's listeners write, relative to the folder that Envoy runs in
	maxAccessLog  = 16 << 20
	// maxInMemory is in the place of it where files are memory, which counts as the proxy's.
	maxInMemory    = 2 << 20
	accessLogCheck = 10 * time.Second
)

// boundAccessLog keeps at most two files of about 16 MiB, in memory 2 MiB, until ctx ends.
func (a *Agent) boundAccessLog(ctx context.Context) {
	limit := accessLogLimit(a.config.Dir)
	tick := time.NewTicker(accessLogCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := a.rotate(ctx, limit); err != nil {
				a.config.Log.Warn("access log not rotated", "proxy", a.config.Name, "err", err)
			}
		}
	}
}

// leadAccessLog makes the file that Envoy's listeners write to one that leads to this program's standard output, if so configured
// and if that can be opened: else Envoy would refuse its listeners. It returns what Envoy inherits for that.
func (a *Agent) leadAccessLog() (inherited []*os.File, err error) {
	path := a.config.AccessLog()
	if to, err := os.Readlink(path); err == nil && to == accessLogLink {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	if !a.config.AccessLogStdout {
		return nil, nil
	}
	opened, err := os.OpenFile("/proc/self/fd/1", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		a.config.Log.Warn("access log not on standard output, but in a file", "proxy", a.config.Name, "file", path, "err", err)
		return nil, nil
	}
	opened.Close()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return []*os.File{os.Stdout}, os.Symlink(accessLogLink, path)
}

// accessLogLimit returns how large a file in a folder may become, in bytes.
func accessLogLimit(dir string) int64 {
	var in unix.Statfs_t
	if err := unix.Statfs(dir, &in); err == nil && in.Type == unix.TMPFS_MAGIC {
		return maxInMemory
	}
	return maxAccessLog
}

// rotate sets an access log of more than limit bytes aside and makes Envoy begin a new one.
func (a *Agent) rotate(ctx context.Context, limit int64) error {
	path := a.config.AccessLog()
	file, err := os.Lstat(path)
	if err != nil || !file.Mode().IsRegular() || file.Size() <= limit {
		return nil //nolint:nilerr // nothing was logged yet
	}
	if err := os.Rename(path, path+".1"); err != nil {
		return err
	}
	return a.admin.reopenLogs(ctx)
}
