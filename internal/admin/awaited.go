package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const (
	maxAwaited   = 500                     // objects that are asked about at once
	lookInterval = 50 * time.Millisecond   // at what the store holds
	peerWait     = 1500 * time.Millisecond // that others wait on purpose: they have to answer soon
)

// awaited is an object as it was written to a cluster, or deleted there.
type awaited struct {
	ref     mesh.Ref
	version int64 // it is at least at; of a deleted one the last
	gone    bool
}

// objectProgress tells how far objects are that were written to a cluster: whether all replicas know them, and in how many of
// their proxies they are in force.
func (s *Server) objectProgress(r *http.Request) (any, error) {
	all, err := readAwaited(r)
	if err != nil {
		return nil, err
	}
	wait, err := askedWait(r)
	if err != nil {
		return nil, err
	}
	others := s.others(r.Context())
	if others == nil {
		return s.awaitObjects(r.Context(), all, wait), nil
	}
	ctx := r.Context()
	var here api.Progress
	var both sync.WaitGroup
	both.Go(func() { here = s.awaitObjects(ctx, all, min(wait, peerWait)) })
	query := r.URL.Query()
	query.Set("wait", min(wait, peerWait).String())
	page := (&url.URL{Path: r.URL.Path, RawQuery: query.Encode()}).RequestURI()
	said := others.Gather(ctx, page)
	both.Wait()
	for _, one := range said {
		var there api.Progress
		if err := one.Err; err != nil {
			here.Waiting = append(here.Waiting, "replica "+one.Replica+": cannot be asked: "+err.Error())
		} else if err := json.Unmarshal(one.Body, &there); err != nil {
			here.Waiting = append(here.Waiting, "replica "+one.Replica+": another version of Lateen")
		} else {
			add(&here, &there)
		}
	}
	slices.Sort(here.Waiting)
	here.Away = slices.DeleteFunc(here.Away, func(id string) bool { _, elsewhere := others.Owner(mesh.ProxyID(id)); return elsewhere })
	return here, nil
}

// add adds how far another replica is.
func add(p, other *api.Progress) {
	p.Reached = p.Reached && other.Reached
	p.Concerned, p.Confirmed = p.Concerned+other.Concerned, p.Confirmed+other.Confirmed
	for _, list := range [][2]*[]string{
		{&p.Waiting, &other.Waiting}, {&p.Refused, &other.Refused}, {&p.Away, &other.Away}, {&p.Handovers, &other.Handovers}, {&p.Unseen, &other.Unseen},
	} {
		all := slices.Concat(*list[0], *list[1])
		slices.Sort(all)
		*list[0] = slices.Compact(all)
	}
}

// readAwaited reads which objects are asked about.
func readAwaited(r *http.Request) ([]awaited, error) {
	var all []awaited
	for key, gone := range map[string]bool{"object": false, "deleted": true} {
		for _, text := range r.URL.Query()[key] {
			name, version, _ := strings.Cut(text, "@")
			parts := strings.Split(name, "/")
			number, err := strconv.ParseInt(version, 10, 64)
			if err != nil || len(parts) != 3 {
				return nil, refuse(http.StatusBadRequest, "%q is not KIND/NAMESPACE/NAME@VERSION", text)
			}
			all = append(all, awaited{mesh.Ref{Kind: parts[0], Namespace: parts[1], Name: parts[2]}, number, gone})
		}
	}
	if len(all) == 0 || len(all) > maxAwaited {
		return nil, refuse(http.StatusBadRequest, "it takes 1 to %d objects", maxAwaited)
	}
	return all, nil
}

// awaitObjects waits until this replica knows objects as they were written and they are in force in its proxies.
func (s *Server) awaitObjects(ctx context.Context, all []awaited, wait time.Duration) api.Progress {
	end := time.Now().Add(wait)
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		unseen := s.unseen(all)
		if len(unseen) == 0 {
			return s.progressOf(ctx, s.config.Store.Snapshot().Revision(), max(time.Until(end), 0))
		}
		if !time.Now().Before(end) || ctx.Err() != nil {
			return api.Progress{Unseen: unseen}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// unseen names the objects that the store does not hold as they were written.
func (s *Server) unseen(all []awaited) []string {
	held := map[mesh.Ref]int64{}
	for _, o := range s.config.Store.Objects() {
		if slices.Contains(s.config.Clusters, o.Source) {
			held[o.Ref] = clusterVersion(o.ResourceVersion)
		}
	}
	var unseen []string
	for _, a := range all {
		version, there := held[a.ref]
		if a.gone && there && version <= a.version || !a.gone && version < a.version {
			unseen = append(unseen, a.ref.String())
		}
	}
	return unseen
}

// clusterVersion reads a resourceVersion: a number wherever an API server keeps its objects in etcd, elsewhere 0.
func clusterVersion(text string) int64 {
	version, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return version
}
