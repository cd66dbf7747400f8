package admin

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// guarded returns the pages for who knows the token: what people look at, profiles, and the reading part of the API.
func (s *Server) guarded() http.Handler {
	mux := http.NewServeMux()
	s.pages(mux)
	mux.Handle("/v1/", s.api())
	return s.config.Gate.guard(mux)
}

// pages adds what people look at, and profiles.
func (s *Server) pages(mux *http.ServeMux) {
	mux.HandleFunc("/debug/{$}", s.page(s.debugIndex))
	mux.HandleFunc("/debug/proxies", s.page(s.debugProxies))
	mux.HandleFunc("/debug/problems", s.page(s.debugProblems))
	mux.HandleFunc("/debug/snapshot", s.page(s.debugSnapshot))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
}

func (s *Server) debugIndex() document {
	return document{
		Title: "Debug", Lead: "Lateen " + s.config.Version + ", from inside. Nothing can be changed here.",
		Links: []link{
			{"/debug/proxies", "proxies", "who is connected, and what it has confirmed"},
			{"/debug/problems", "problems", "what is wrong with objects"},
			{"/debug/snapshot", "snapshot", "how much is known"},
			{"/debug/pprof/", "pprof", "profiles of this process"},
			{"/v1/status", "/v1/", "the API as JSON: status, proxies, problems, objects, explain, decide"},
			{"/cache_stats", "cache_stats", "how often a resource was known"},
			{"/metrics", "metrics", "what is counted, for Prometheus"},
		},
	}
}

func (s *Server) debugProxies() document {
	t := &table{Caption: "Connected proxies", Head: []string{"Proxy", "Type", "In sync", "Confirmed", "Holds", "Refused"}, Empty: "No proxy is connected."}
	connected := s.config.Proxies.Connected()
	for _, c := range connected {
		inSync := "yes"
		if c.Settled < c.Marked || c.Settled < 0 {
			inSync = "no"
		}
		revision := "nothing yet"
		if c.Settled >= 0 {
			revision = fmt.Sprintf("change %d", c.Settled)
		}
		var refused []string
		for _, r := range c.Refusals {
			refused = append(refused, r.Resource.String()+": "+r.Reason)
		}
		t.Rows = append(t.Rows, []string{string(c.ID), string(c.Type), inSync, revision, holds(c.Holds), strings.Join(refused, "\n")})
	}
	return document{Title: "Proxies", Lead: fmt.Sprintf("%d streams at change %d.", len(connected), s.config.Store.Snapshot().Revision()), Table: t}
}

func holds[K ~string](counts map[K]int) string {
	var words []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		if counts[kind] > 0 {
			words = append(words, fmt.Sprintf("%d %s", counts[kind], kind))
		}
	}
	return strings.Join(words, ", ")
}

func (s *Server) debugProblems() document {
	t := &table{Caption: "Problems of objects", Head: []string{"Severity", "Place", "Object", "Problem", "Code"}, Empty: "Nothing is wrong."}
	for _, p := range s.allProblems() {
		message := p.Message
		if p.Field != "" {
			message = p.Field + ": " + message
		}
		if p.Hint != "" {
			message += "\nhint: " + p.Hint
		}
		t.Rows = append(t.Rows, []string{string(p.Severity), p.Position.String(), p.Object.String(), message, p.Code})
	}
	return document{Title: "Problems", Lead: "What the control plane finds wrong, as `lateen validate` and the log tell it.", Table: t}
}

// snapshotKinds are the kinds of parts that a snapshot may have, as people call them.
var snapshotKinds = []struct {
	kind mesh.Kind
	name string
}{
	{mesh.KindService, "services"},
	{mesh.KindEndpoints, "services with endpoints"},
	{mesh.KindWorkload, "instances"},
	{mesh.KindRules, "hosts with rules"},
	{mesh.KindPolicies, "hosts with policies"},
	{mesh.KindEgress, "hosts outside, with their patterns as one"},
	{mesh.KindDoor, "door of the ingress"},
	{mesh.KindSecret, "certificates"},
	{mesh.KindSettings, "settings"},
}

func (s *Server) debugSnapshot() document {
	snapshot := s.config.Store.Snapshot()
	t := &table{Caption: "What is known", Head: []string{"Part", "How many"}}
	for _, k := range snapshotKinds {
		t.Rows = append(t.Rows, []string{k.name, fmt.Sprint(len(snapshot.Keys(k.kind)))})
	}
	endpoints := 0
	for _, k := range snapshot.Keys(mesh.KindEndpoints) {
		endpoints += len(snapshot.Endpoints(mesh.Host(k.Name)).Endpoints)
	}
	t.Rows = append(t.Rows, []string{"endpoints", fmt.Sprint(endpoints)})
	lead := fmt.Sprintf("Change %d.", snapshot.Revision())
	if missing := s.config.Store.Missing(); len(missing) > 0 {
		lead += " It is not whole: these sources have not reported: " + strings.Join(missing, ", ") + "."
	}
	return document{Title: "Snapshot", Lead: lead, Table: t}
}
