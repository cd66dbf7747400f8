package admin_test

import (
	"context"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/view"
)

// proxies are two connected proxies, of which progress tells what it is set to. Without a setting it waits.
type proxies struct {
	progress push.Progress
	waits    chan struct{} // has room for one: told when somebody waits for revision 99
}

func (p *proxies) Connected() []push.Connected {
	refused := []push.Refusal{{Proxy: "b.default", Resource: view.ID{Kind: "cluster", Name: "c"}, Reason: "no good"}}
	return []push.Connected{
		{ID: "a.default", Type: mesh.Sidecar, Settled: 3, Marked: 3, Holds: map[view.Kind]int{view.KindCluster: 2}},
		{ID: "b.default", Type: mesh.Ingress, Settled: -1, Refusals: refused},
	}
}

func (p *proxies) Problems() []mesh.Problem { return nil }

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
