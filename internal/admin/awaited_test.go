package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/peers"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/store"
)

// replica is what a control plane knows and what becomes of changes in its proxies: a part of it has two, of which one has
// confirmed.
type replica struct {
	Handovers
	Peers
	objects []store.Stored
	others  []peers.Said
	asked   string
}

// knows is what a replica knows of objects.
type knows struct {
	Store
	*replica
}

func (k knows) Objects() []store.Stored  { return k.objects }
func (k knows) Snapshot() *mesh.Snapshot { return mesh.NewSnapshot("cluster.local") }

// proxies are those of a replica.
type proxies struct{ Proxies }

func (proxies) Progress(context.Context, int64, time.Duration) push.Progress {
	return push.Progress{Reached: true, Concerned: 2, Confirmed: 1, Waiting: []mesh.ProxyID{"here.default"}, Away: []mesh.ProxyID{"there.default", "nowhere.default"}}
}
func (r *replica) Await(context.Context, int64, time.Duration) []handover.Moving { return nil }

func (r *replica) Gather(_ context.Context, page string) []peers.Said {
	r.asked = page
	return r.others
}

func (r *replica) Owner(id mesh.ProxyID) (peers.Replica, bool) {
	return peers.Replica{}, id == "there.default"
}

// ask asks how far objects are.
func (r *replica) ask(t *testing.T, query string) (api.Progress, error) {
	t.Helper()
	s := New(Config{Store: knows{replica: r}, Proxies: proxies{}, Handovers: r, Clusters: []string{"cluster"}, Peers: r})
	answer, err := s.objectProgress(httptest.NewRequestWithContext(t.Context(), "GET", "/v1/progress?"+query, nil))
	p, _ := answer.(api.Progress)
	return p, err
}

// TestObjectProgress wants a change to be in force when every replica knows it and all their proxies have it.
func TestObjectProgress(t *testing.T) {
	t.Parallel()
	at := func(name, version, source string) store.Stored {
		return store.Stored{Object: config.Object{Ref: mesh.Ref{Kind: "RouteRule", Namespace: "a", Name: name}, ResourceVersion: version}, Source: source}
	}
	said := func(p api.Progress) []byte {
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	r := &replica{objects: []store.Stored{at("x", "7", "cluster"), at("y", "9", "files"), at("z", "x7", "cluster")}}
	r.others = []peers.Said{{Replica: "two", Body: said(api.Progress{Reached: true, Concerned: 3, Confirmed: 3})}}
	away := []string{"nowhere.default"}
	known := api.Progress{Reached: true, Concerned: 5, Confirmed: 4, Waiting: []string{"here.default"}, Away: away}
	for query, want := range map[string]api.Progress{
		"object=RouteRule/a/x@7":  known,
		"object=RouteRule/a/x@0":  known,
		"deleted=RouteRule/a/w@5": known,
		"deleted=RouteRule/a/x@6": known, // it has been made anew since
		"object=RouteRule/a/x@8":  {Concerned: 3, Confirmed: 3, Unseen: []string{"RouteRule a/x"}},
		"deleted=RouteRule/a/x@7": {Concerned: 3, Confirmed: 3, Unseen: []string{"RouteRule a/x"}},
		"object=RouteRule/a/y@9":  {Concerned: 3, Confirmed: 3, Unseen: []string{"RouteRule a/y"}}, // of a file
	} {
		if got, err := r.ask(t, query); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %v %s", query, err, cmp.Diff(want, got))
		}
	}
	if _, err := r.ask(t, "object=RouteRule/a/x@7&wait=1h"); err != nil || !strings.Contains(r.asked, "wait=1.5s") {
		t.Errorf("others are asked for %s: %v", r.asked, err)
	}
	r.others = []peers.Said{
		{Replica: "two", Body: said(api.Progress{Unseen: []string{"RouteRule a/x"}})}, {Replica: "three", Err: errors.New("it is silent")}, {Replica: "four", Body: []byte("old")},
	}
	want := api.Progress{
		Concerned: 2, Confirmed: 1, Unseen: []string{"RouteRule a/x"}, Away: away,
		Waiting: []string{"here.default", "replica four: another version of Lateen", "replica three: cannot be asked: it is silent"},
	}
	if got, err := r.ask(t, "object=RouteRule/a/x@7"); err != nil || got.Done() || !cmp.Equal(got, want) {
		t.Errorf("%v %s", err, cmp.Diff(want, got))
	}
	for _, query := range []string{"", "object=x@7", "object=RouteRule/a/x", "object=RouteRule/a/x@7&wait=soon", strings.Repeat("&object=RouteRule/a/x@7", maxAwaited+1)} {
		if _, err := r.ask(t, query); err == nil {
			t.Errorf("%.40s is taken", query)
		}
	}
}
