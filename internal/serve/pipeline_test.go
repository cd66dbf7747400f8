package serve

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/golden"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/store"
)

// Each case shows the way from YAML to Envoy's messages, stage by stage, for the proxies and resources that it asks for.
func TestPipeline(t *testing.T) {
	golden.Run(t, "testdata", func(t *testing.T, c *golden.Case) {
		engine := push.NewEngine(push.Config{Log: slog.New(slog.DiscardHandler)})
		problems := load(t, engine, c)
		if problems != "" {
			c.Out("problems", problems)
		}
		for line := range strings.Lines(c.In("in.ask")) {
			fields := strings.SplitN(strings.TrimSpace(line), " ", 3) // PROXY STAGES RESOURCE
			for stage := range strings.SplitSeq(fields[1], ",") {
				text, err := engine.Explain(mesh.ProxyID(fields[0]), fields[2], stage)
				if err != nil {
					text = "error: " + err.Error() + "\n"
				}
				c.Out(stage+" of "+fields[2]+" for "+fields[0], text)
			}
		}
	})
}

// load puts the case's objects and registry into the engine by way of the store, and returns the problems.
func load(t *testing.T, engine *push.Engine, c *golden.Case) string {
	t.Helper()
	s := store.New(store.Config{
		Kinds: Kinds(), Domain: Domain, Sources: []string{"case", "registry"}, Publish: engine.Apply,
		Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	defer running.Wait()
	defer cancel()
	objects, problems := config.Parse("case.yaml", []byte(c.In("in.objects.yaml")), "default")
	if _, err := s.SetObjects(ctx, "case", objects, problems); err != nil {
		t.Fatal(err)
	}
	var registry mesh.Registry
	if err := json.Unmarshal([]byte(c.In("in.registry.json")), &registry); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SetRegistry(ctx, "registry", registry); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, p := range s.Problems() {
		text.WriteString(p.String() + "\n")
	}
	return text.String()
}
