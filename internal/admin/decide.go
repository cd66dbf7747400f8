package admin

import (
	"cmp"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/explain"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// decide tells what a proxy does with a request.
func (s *Server) decide(r *http.Request) (any, error) {
	asked, err := askedRequest(r)
	if err != nil {
		return nil, err
	}
	d, err := s.config.Explain.Decide(mesh.ProxyID(r.FormValue("proxy")), asked)
	if err != nil {
		return nil, notFound(err)
	}
	answer := api.Decision{
		Proxy: string(d.Proxy), Resource: d.Resource.String(), Method: d.Request.Method, Authority: d.Request.Authority,
		Candidates: []api.Candidate{}, Outcomes: []api.Outcome{},
	}
	for _, c := range d.Candidates {
		answer.Candidates = append(answer.Candidates, api.Candidate(c))
	}
	for _, o := range d.Outcomes {
		answer.Outcomes = append(answer.Outcomes, api.Outcome(o))
	}
	return answer, nil
}

// askedRequest reads the request that is asked about.
func askedRequest(r *http.Request) (explain.Request, error) {
	target, err := url.Parse(r.FormValue("url"))
	if err != nil || target.Host == "" || (target.Scheme != "http" && target.Scheme != "https") {
		return explain.Request{}, refuse(http.StatusBadRequest, "%q is not a URL with http or https", r.FormValue("url"))
	}
	asked := explain.Request{
		Method: cmp.Or(r.FormValue("method"), http.MethodGet), Scheme: target.Scheme, Authority: target.Host,
		Path: target.RequestURI(), Headers: map[string][]string{},
	}
	if text := r.FormValue("source"); text != "" {
		if asked.Source, err = netip.ParseAddr(text); err != nil {
			return asked, refuse(http.StatusBadRequest, "source: %v", err)
		}
	}
	for _, line := range r.Form["header"] {
		name, value, ok := strings.Cut(line, ":")
		if name = strings.ToLower(name); !ok || name == "" {
			return asked, refuse(http.StatusBadRequest, "header %q: want NAME:VALUE", line)
		}
		if value = strings.TrimSpace(value); name == "host" {
			asked.Authority = value
			continue
		}
		asked.Headers[name] = append(asked.Headers[name], value)
	}
	return asked, nil
}
