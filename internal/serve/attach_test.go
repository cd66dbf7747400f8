package serve_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// oneService is a source that knows one service, as soon as it is let.
type oneService struct {
	serve.Attachment
	let chan struct{}
}

func (o *oneService) Objects() []config.Object   { return nil }
func (o *oneService) TakeSettings(mesh.Settings) {}

func (o *oneService) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-o.let:
	}
	_, err := o.Store.SetRegistry(ctx, "one", mesh.Registry{Services: []*mesh.Service{{
		Host: mesh.ServiceHost("web", "default", o.Realm.Domain), Name: "web", Namespace: "default",
	}}})
	<-ctx.Done()
	return err
}

// A control plane with a further source waits for that one, and for nobody who tells it over the API what runs.
func TestAttachedSourceSaysWhatRuns(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	source := &oneService{let: make(chan struct{})}
	plane, err := serve.New(serve.Config{
		StateDir: t.TempDir(), Admin: listener, Domain: "corp.example", Log: slog.New(slog.DiscardHandler),
		Attached: []serve.Attached{{Names: []string{"one"}, New: func(a serve.Attachment) (serve.Source, error) {
			source.Attachment = a
			return source, nil
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := plane.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer stop()
	url := "http://" + listener.Addr().String() + "/readyz"
	meshtest.Await(t, "only the further source is waited for", func() bool { return body(t, url) == "not ready: waiting for one\n" })
	close(source.let)
	meshtest.Await(t, "it is ready", func() bool { return body(t, url) == "ready\n" })
	if source.Store.Snapshot().Service("web.default.svc.corp.example") == nil {
		t.Error("the service is not known")
	}
}

func body(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
