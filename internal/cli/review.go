package cli

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/local"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/store"
)

// review tells what objects mean for one another, as a control plane that knows nothing else would: rules that are never
// reached, paths that stand in two objects. Hosts are looked for among the services of the Mesh documents that are
// there; without one, nobody knows which there are.
func review(ctx context.Context, kinds config.Kinds, objects []config.Object) ([]mesh.Problem, error) {
	whole, problems := local.Read(objects)
	var registry mesh.Registry
	if whole != nil {
		registry = registryOf(whole)
	}
	const source = "files"
	known := store.New(store.Config{
		Kinds: kinds, Domain: serve.Domain, Sources: []string{source}, Log: slog.New(slog.DiscardHandler),
		Publish: func(*mesh.Snapshot, []mesh.Key) {},
	})
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- known.Run(ctx) }()
	_, err := known.SetRegistry(ctx, source, registry)
	if err == nil {
		_, err = known.SetObjects(ctx, source, objects, nil)
	}
	stop()
	if ran := <-ended; !errors.Is(ran, context.Canceled) {
		err = errors.Join(err, ran)
	}
	for _, p := range known.Problems() {
		if len(registry.Services) > 0 || !asksRegistry(p.Code) {
			problems = append(problems, p)
		}
	}
	return problems, err
}

// asksRegistry tells whether a problem says what the services are not, rather than what the objects are.
func asksRegistry(code string) bool {
	return slices.Contains([]string{config.CodeUnknownHost, config.CodeUnknownPort, config.CodeEmptySubset, config.CodeUnknownSecret}, code)
}

// somewhere is the address of what does not run yet.
const somewhere = "127.0.0.1"

// registryOf returns what is known of a mesh when all that it wants runs.
func registryOf(m *local.Mesh) mesh.Registry {
	r := mesh.Registry{Services: m.Services, Settings: &m.Settings, Certificates: m.Certificates}
	sets := map[mesh.Host]*mesh.EndpointSet{}
	for _, s := range m.Services {
		sets[s.Host] = &mesh.EndpointSet{Host: s.Host}
		r.Endpoints = append(r.Endpoints, sets[s.Host])
	}
	for _, w := range m.Workloads {
		if set := sets[w.Host]; set != nil && (w.Replicas > 0 || w.Runs.IsValid()) {
			set.Endpoints = append(set.Endpoints, mesh.Endpoint{Address: somewhere, Workload: w.Name, Labels: w.Labels, Health: mesh.Healthy})
		}
	}
	return r
}
