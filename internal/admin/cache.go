package admin

import (
	"encoding/json"
	"net/http"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/push"
)

// Work tells what the push engine has done and holds.
type Work interface {
	Counters() *push.Counters
	Size() push.Size
}

// cacheStats tells how often a resource was known, as the page of that name of Istio's Pilot did.
func (s *Server) cacheStats(w http.ResponseWriter, _ *http.Request) {
	counters, size := s.config.Work.Counters(), s.config.Work.Size()
	stats := api.CacheStats{
		Hits: counters.Hits.Load(), Misses: counters.Makes.Load(), Subscribed: size.Subscribed, Resources: size.Resources,
		Bytes: size.Bytes, Kinds: map[string]api.CacheKind{},
	}
	counters.Makes.Each(func(kind string, misses int64) {
		stats.Kinds[kind] = api.CacheKind{Hits: counters.Hits.Of(kind), Misses: misses}
	})
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(stats); err != nil {
		s.config.Log.Debug("answer not sent", "err", err)
	}
}
