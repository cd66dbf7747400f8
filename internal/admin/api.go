package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/store"
)

// maxWait bounds how long one request may wait for a revision to arrive.
const maxWait = 5 * time.Minute

// api returns the API that package api describes.
func (s *Server) api() http.Handler {
	mux := http.NewServeMux()
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"POST /v1/objects":                      s.writeObjects,
		"POST /v1/objects/delete":               s.deleteObjects,
		"POST /v1/objects/diff":                 s.compareObjects,
		"GET /v1/objects":                       s.listObjects,
		"PUT /v1/registry":                      s.putRegistry,
		"PATCH /v1/registry":                    s.patchRegistry,
		"GET /v1/status":                        s.status,
		"GET /v1/problems":                      s.problems,
		"GET /v1/proxies":                       s.proxies,
		"GET /v1/uses":                          s.uses,
		"GET /v1/workloads":                     s.workloads,
		"GET /v1/workloads/{workload}":          s.workload,
		"GET /v1/services":                      s.services,
		"GET /v1/watch/proxies":                 s.watchProxies,
		"GET /v1/revisions/{revision}/progress": s.progress,
		"GET /v1/progress":                      s.objectProgress,
		"GET /v1/handovers":                     s.handovers,
		"GET /v1/replicas":                      s.replicas,
		"GET /v1/ca":                            s.authority,
		"POST /v1/ca/tokens":                    s.newToken,
		"/":                                     unknown,
	} {
		mux.HandleFunc(pattern, s.json(answer))
	}
	inPath := func(r *http.Request) string { return r.PathValue("proxy") }
	inForm := func(r *http.Request) string { return r.FormValue("proxy") }
	mux.HandleFunc("GET /v1/proxies/{proxy}", s.byOwner(inPath, s.json(s.proxy)))
	mux.HandleFunc("GET /v1/proxies/{proxy}/resources", s.byOwner(inPath, s.json(s.resources)))
	mux.HandleFunc("GET /v1/decide", s.byOwner(inForm, s.json(s.decide)))
	mux.HandleFunc("GET /v1/explain", s.byOwner(inForm, s.explain))
	return mux
}

// own returns the API beside the pages about the control plane, for who may see everything.
func (s *Server) own() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.api())
	s.open(mux)
	s.pages(mux)
	return mux
}

// reading returns that part of it which changes nothing.
func (s *Server) reading() http.Handler {
	all := s.own()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			s.refuse(w, r, refuse(http.StatusMethodNotAllowed, "nothing can be changed here"))
			return
		}
		all.ServeHTTP(w, r)
	})
}

// refusal is an error with the HTTP status that tells it.
type refusal struct {
	status int
	answer api.Error
}

func (r *refusal) Error() string { return r.answer.Message }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status, api.Error{Message: fmt.Sprintf(format, args...)}}
}

// json serves answers as JSON.
func (s *Server) json(answer func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		// A connection that knows no deadlines needs none.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(maxWait + writeTimeout))
		value, err := answer(r)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(value); err != nil {
			s.config.Log.Debug("answer not sent", "err", err)
		}
	}
}

// refuse answers with an error. What is not the client's mistake is logged too.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	refused, ok := errors.AsType[*refusal](err)
	if !ok {
		refused = refuse(http.StatusInternalServerError, "%v", err)
		s.config.Log.Error("request failed", "path", r.URL.Path, "err", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(refused.status)
	if err := json.NewEncoder(w).Encode(refused.answer); err != nil {
		s.config.Log.Debug("answer not sent", "err", err)
	}
}

// read reads a JSON body.
func read[T any](r *http.Request) (T, error) {
	var body T
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&body)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		refused := refuse(http.StatusRequestEntityTooLarge, "the request has more than %d bytes", maxBody)
		refused.answer.Hint = "write the objects in several steps"
		return body, refused
	}
	if err != nil {
		return body, refuse(http.StatusBadRequest, "request: %v", err)
	}
	return body, nil
}

func unknown(r *http.Request) (any, error) {
	return nil, refuse(http.StatusNotFound, "there is no %s %s", r.Method, r.URL.Path)
}

func (s *Server) putRegistry(r *http.Request) (any, error) {
	registry, err := read[mesh.Registry](r)
	if err != nil {
		return nil, err
	}
	return accepted(s.config.Registry.SetRegistry(r.Context(), RegistrySource, registry))
}

func (s *Server) patchRegistry(r *http.Request) (any, error) {
	edit, err := read[mesh.RegistryEdit](r)
	if err != nil {
		return nil, err
	}
	return accepted(s.config.Registry.EditRegistry(r.Context(), RegistrySource, edit))
}

func accepted(revision int64, err error) (any, error) {
	switch {
	case errors.Is(err, store.ErrOtherBase):
		refused := refuse(http.StatusConflict, "%v", err)
		refused.answer.Hint = "hand in the whole registry with PUT"
		return nil, refused
	case errors.Is(err, store.ErrTooLarge):
		return nil, refuse(http.StatusRequestEntityTooLarge, "%v", err)
	}
	return api.Accepted{Revision: revision}, err
}

func (s *Server) status(*http.Request) (any, error) {
	missing := s.config.Store.Missing()
	var stale []string
	for _, s := range s.config.Store.Stale() {
		stale = append(stale, s.Source)
	}
	return api.Status{
		Version: s.config.Version, Mesh: s.config.Mesh, Ready: len(missing) == 0, Missing: missing, Stale: stale,
		Revision: s.config.Store.Snapshot().Revision(), Proxies: len(s.config.Proxies.Connected()), Waiting: s.waiting(),
	}, nil
}

// maxStrangers bounds the proxies that are named of those that wait.
const maxStrangers = 100

// waiting lists the proxies that wait until their workload is known.
func (s *Server) waiting() []api.Waiting {
	var list []api.Waiting
	for _, w := range s.config.Watch.Strangers() {
		if len(list) == maxStrangers {
			break
		}
		list = append(list, api.Waiting{ID: w.ID, Type: w.Type, Identity: w.Identity, Streams: w.Streams, Since: w.Since.UTC()})
	}
	return list
}

func (s *Server) problems(*http.Request) (any, error) {
	return api.Problems{Problems: s.allProblems()}, nil
}

// allProblems lists what is wrong by itself, and what proxies refuse.
func (s *Server) allProblems() []mesh.Problem {
	problems := append([]mesh.Problem{}, s.config.Store.Problems()...)
	problems = append(problems, s.config.Proxies.Problems()...)
	mesh.SortProblems(problems)
	return problems
}

// uses tells which hosts the next replica of each workload is given.
func (s *Server) uses(*http.Request) (any, error) {
	answer := []api.Use{}
	for _, u := range s.config.Proxies.Uses() {
		use := api.Use{Type: u.Scope.Type, Namespace: u.Scope.Namespace, Account: u.Scope.Account, Labels: u.Scope.Labels}
		for _, n := range u.Names {
			use.Hosts = append(use.Hosts, api.UsedHost{Host: n.Name, Asked: n.Asked.UTC().Truncate(time.Second)})
		}
		answer = append(answer, use)
	}
	return answer, nil
}

func (s *Server) progress(r *http.Request) (any, error) {
	revision, err := strconv.ParseInt(r.PathValue("revision"), 10, 64)
	if err != nil || revision < 0 {
		return nil, refuse(http.StatusBadRequest, "%q is not a revision", r.PathValue("revision"))
	}
	wait, err := askedWait(r)
	if err != nil {
		return nil, err
	}
	return s.progressOf(r.Context(), revision, wait), nil
}

// askedWait reads how long a request may wait.
func askedWait(r *http.Request) (time.Duration, error) {
	text := r.FormValue("wait")
	if text == "" {
		return 0, nil
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < 0 {
		return 0, refuse(http.StatusBadRequest, "wait %q is not a duration", text)
	}
	return min(wait, maxWait), nil
}

// progressOf waits until the revision is in force, and so are the handovers that it moves, and tells how far they are.
func (s *Server) progressOf(ctx context.Context, revision int64, wait time.Duration) api.Progress {
	end := time.Now().Add(wait)
	now := s.config.Proxies.Progress(ctx, revision, wait)
	p := api.Progress{Revision: now.Revision, Reached: now.Reached, Concerned: now.Concerned, Confirmed: now.Confirmed}
	for _, id := range now.Waiting {
		p.Waiting = append(p.Waiting, string(id))
	}
	for _, id := range now.Away {
		p.Away = append(p.Away, string(id))
	}
	for _, refused := range now.Refusals {
		p.Refused = append(p.Refused, string(refused.Proxy)+": "+refused.Reason)
	}
	p.Handovers = handoverWords(s.config.Handovers.Await(ctx, revision, max(time.Until(end), 0)))
	return p
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	stage := r.FormValue("stage")
	if stage == "" {
		stage = string(push.StagePlan)
	}
	text, err := s.config.Explain.Explain(mesh.ProxyID(r.FormValue("proxy")), r.FormValue("resource"), stage)
	if err != nil {
		s.refuse(w, r, notFound(err))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if _, err := w.Write([]byte(text)); err != nil {
		s.config.Log.Debug("answer not sent", "err", err)
	}
}
