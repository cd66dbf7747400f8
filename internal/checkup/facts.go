package checkup

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// atOnce bounds the proxies that are looked at side by side.
const atOnce = 8

// facts is all that is judged.
type facts struct {
	now       time.Time
	since     time.Duration
	dir       string
	away      *api.Unreachable // no control plane answers: only what is in files is known
	fix       string           // of what is wrong with the authority's files; only then
	status    api.Status
	authority *api.Authority // nil: there is none
	bundle    identity.Bundle
	services  []api.Service
	handovers []api.Handover
	problems  []mesh.Problem
	proxies   map[mesh.ProxyID]*api.Proxy  // those that are connected or missed
	streams   map[mesh.ProxyID][]time.Time // when each stream of a proxy began
	seen      []*seen                      // one for each workload
	addresses map[string]mesh.ProxyID      // of workloads; "" for one that several have
}

// seen is what there is to see of one workload.
type seen struct {
	api.Workload
	here     bool   // its proxy has a folder on this machine
	dir      string // "": it is not on this machine
	look     func(ctx context.Context, proxy mesh.ProxyID, page string) ([]byte, error)
	identity Identity
	chain    *chain // of its certificate; nil: none
	silent   bool   // its Envoy does not answer
	counts   counts // of its Envoy
	log      []call // of its access log, what concerns identity
	noLog    bool   // there is no access log
}

// look reads everything.
func look(ctx context.Context, m Mesh) (*facts, error) {
	f, err := known(ctx, m)
	if err == nil {
		err = f.ask(ctx, m)
	}
	if IsAway(err) {
		f, err = offline(m, err) //nolint:contextcheck // files do not wait
	}
	if err != nil {
		return nil, err
	}
	return f, f.each(ctx, func(s *seen) {
		s.lookAtIdentity(ctx, f.now)
		s.lookAtCalls(ctx, f.now.Add(-f.since))
	})
}

// ask reads what else the control plane knows.
func (f *facts) ask(ctx context.Context, m Mesh) (err error) {
	if f.status, err = m.API.Status(ctx); err != nil {
		return err
	}
	if f.services, err = m.API.Services(ctx); err != nil {
		return err
	}
	if f.handovers, err = m.API.Handovers(ctx); err != nil {
		return err
	}
	f.problems, err = m.API.Problems(ctx)
	return err
}

func newFacts(m Mesh) *facts {
	return &facts{now: time.Now(), since: m.Since, dir: m.Dir, proxies: map[mesh.ProxyID]*api.Proxy{}, streams: map[mesh.ProxyID][]time.Time{}, addresses: map[string]mesh.ProxyID{}}
}

// known reads what the control plane knows of its authority, workloads and proxies.
func known(ctx context.Context, m Mesh) (*facts, error) {
	f := newFacts(m)
	authority, err := Authority(ctx, m.API)
	if err != nil {
		return nil, err
	}
	if authority != nil {
		f.authority = authority
		if f.bundle, err = identity.ParseBundle(authority.TrustDomain, []byte(authority.Bundle)); err != nil {
			return nil, err
		}
	}
	proxies, err := m.API.Proxies(ctx)
	if err != nil {
		return nil, err
	}
	for i := range proxies {
		if other := f.proxies[proxies[i].ID]; other == nil || other.Since.Before(proxies[i].Since) { // else it is about a stream of before
			f.proxies[proxies[i].ID] = &proxies[i]
		}
		f.streams[proxies[i].ID] = append(f.streams[proxies[i].ID], proxies[i].Since)
	}
	workloads, err := m.API.Workloads(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range workloads {
		f.seen = append(f.seen, place(m, w, f.proxies[w.ID]))
		f.locate(w)
	}
	return f, nil
}

// locate remembers whose addresses they are.
func (f *facts) locate(w api.Workload) {
	for _, a := range append([]string{w.Address}, w.Further...) {
		if _, several := f.addresses[a]; several {
			f.addresses[a] = ""
		} else {
			f.addresses[a] = w.ID
		}
	}
}

// Authority returns what the control plane tells of its authority, nil where it has none.
func Authority(ctx context.Context, client *api.Client) (*api.Authority, error) {
	a, err := client.Authority(ctx)
	if refused, ok := errors.AsType[*api.Error](err); ok && refused.Status == http.StatusNotFound {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, err
	}
	return &a, nil
}

// place finds the folder of a workload's proxy.
func place(m Mesh, w api.Workload, p *api.Proxy) *seen {
	s := &seen{Workload: w}
	if m.Dir != "" {
		s.dir = filepath.Join(m.Dir, "proxies", string(w.ID))
	}
	if stat, err := os.Stat(s.dir); err == nil && stat.IsDir() {
		s.here = true
	}
	s.identity = Identity{Proxy: w.ID, Type: w.Type, Wanted: w.Identity}
	if p != nil {
		s.identity.Connected, s.identity.Proven = p.Connected, p.Identity
	}
	return s
}

// each looks at all workloads whose proxies are here, some at once.
func (f *facts) each(ctx context.Context, one func(*seen)) error {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for _, s := range f.seen {
		group.Go(func() error {
			one(s)
			return ctx.Err()
		})
	}
	return group.Wait()
}
