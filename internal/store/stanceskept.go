package store

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/cache"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// stancesPart is the name under which stances are kept.
const stancesPart = "stances"

// keptStances is what is kept.
type keptStances struct {
	Stances []*mesh.Stance `json:"stances"` // sorted by host
}

// Keeper keeps parts, each a Go value under a name in the forms of JSON, for a control plane that starts again. A [*cache.Cache] is
// one; a cluster has another, which its replicas share.
type Keeper interface {
	// Save returns when a start would find the part.
	Save(part string, v any) error
	// Keep has what v returns saved within moments, unless something newer comes before.
	Keep(part string, v func() any)
	// Load reads a part. The error is [fs.ErrNotExist] when there is none, and a [*cache.Refused] when it must not be used.
	Load(part string, v any) (time.Time, error)
}

// stanceKeeper keeps stances.
type stanceKeeper struct {
	cache   Keeper // nil: nothing is kept
	log     *slog.Logger
	now     atomic.Pointer[keeping]
	failing bool // that is told once
}

// keeping is what is to be kept: the stances of a snapshot, but for some others in the place of theirs.
type keeping struct {
	snapshot *mesh.Snapshot
	over     map[mesh.Host]*mesh.Stance
}

func (k keeping) content() keptStances {
	hosts := map[mesh.Host]*mesh.Stance{}
	for _, key := range k.snapshot.Keys(mesh.KindStance) {
		hosts[mesh.Host(key.Name)] = k.snapshot.Stance(mesh.Host(key.Name))
	}
	maps.Copy(hosts, k.over)
	content := keptStances{Stances: make([]*mesh.Stance, 0, len(hosts))}
	for _, h := range slices.Sorted(maps.Keys(hosts)) {
		if s := hosts[h]; s != nil {
			content.Stances = append(content.Stances, s)
		}
	}
	return content
}

// save returns when they are on the disk.
func (k *stanceKeeper) save(s *mesh.Snapshot, over map[mesh.Host]*mesh.Stance) error {
	if k.cache == nil {
		return nil
	}
	before, now := k.now.Load(), keeping{s, over}
	k.now.Store(&now)
	err := k.cache.Save(stancesPart, now.content())
	if err != nil {
		k.now.Store(before)
	}
	if failed := err != nil; failed != k.failing {
		k.failing = failed
		if failed {
			k.log.Error("how ports are secured is not kept for a restart: it is changed no further before it is", "err", err)
		} else {
			k.log.Info("how ports are secured is kept for a restart again")
		}
	}
	return err
}

// later has them saved within moments.
func (k *stanceKeeper) later(s *mesh.Snapshot, over map[mesh.Host]*mesh.Stance) {
	if k.cache == nil {
		return
	}
	k.now.Store(&keeping{s, over})
	k.cache.Keep(stancesPart, func() any { return k.now.Load().content() })
}

// loadStances reads what was kept before the start.
func (f *fold) loadStances() {
	if f.stances.keeper.cache == nil {
		return
	}
	var content keptStances
	_, err := f.stances.keeper.cache.Load(stancesPart, &content)
	refused, damaged := errors.AsType[*cache.Refused](err)
	switch {
	case damaged:
		p := refused.Problem()
		p.Hint = "ports take plain text and mutual TLS until every proxy has confirmed that, and then what they are to take"
		f.stances.cautious = true
		f.tell(subject{about: aboutSource, kind: stancesPart}, []mesh.Problem{p})
	case err == nil:
		f.stances.kept = make(map[mesh.Host]*mesh.Stance, len(content.Stances))
		for _, s := range content.Stances {
			if s != nil {
				f.stances.kept[s.Host] = s
			}
		}
	}
}
