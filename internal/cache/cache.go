// Package cache keeps on disk what a control plane last knew, so that one that starts again need not begin with nothing.
//
// What comes in: parts, each a Go value under a name, in the forms of JSON. What goes out: the same, after a restart,
// with the time at which it was saved. [Cache.Keep] takes a part without waiting, [Cache.Run] writes the newest of each
// at most once a second; a disk that fails delays nobody and is told once.
//
// Nothing that was read is trusted blindly. A file names its format, its part and its mesh, and has a checksum over all
// of it; one that is damaged, belongs elsewhere or is too large is [Refused] with its path and the reason, and is
// written anew with the next save. A file is there whole or not at all.
//
// What may be written is up to those who hand it in: no keys, no Secrets, nothing of the environment.
package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/disk"
)

// MaxSize bounds a file, in bytes.
const MaxSize = 64 << 20

// Pauses between two rounds of saving.
const (
	pause      = time.Second
	pauseRatio = 20 // saving takes at most this part of the time
	failPause  = 10 * time.Second
)

// Config is what a Cache is made with.
type Config struct {
	Dir  string // made if need be
	Mesh string // name of the mesh that the parts belong to; "": not known, and those of every mesh are taken
	Log  *slog.Logger
}

// Cache keeps parts in a folder. Its methods may be called from any goroutine.
type Cache struct {
	folder *disk.Folder
	mesh   string
	log    *slog.Logger
	wake   chan struct{} // has a value when something waits

	mu      sync.Mutex
	waiting map[string]func() any
	failing map[string]bool // parts that could not be saved: told once
	saving  map[string]*sync.Mutex
}

// Open opens the folder. It changes nothing that is in it.
func Open(c Config) (*Cache, error) {
	folder, err := disk.Open(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("folder of what is kept: %w", err)
	}
	return &Cache{
		folder: folder, mesh: c.Mesh, log: c.Log, wake: make(chan struct{}, 1),
		waiting: map[string]func() any{}, failing: map[string]bool{}, saving: map[string]*sync.Mutex{},
	}, nil
}

// partName is what a part may be called: a file of its name is in the folder and nowhere else.
var partName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

const longestName = 64

// fileOf returns the name of the file of a part.
func fileOf(name string) (string, error) {
	if len(name) > longestName || !partName.MatchString(name) {
		return "", fmt.Errorf("%q is no name of a part", name)
	}
	return name + ".json", nil
}

// Save writes a part and returns when it is on the disk. It takes the place of what was handed in before, also of what is
// just being saved.
func (c *Cache) Save(name string, v any) error { return c.save(name, func() any { return v }) }

// turn returns what is held while a part is saved: a later value never goes before an earlier one.
func (c *Cache) turn(name string) *sync.Mutex {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.saving[name] == nil {
		c.saving[name] = &sync.Mutex{}
	}
	return c.saving[name]
}

func (c *Cache) save(name string, of func() any) error {
	file, err := fileOf(name)
	if err != nil {
		return err
	}
	turn := c.turn(name)
	turn.Lock()
	defer turn.Unlock()
	data, err := encode(name, c.mesh, time.Now(), of())
	if err == nil && len(data) > MaxSize {
		err = fmt.Errorf("%d bytes are more than %d", len(data), MaxSize)
	}
	if err == nil {
		err = c.folder.Write(file, data)
	}
	if err != nil {
		return fmt.Errorf("keep %s: %w", name, err)
	}
	return nil
}

// Load reads a part into v and returns when it was saved. The error is [fs.ErrNotExist] when there is none, and a
// [*Refused] when there is one that must not be used; v is not to be used then.
func (c *Cache) Load(name string, v any) (time.Time, error) {
	file, err := fileOf(name)
	if err != nil {
		return time.Time{}, err
	}
	data, err := c.folder.Read(file, MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return time.Time{}, &Refused{File: c.folder.Path(file), Why: Unreadable, Detail: err.Error()}
	}
	saved, err := decode(data, name, c.mesh, v)
	if refused, ok := errors.AsType[*Refused](err); ok {
		refused.File = c.folder.Path(file)
	}
	return saved, err
}

// Keep has [Cache.Run] save what v returns, unless something newer of the same name comes before. It does not wait. What
// v returns, and everything in it, must not be changed any more; v is called from another goroutine.
func (c *Cache) Keep(name string, v func() any) {
	c.mu.Lock()
	c.waiting[name] = v
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run saves what is handed in until ctx ends, then what still waits, and closes the cache.
func (c *Cache) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-c.wake:
			c.rest(ctx, c.flush())
		}
	}
	c.flush()
	return c.folder.Close()
}

// rest waits, or until ctx ends.
func (c *Cache) rest(ctx context.Context, how time.Duration) {
	timer := time.NewTimer(how)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// flush saves all that waits, and returns how long to rest. What cannot be saved waits on.
func (c *Cache) flush() time.Duration {
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = map[string]func() any{}
	c.mu.Unlock()
	began := time.Now()
	rest := pause
	for _, name := range slices.Sorted(maps.Keys(waiting)) {
		err := c.save(name, waiting[name])
		c.tell(name, err)
		if err != nil {
			rest = failPause
			c.putBack(name, waiting[name])
		}
	}
	return max(rest, pauseRatio*time.Since(began))
}

// putBack makes a part wait that could not be saved, unless a newer one does.
func (c *Cache) putBack(name string, v func() any) {
	c.mu.Lock()
	_, newer := c.waiting[name]
	c.mu.Unlock()
	if !newer {
		c.Keep(name, v)
	}
}

// tell logs that a part can no longer be saved, or can again.
func (c *Cache) tell(name string, err error) {
	failed := err != nil
	if failed == c.failing[name] {
		return
	}
	c.failing[name] = failed
	if failed {
		c.log.Warn("what is known is not kept for a restart", "resource", name, "err", err)
		return
	}
	c.log.Info("what is known is kept for a restart again", "resource", name)
}
