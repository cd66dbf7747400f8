package local

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/guard"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/unixsocket"
)

// TestMain makes the test binary all the programs that a mesh consists of: the control plane (with somebody before it who writes
// down what it is told), the agent, the guard, an application, and a supervisor that can be killed.
func TestMain(m *testing.M) {
	programs := map[string]func(ctx context.Context, args []string) error{
		"serve": runPlane, "agent": runAgent, "app": app, "up": runUp,
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
	syscall.Umask(0o077) // as `lateen agent` does
	c := agent.Config{Domain: domain, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Events: os.Stdout}
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
	Revision int64              `json:"revision,omitempty"` // that the control plane gave it
	Reached  int64              `json:"reached,omitempty"`  // the revision that the supervisor was told is in force
	Started  int                `json:"started,omitempty"`
}

const (
	toldFile   = "told.log"
	toldSocket = "told.sock" // of the API, by which what the supervisor says is written down
)

// runPlane runs a control plane, and writes down what it is told and asked.
func runPlane(ctx context.Context, args []string) error {
	dir := args[0]
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	secure := flags.String("secure-address", "", "")
	trustDomain := flags.String("trust-domain", "", "")
	certTTL := flags.Duration("cert-ttl", 0, "")
	deaths := flags.Int("deaths", 0, "how many of these programs end when they are asked for a token, and know what runs")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(dir, toldFile), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	before, err := io.ReadAll(log)
	if err != nil {
		return err
	}
	died := bytes.Count(before, []byte(`"started":`))
	var mu sync.Mutex
	write := func(line told) {
		mu.Lock()
		defer mu.Unlock()
		text, _ := json.Marshal(line) // cannot fail
		_, _ = log.Write(append(text, '\n'))
	}
	write(told{Started: os.Getpid()})
	for _, name := range []string{api.SocketName, toldSocket} {
		_ = os.Remove(filepath.Join(dir, name)) // of one that was killed
	}
	c := serve.Config{StateDir: dir, TrustDomain: *trustDomain, CertTTL: *certTTL, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if c.Secure, err = new(net.ListenConfig).Listen(ctx, "tcp", *secure); err != nil {
		return err
	}
	plane, err := serve.New(c) //nolint:contextcheck // it waits for nobody but the storage of the root, which is a folder
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return plane.Run(ctx) })
	group.Go(func() error {
		if err := awaitFile(ctx, filepath.Join(dir, api.SocketName)); err != nil {
			return nil //nolint:nilerr // the plane ended
		}
		l, err := unixsocket.Listen(ctx, filepath.Join(dir, toldSocket))
		if err != nil {
			return err
		}
		return serveUntil(ctx, l, recorder(filepath.Join(dir, api.SocketName), write, *deaths > died, died == 0))
	})
	if err := group.Wait(); ctx.Err() == nil || !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// recorder hands on everything to the API on a socket, and writes down what the supervisor says and asks. One that is mortal ends when it
// is asked for a token and the supervisor has its answer to what runs: the first one when that shows by another request, since a
// supervisor gives up that has never had any; of a later one that it has been told is enough.
func recorder(socket string, write func(told), mortal, first bool) http.Handler {
	behind := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "lateen" },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	var known mesh.Registry // the supervisor makes one request after the other
	routes := http.NewServeMux()
	routes.Handle("/", behind)
	knows := make(chan struct{})
	var once sync.Once
	routes.HandleFunc("POST /v1/ca/tokens", func(w http.ResponseWriter, r *http.Request) {
		if mortal {
			<-knows
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		behind.ServeHTTP(w, r)
	})
	routes.HandleFunc("PUT /v1/registry", func(w http.ResponseWriter, r *http.Request) {
		var accepted api.Accepted
		registry := mesh.Registry{}
		pass{&registry, &accepted, func() {
			known = registry
			if !first {
				once.Do(func() { close(knows) })
			}
			write(told{Registry: &registry, Revision: accepted.Revision})
		}}.serve(behind, w, r)
	})
	routes.HandleFunc("PATCH /v1/registry", func(w http.ResponseWriter, r *http.Request) {
		var accepted api.Accepted
		var edit mesh.RegistryEdit
		pass{&edit, &accepted, func() {
			known = edited(known, edit)
			write(told{Registry: &known, Edit: &edit, Revision: accepted.Revision})
		}}.serve(behind, w, r)
	})
	routes.HandleFunc("GET /v1/revisions/{number}/progress", func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() { close(knows) })
		var progress api.Progress
		pass{nil, &progress, func() {
			if progress.Done() {
				write(told{Reached: progress.Revision})
			}
		}}.serve(behind, w, r)
	})
	return routes
}

// pass hands on a request, and reads its body and the answer too.
type pass struct {
	body, answer any
	taken        func() // called when it was taken, before that is answered
}

func (p pass) serve(behind http.Handler, w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err == nil && p.body != nil {
		err = json.Unmarshal(text, p.body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(text))
	answered := httptest.NewRecorder()
	behind.ServeHTTP(answered, r)
	if answered.Code == http.StatusOK && json.Unmarshal(answered.Body.Bytes(), p.answer) == nil {
		p.taken()
	}
	maps.Copy(w.Header(), answered.Header())
	w.WriteHeader(answered.Code)
	_, _ = w.Write(answered.Body.Bytes())
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
