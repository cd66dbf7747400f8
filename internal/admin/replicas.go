package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/peers"
)

// Peers are the other replicas of the control plane.
type Peers interface {
	// Gather asks all for a page of this API; nothing is asked of others in turn.
	Gather(ctx context.Context, page string) []peers.Said
	// Get asks one.
	Get(ctx context.Context, r peers.Replica, page string) (text []byte, status int, err error)
	// Owner returns the replica to which a proxy is connected.
	Owner(id mesh.ProxyID) (peers.Replica, bool)
	Seen() []peers.Seen
}

// alone marks a request of which the answer is about this replica alone.
type alone struct{}

// Alone serves the reading part of the API about this replica alone, for others that put answers together.
func (s *Server) Alone() http.Handler {
	reading := s.reading()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reading.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), alone{}, true)))
	})
}

// others returns the other replicas, nil when an answer is not about them.
func (s *Server) others(ctx context.Context) Peers {
	if ctx.Value(alone{}) != nil {
		return nil
	}
	return s.config.Peers
}

// addProxies adds the proxies that are connected to other replicas to those of this one.
func (s *Server) addProxies(ctx context.Context, list []api.Proxy) []api.Proxy {
	others := s.others(ctx)
	if others == nil {
		return list
	}
	for i := range list {
		if list[i].Connected {
			list[i].Replica = s.config.Replica
		}
	}
	for _, said := range others.Gather(ctx, "/v1/proxies") {
		var theirs []api.Proxy
		if said.Err != nil || json.Unmarshal(said.Body, &theirs) != nil {
			continue // GET /v1/replicas names it
		}
		for _, p := range theirs {
			if !p.Connected {
				continue // it is connected here, or missed here too
			}
			p.Replica = said.Replica
			list = slices.DeleteFunc(list, func(o api.Proxy) bool { return o.ID == p.ID && !o.Connected })
			list = append(list, p)
		}
	}
	slices.SortStableFunc(list, func(a, b api.Proxy) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// replicas lists the replicas of the control plane.
func (s *Server) replicas(r *http.Request) (any, error) {
	list := []api.Replica{{Name: s.config.Replica, Self: true, Address: s.config.Secure, Proxies: len(s.config.Proxies.Connected())}}
	if others := s.others(r.Context()); others != nil {
		for _, o := range others.Seen() {
			list = append(list, api.Replica{Name: o.Name, Address: o.Address, Proxies: o.Proxies, Problem: o.Silent})
		}
	}
	slices.SortFunc(list, func(a, b api.Replica) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// byOwner has a page about one proxy answered by the replica to which that is connected.
func (s *Server) byOwner(name func(*http.Request) string, here http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		others := s.others(r.Context())
		if others == nil {
			here(w, r)
			return
		}
		id, err := s.config.Explain.Resolve(name(r))
		owner, elsewhere := others.Owner(id)
		if err != nil || !elsewhere || s.isHere(id) {
			here(w, r)
			return
		}
		page := (&url.URL{Path: r.URL.Path, RawQuery: r.URL.RawQuery}).RequestURI()
		text, status, err := others.Get(r.Context(), owner, page)
		if err != nil {
			s.refuse(w, r, refuse(http.StatusServiceUnavailable, "%s is connected to the replica %s, which cannot be asked: %v", id, owner.Name, err))
			return
		}
		if status == http.StatusOK && json.Valid(text) {
			w.Header().Set("Content-Type", "application/json")
		} else {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		}
		w.WriteHeader(status)
		_, _ = w.Write(text) // who asked may have gone
	}
}

func (s *Server) isHere(id mesh.ProxyID) bool {
	for _, c := range s.config.Proxies.Connected() {
		if c.ID == id {
			return true
		}
	}
	return false
}
