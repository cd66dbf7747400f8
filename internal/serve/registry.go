package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/lateen-mesh/lateen/internal/admin"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const maxRegistry = 64 << 20 // bytes of a file

// readRegistry reads what runs from a file, in the form that PUT /v1/registry takes.
func readRegistry(path string) (mesh.Registry, error) {
	var r mesh.Registry
	text, err := disk.ReadFile(path, maxRegistry)
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		if err = decoder.Decode(&r); err != nil {
			err = fmt.Errorf("read %s: %w", path, err)
		} else {
			err = checkRegistry(r)
		}
	}
	if err != nil {
		return r, &api.Error{
			Message: err.Error(), Hint: "--registry takes JSON with services, endpoints and workloads, as PUT /v1/registry does: docs/guide/operating.md",
		}
	}
	return r, nil
}

// checkRegistry finds words that people misspell, where a wrong one would only be seen in what proxies do.
func checkRegistry(r mesh.Registry) error {
	known := []mesh.Protocol{mesh.HTTP, mesh.HTTP2, mesh.GRPC, mesh.HTTPS, mesh.TCP}
	var wrong []error
	check := func(where string, p mesh.Protocol) {
		if !slices.Contains(known, p) {
			wrong = append(wrong, fmt.Errorf("%s: protocol %q is none of %s", where, p, known))
		}
	}
	for i, s := range r.Services {
		if s == nil {
			wrong = append(wrong, fmt.Errorf("services[%d] is null", i))
			continue
		}
		for _, p := range s.Ports {
			check(fmt.Sprintf("service %s, port %d", s.Host, p.Number), p.Protocol)
		}
	}
	for i, set := range r.Endpoints {
		if set == nil {
			wrong = append(wrong, fmt.Errorf("endpoints[%d] is null", i))
		}
	}
	for i, w := range r.Workloads {
		if w == nil {
			wrong = append(wrong, fmt.Errorf("workloads[%d] is null", i))
			continue
		}
		node := mesh.Node{Type: w.Type, Address: w.Address, Name: w.Name, Namespace: w.Namespace, Domain: Domain}
		if _, err := mesh.ParseNode(node.String()); err != nil {
			wrong = append(wrong, fmt.Errorf("workload %s: %w", w.Name, err))
		}
		for _, s := range w.Serves {
			check(fmt.Sprintf("workload %s, port %d", w.Name, s.Port), s.Protocol)
		}
	}
	return errors.Join(wrong...)
}

// handRegistry tells the store once what the registry file says runs. Later word over the API takes its place.
func (p *Plane) handRegistry(ctx context.Context) error {
	_, err := p.store.SetRegistry(ctx, admin.RegistrySource, *p.registry)
	return err
}
