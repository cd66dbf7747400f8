package admin

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
)

// maxBodies bounds the bodies of resources in one answer.
const maxBodies = 32 << 20

func (s *Server) proxies(r *http.Request) (any, error) { return s.listProxies(r.Context()), nil }

// listProxies lists the proxies that are connected or missed.
func (s *Server) listProxies(ctx context.Context) []api.Proxy {
	list := []api.Proxy{}
	for _, c := range s.config.Watch.Look(ctx) {
		list = append(list, proxyOf(c))
	}
	for _, a := range s.config.Watch.Absent() {
		list = append(list, api.Proxy{ID: a.ID, Type: a.Type, Since: a.Since, Revision: -1, Holds: map[string]int{}})
	}
	slices.SortStableFunc(list, func(a, b api.Proxy) int { return cmp.Compare(a.ID, b.ID) })
	return s.addProxies(ctx, list)
}

func proxyOf(c push.Connected) api.Proxy {
	p := api.Proxy{
		ID: c.ID, Type: c.Type, Connected: true, Since: c.Since, Identity: c.Identity, Scope: c.Scope, Revision: c.Settled,
		Current: c.Settled >= c.Marked && !c.Busy && len(c.Refusals) == 0, Holds: map[string]int{},
		Behind: c.Behind, Silent: c.Silent,
	}
	if !c.Waits.IsZero() {
		p.UnansweredSeconds = int(time.Since(c.Waits).Seconds())
	}
	for kind, n := range c.Holds {
		p.Holds[string(kind)] = n
	}
	for _, pending := range c.Pending {
		p.Pending = append(p.Pending, api.Pending{Resource: pending.Resource.String(), Sent: pending.Sent})
	}
	for _, refused := range c.Refusals {
		p.Refused = append(p.Refused, refused.Resource.String()+": "+refused.Reason)
	}
	if c.Last != nil {
		last := refusalOf(*c.Last)
		p.LastRefusal = &last
	}
	return p
}

func refusalOf(r push.Refusal) api.Refusal {
	return api.Refusal{Resource: r.Resource.String(), Reason: r.Reason, Time: r.At}
}

// proxy tells of one proxy.
func (s *Server) proxy(r *http.Request) (any, error) {
	id, err := s.config.Explain.Resolve(r.PathValue("proxy"))
	if err != nil {
		return nil, notFound(err)
	}
	detail := api.ProxyDetail{}
	for _, c := range s.config.Watch.Look(r.Context()) {
		if c.ID != id {
			continue
		}
		detail.Proxy, detail.Refusals = proxyOf(c), nil
		for _, refused := range c.Refusals {
			detail.Refusals = append(detail.Refusals, refusalOf(refused))
		}
	}
	if !detail.Connected {
		for _, p := range s.listProxies(r.Context()) {
			if p.ID == id {
				detail.Proxy = p
				return detail, nil
			}
		}
		if w := s.config.Store.Snapshot().Workload(id); w != nil && w.Type == mesh.Proxyless {
			return nil, refuse(http.StatusNotFound, "%s runs without a proxy, and its gRPC library is not connected: it calls nothing now", id)
		}
		return nil, refuse(http.StatusNotFound, "proxy %s is not connected: it starts", id)
	}
	sent, err := s.config.Explain.Sent(r.Context(), id)
	if err != nil { // it has just gone, or takes no messages: what is known without it is told
		detail.Silent = detail.Silent || errors.Is(err, push.ErrSilent)
		return detail, nil
	}
	detail.NextIsGiven = s.config.Proxies.NextIsGiven(id)
	detail.Names = map[string][]string{}
	for _, held := range sent {
		kind := string(held.Resource.Kind)
		detail.Names[kind] = append(detail.Names[kind], held.Resource.Name)
	}
	return detail, nil
}

// watchProxies waits until something about the proxies changes.
func (s *Server) watchProxies(r *http.Request) (any, error) {
	wait, err := askedWait(r)
	if err != nil {
		return nil, err
	}
	revision, err := strconv.ParseInt(cmp.Or(r.FormValue("revision"), "-1"), 10, 64)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%q is not a revision", r.FormValue("revision"))
	}
	watched := api.Watched{Cursor: s.config.Watch.Changed(r.Context(), r.FormValue("after"), wait), Travels: []api.Travel{}}
	watched.Proxies = s.listProxies(r.Context())
	travels, newest := s.config.Watch.Travels(revision)
	watched.Revision = newest
	for _, t := range travels {
		watched.Travels = append(watched.Travels, api.Travel{
			Revision: t.Revision, Concerned: t.Concerned, Confirmed: t.Confirmed, Refused: t.Refused, Waiting: t.Waiting(),
		})
	}
	return watched, nil
}

// resources tells what a proxy is to have.
func (s *Server) resources(r *http.Request) (any, error) {
	id, err := s.config.Explain.Resolve(r.PathValue("proxy"))
	if err != nil {
		return nil, notFound(err)
	}
	sent, err := s.config.Explain.Sent(r.Context(), id)
	switch {
	case errors.Is(err, push.ErrSilent):
		return nil, refuse(http.StatusServiceUnavailable, "%v", err)
	case err != nil:
		return nil, notFound(err)
	}
	answer := api.Resources{Proxy: id, Resources: []api.Resource{}}
	left := maxBodies
	for i := range sent {
		h := &sent[i]
		if kind := r.FormValue("kind"); kind != "" && kind != string(h.Resource.Kind) {
			continue
		}
		resource := api.Resource{
			Kind: string(h.Resource.Kind), Name: h.Resource.Name, Type: string(h.Type),
			Wanted: h.Wanted, Sent: h.Sent, Confirmed: h.Confirmed, Reason: h.Reason, Omitted: left <= 0,
		}
		if left > 0 {
			text, err := h.Text()
			if err != nil {
				return nil, err
			}
			resource.Body = []byte(text)
			left -= len(text)
		}
		answer.Resources = append(answer.Resources, resource)
	}
	return answer, nil
}
