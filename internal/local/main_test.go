package local

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/guard"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// TestMain makes the test binary all the programs that a mesh consists of: the control plane (one that only writes
// down what it is told), the agent, the guard, an application, and a supervisor that can be killed.
func TestMain(m *testing.M) {
	programs := map[string]func(ctx context.Context, args []string) error{
		"serve": serve, "agent": runAgent, "app": app, "up": runUp,
		guard.Arg: func(context.Context, []string) error { return guard.Run(os.Stdin) },
	}
	if len(os.Args) < 2 || programs[os.Args[1]] == nil {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT) //nolint:forbidigo // this is a program's main
	defer stop()
	if err := programs[os.Args[1]](ctx, os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runAgent(ctx context.Context, args []string) error {
	c := agent.Config{Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Events: os.Stdout}
	flags := flag.NewFlagSet("agent", flag.ExitOnError)
	c.Flags(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	return agent.New(c).Run(ctx)
}

// told is a line of what the control plane was told.
type told struct {
	Registry *mesh.Registry     `json:"registry,omitempty"` // all of it, also when only an edit was sent
	Edit     *mesh.RegistryEdit `json:"edit,omitempty"`
	Asked    int64              `json:"asked,omitempty"` // the revision whose progress was asked for
	Started  int                `json:"started,omitempty"`
}

const toldFile = "told.log"

// serve takes registries and confirms each at once.
func serve(ctx context.Context, args []string) error {
	dir := args[0]
	log, err := os.OpenFile(filepath.Join(dir, toldFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	write := func(line told) {
		mu.Lock()
		defer mu.Unlock()
		text, _ := json.Marshal(line) // cannot fail
		_, _ = log.Write(append(text, '\n'))
	}
	write(told{Started: os.Getpid()})
	socket := filepath.Join(dir, api.SocketName)
	_ = os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	var revision atomic.Int64
	var known mesh.Registry // the supervisor makes one request after the other
	routes := http.NewServeMux()
	routes.HandleFunc("PUT /v1/registry", func(w http.ResponseWriter, r *http.Request) {
		var registry mesh.Registry
		if err := json.NewDecoder(r.Body).Decode(&registry); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		known = registry
		write(told{Registry: &registry})
		_ = json.NewEncoder(w).Encode(api.Accepted{Revision: revision.Add(1)})
	})
	routes.HandleFunc("PATCH /v1/registry", func(w http.ResponseWriter, r *http.Request) {
		var edit mesh.RegistryEdit
		if err := json.NewDecoder(r.Body).Decode(&edit); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if known.Generation == 0 || known.Generation != edit.Base {
			http.Error(w, "another base", http.StatusConflict)
			return
		}
		known = edited(known, edit)
		write(told{Registry: &known, Edit: &edit})
		_ = json.NewEncoder(w).Encode(api.Accepted{Revision: revision.Add(1)})
	})
	routes.HandleFunc("GET /v1/revisions/{number}/progress", func(w http.ResponseWriter, r *http.Request) {
		p := api.Progress{Reached: true}
		if _, err := fmt.Sscan(r.PathValue("number"), &p.Revision); err != nil || p.Revision > revision.Load() {
			http.Error(w, "no such revision", http.StatusNotFound)
			return
		}
		write(told{Asked: p.Revision})
		_ = json.NewEncoder(w).Encode(p)
	})
	return serveUntil(ctx, l, routes)
}

// edited returns a registry with what an edit says.
func edited(r mesh.Registry, e mesh.RegistryEdit) mesh.Registry {
	r.Generation = e.Generation
	r.Services = replaced(r.Services, e.Services, e.RemovedServices, func(s *mesh.Service) mesh.Host { return s.Host })
	r.Endpoints = replaced(r.Endpoints, e.Endpoints, e.RemovedEndpoints, func(s *mesh.EndpointSet) mesh.Host { return s.Host })
	r.Workloads = replaced(r.Workloads, e.Workloads, e.RemovedWorkloads, (*mesh.Workload).ID)
	if e.Settings != nil {
		r.Settings = e.Settings
	}
	if e.Certificates != nil {
		r.Certificates = e.Certificates
	}
	if e.Problems != nil {
		r.Problems = e.Problems
	}
	return r
}

func replaced[V any, K cmp.Ordered](all, put []V, removed []K, name func(V) K) []V {
	all = slices.DeleteFunc(slices.Clone(all), func(v V) bool {
		return slices.Contains(removed, name(v)) || slices.ContainsFunc(put, func(p V) bool { return name(p) == name(v) })
	})
	return slices.SortedFunc(slices.Values(append(all, put...)), func(a, b V) int { return cmp.Compare(name(a), name(b)) })
}

// app answers on PORT. It can be asked for its process ID and its environment, and to hold a request until a file is there.
func app(ctx context.Context, args []string) error {
	fmt.Println("app", strings.Join(args, " "))
	l, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		return err
	}
	routes := http.NewServeMux()
	routes.HandleFunc("/health", func(http.ResponseWriter, *http.Request) {})
	routes.HandleFunc("/pid", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getpid()) })
	routes.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Join(os.Environ(), "\n")) })
	routes.HandleFunc("/hold", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("holding")
		if err := awaitFile(r.Context(), r.FormValue("until")); err != nil {
			return
		}
		fmt.Fprint(w, "released")
	})
	return serveUntil(ctx, l, routes)
}

func serveUntil(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h}
	context.AfterFunc(ctx, func() { _ = server.Shutdown(context.WithoutCancel(ctx)) })
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
