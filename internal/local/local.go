// Package local runs a mesh on one machine: the control plane, the applications and an Envoy beside each of them, all
// as processes of one user.
//
// What comes in: Mesh files, which say what runs. What goes out: processes, and a [mesh.Registry] that tells the
// control plane what runs where. [Supervisor.Run] owns all of it. A change of a Mesh file starts, stops or replaces
// only what it changes: a new instance takes requests before the old one is asked to finish. The control plane, a
// proxy or an application that dies is started again, and nothing else stops.
//
// It promises that, when it returns, every process it started has ended, and that none survives when it is killed
// (packages process and guard say what escapes). It serves nothing itself: `serve`, `agent` and `guard` are commands
// of this same program.
package local

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// API is what the supervisor needs of the control plane.
type API interface {
	PutRegistry(ctx context.Context, r mesh.Registry) (revision int64, err error)
	EditRegistry(ctx context.Context, e mesh.RegistryEdit) (revision int64, err error)
	Progress(ctx context.Context, revision int64, wait time.Duration) (api.Progress, error)
	NewToken(ctx context.Context, n api.NewToken) (api.JoinToken, error)
}

// Source hands over all objects, and what is wrong with others, at the start and after every change, until ctx ends.
// An object that was edited and is broken now, as [Check] says, is handed over as it was last good.
type Source func(ctx context.Context, sink func(ctx context.Context, objects []config.Object, problems []mesh.Problem) error) error

// Config says which mesh to run and how.
type Config struct {
	Name     string // of the mesh
	StateDir string // holds everything that the mesh writes; made if need be
	// TrustDomain is that of the identities of its workloads; "": the domain of its services.
	TrustDomain string
	Source      Source // of Mesh documents

	Executable  string   // path of this program, run as `serve` and `agent`; itself it runs as `guard`
	ServeArgs   []string // the arguments that make it the control plane, which gets --secure-address too
	Envoy       agent.Lookup
	AdminPort   int // that the control plane will listen on, checked to be free; 0: none
	IngressPort int // 0: as the Mesh says
	HTTPSPort   int // 0: as the Mesh says
	Environ     []string

	API  API
	URLs func(door Door) []string // where people find the mesh, once it runs; no ports: it has no door

	Stdout   io.Writer
	Stderr   io.Writer
	Terminal bool // Stdout is one: progress is redrawn
	Colour   bool
	Quiet    bool            // nothing but errors
	Kill     <-chan struct{} // closed: end everything at once, without draining
	Log      *slog.Logger
}
