package admin_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// TestRegistryIsEdited shows that edits come into force, each on the state that it was made from, and what is answered
// to others.
func TestRegistryIsEdited(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	ctx := t.Context()
	service := func(name string) *mesh.Service {
		return &mesh.Service{Host: mesh.ServiceHost(name, "default", domain), Name: name, Namespace: "default"}
	}
	edit := mesh.RegistryEdit{Base: 5, Generation: 6, Services: []*mesh.Service{service("b")}}
	if _, err := s.client.EditRegistry(ctx, edit); !errors.Is(err, api.ErrOtherBase) {
		t.Errorf("before anything was handed in: %v", err)
	}
	first, err := s.client.PutRegistry(ctx, mesh.Registry{Generation: 5, Services: []*mesh.Service{service("a")}})
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.client.EditRegistry(ctx, edit)
	if err != nil || second != first+1 {
		t.Errorf("revision %d after %d, %v", second, first, err)
	}
	_, err = s.client.EditRegistry(ctx, edit)
	refused, ok := errors.AsType[*api.Error](err)
	if !ok || !errors.Is(err, api.ErrOtherBase) || refused.Status != http.StatusConflict || !strings.Contains(refused.Hint, "PUT") {
		t.Errorf("the same again: %+v", err)
	}
	third, err := s.client.EditRegistry(ctx, mesh.RegistryEdit{Base: 6, Generation: 7, RemovedServices: []mesh.Host{service("a").Host}})
	if err != nil || third != second+1 {
		t.Errorf("revision %d after %d, %v", third, second, err)
	}
	if _, err := s.client.EditRegistry(ctx, mesh.RegistryEdit{Base: 7, RemovedServices: []mesh.Host{mesh.Host(strings.Repeat("x", 9<<20))}}); err == nil || errors.Is(err, api.ErrOtherBase) {
		t.Errorf("a body without bounds: %v", err)
	}
}
