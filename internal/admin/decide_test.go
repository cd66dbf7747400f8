package admin_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/explain"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/view"
)

func (p *proxies) Decide(proxy mesh.ProxyID, r explain.Request) (push.Decided, error) {
	if proxy != "a.default" {
		return push.Decided{}, fmt.Errorf("no proxy %s", proxy)
	}
	route := plan.Route{
		Name: "default/short", Path: plan.PathMatch{Kind: plan.PathPrefix, Value: "/pot"},
		Answer: &plan.Answer{Status: http.StatusTeapot, Body: r.Headers["x-user"][0] + " from " + r.Source.String()},
	}
	return push.Decided{
		Resource: view.VirtualHostOf(r.Authority), Request: r, Decision: explain.Decide([]plan.Route{route, route}, r),
	}, nil
}

func TestDecide(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	got, err := s.client.Decide(t.Context(), api.Decide{
		Proxy: "a.default", Method: http.MethodPost, URL: "http://pot:9080/pot/1?lid=shut", Source: "127.0.0.9",
		Headers: http.Header{"X-User": {"ja: son"}, "Host": {"kettle:9080"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := api.Decision{
		Resource: "virtual-host out/kettle:9080", Method: http.MethodPost, Authority: "kettle:9080",
		Candidates: []api.Candidate{{Name: "default/short", Taken: true}, {Name: "default/short", Why: "answered before"}},
		Outcomes:   []api.Outcome{{Percent: 100, Status: http.StatusTeapot, Body: "ja: son from 127.0.0.9"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
