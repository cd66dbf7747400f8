package admin_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/view"
)

// proxies are two connected proxies, of which progress tells what it is set to. Without a setting it waits.
type proxies struct {
	progress push.Progress
	moving   []handover.Moving
	waits    chan struct{} // has room for one: told when somebody waits for revision 99
}

func (p *proxies) Connected() []push.Connected {
	refused := []push.Refusal{{Proxy: "b.default", Resource: view.ID{Kind: "cluster", Name: "c"}, Reason: "no good", At: time.Unix(8, 0).UTC()}}
	pending := []push.Pending{{Resource: view.ID{Kind: "cluster", Name: "d"}, Sent: true}}
	return []push.Connected{
		{ID: "a.default", Type: mesh.Sidecar, Scope: "s", Settled: 3, Marked: 3, Holds: map[view.Kind]int{view.KindCluster: 2}},
		{ID: "b.default", Type: mesh.Ingress, Settled: -1, Busy: true, Refusals: refused, Last: &refused[0], Pending: pending, Behind: 2},
	}
}

func (p *proxies) Problems() []mesh.Problem { return nil }

func (p *proxies) NextIsGiven(mesh.ProxyID) []string { return []string{"reviews:9080"} }

func (p *proxies) Uses() []push.Use {
	return []push.Use{{
		Scope: view.Caller{Type: mesh.Sidecar, Namespace: "default", Labels: mesh.Labels{"app": "a"}},
		Names: []push.UsedName{{Name: "reviews:9080", Asked: time.Unix(1000, 5)}},
	}}
}

func (p *proxies) Progress(ctx context.Context, revision int64, _ time.Duration) push.Progress {
	if revision == 99 {
		p.waits <- struct{}{}
		<-ctx.Done()
	}
	now := p.progress
	now.Revision = revision
	return now
}

func (p *proxies) Look(context.Context) []push.Connected { return p.Connected() }

func (p *proxies) Absent() []push.Absent {
	return []push.Absent{{ID: "aa.default", Type: mesh.Sidecar, Since: time.Unix(7, 0).UTC()}}
}

func (p *proxies) Strangers() (list []push.Stranger) {
	for range 101 {
		list = append(list, push.Stranger{ID: "nobody.default", Type: mesh.Sidecar, Streams: 2, Since: time.Unix(7, 0)})
	}
	return list
}

func (p *proxies) SecuredSince(mesh.Host) time.Time { return time.Unix(9, 0) }

func (p *proxies) Travels(after int64) (list []push.Travel, newest int64) {
	return []push.Travel{{Revision: after + 1, Concerned: 3, Confirmed: 1, Refused: 1}}, after + 2
}

func (p *proxies) Changed(_ context.Context, cursor string, wait time.Duration) string {
	return fmt.Sprint(cursor, " ", wait)
}

func (p *proxies) Resolve(name string) (mesh.ProxyID, error) {
	switch name {
	case "pod/a":
		return "a.default", nil
	case "a.default", "aa.default", "starting.default":
		return mesh.ProxyID(name), nil
	default:
		return "", fmt.Errorf("no proxy %s", name)
	}
}

func (p *proxies) Sent(_ context.Context, proxy mesh.ProxyID) ([]push.Sent, error) {
	if proxy == "aa.default" {
		return nil, push.ErrSilent
	}
	return []push.Sent{
		{Resource: view.ID{Kind: view.KindCluster, Name: "c"}, Type: "t", Wanted: "2", Sent: "2", Confirmed: "1", Reason: "no good"},
		{Resource: view.ID{Kind: view.KindListener, Name: "l"}, Type: "t"},
	}, nil
}

// One proxy is told in detail by any name; one that is missed, or takes no messages, with what is known of it.
func TestProxyInDetail(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	for name, want := range map[string]api.ProxyDetail{
		"pod/a": {
			Proxy: api.Proxy{ID: "a.default", Type: mesh.Sidecar, Connected: true, Scope: "s", Revision: 3, Current: true, Holds: map[string]int{"cluster": 2}},
			Names: map[string][]string{"cluster": {"c"}, "listener": {"l"}}, NextIsGiven: []string{"reviews:9080"},
		},
		"aa.default": {Proxy: api.Proxy{ID: "aa.default", Type: mesh.Sidecar, Since: time.Unix(7, 0).UTC(), Revision: -1, Holds: map[string]int{}}},
	} {
		got, err := s.client.Proxy(t.Context(), name)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	for name, want := range map[string]string{
		"starting.default": "proxy starting.default is not connected: it starts", "svc/x": "no proxy svc/x", "../x": "no proxy ../x",
	} {
		if _, err := s.client.Proxy(t.Context(), name); !isRefusal(err, want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

func isRefusal(err error, message string) bool {
	refused, ok := errors.AsType[*api.Error](err)
	return ok && refused.Message == message
}

// What a proxy is to have is told by kind; one whose stream does not answer is told as such.
func TestResources(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	cluster := api.Resource{Kind: "cluster", Name: "c", Type: "t", Wanted: "2", Sent: "2", Confirmed: "1", Reason: "no good"}
	for kind, want := range map[string][]api.Resource{
		"": {cluster, {Kind: "listener", Name: "l", Type: "t"}}, "cluster": {cluster}, "secret": {},
	} {
		got, err := s.client.Resources(t.Context(), "a.default", kind)
		if diff := cmp.Diff(api.Resources{Proxy: "a.default", Resources: want}, got); err != nil || diff != "" {
			t.Errorf("%q: %v %s", kind, err, diff)
		}
	}
	if _, err := s.client.Resources(t.Context(), "aa.default", ""); !isRefusal(err, push.ErrSilent.Error()) {
		t.Errorf("a silent proxy: %v", err)
	}
	if _, err := s.client.Resources(t.Context(), "nobody", ""); !isRefusal(err, "no proxy nobody") {
		t.Errorf("no proxy: %v", err)
	}
}

// Who watches gives the cursor back and says how long to wait, within bounds.
func TestWatchProxies(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	got, err := s.client.WatchProxies(t.Context(), api.Watch{After: "a-1", Revision: 6, Wait: time.Hour})
	if err != nil || got.Cursor != "a-1 5m0s" || got.Revision != 8 || len(got.Proxies) != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	if diff := cmp.Diff([]api.Travel{{Revision: 7, Concerned: 3, Confirmed: 1, Refused: 1, Waiting: 1}}, got.Travels); diff != "" {
		t.Error(diff)
	}
	if _, err := s.client.WatchProxies(t.Context(), api.Watch{Wait: -time.Second}); !isRefusal(err, `wait "-1s" is not a duration`) {
		t.Errorf("a negative time: %v", err)
	}
}
