// Package webhook answers the API server of a cluster before it takes an object in: pods get their sidecar then, and objects of our
// kinds are looked at.
//
// What comes in, over TLS: admission reviews (admission.k8s.io/v1) at [MutatePath] and [ValidatePath], and files at [InjectPath], as
// the sidecar-initializer of 2017 took them. What goes out: a JSON patch, a refusal with the problems in the words of `lateen inject`
// and `lateen validate`, or warnings. Package inject says what a pod gets, and inject/policy whether it does; the document for that
// comes to [Server.SetPolicy], where one that is broken changes nothing. [Server.Hooks] says what the API server is to be told of all this.
//
// Whoever reaches the port may ask. Nothing here has a secret, and nothing is written: what an answer says, the caller has sent or
// may as well read in the manifests. Bodies, their number and their time are bounded. Where something could not be found out the answer is an
// error of HTTP and not a refusal, so that the API server does what it was told for a webhook that is away.
package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/inject"
	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/owners"
	"github.com/lateen-mesh/lateen/internal/places"
)

// Paths of the server.
const (
	MutatePath   = "/mutate"   // where pods get their sidecar
	ValidatePath = "/validate" // where objects of our kinds are looked at
	InjectPath   = "/inject"   // where files get theirs: YAML in, YAML out
)

// Bounds.
const (
	maxReview   = 6 << 20 // bytes: an API server takes objects of 3 MiB, and sends two of an update, of which each is smaller
	maxFile     = 4 << 20 // bytes of a file
	maxHeader   = 64 << 10
	atOnce      = 64  // reviews that are worked on; others wait
	filesAtOnce = 2   // files that are
	mostReading = 512 // requests that are being read
	eachReading = 128 // of them from one address: more than an API server sends in the time that reading takes
	mostCallers = 4096
	eachCaller  = 64 // connections of one address; an API server has one or a few for each replica
	readBound   = 10 * time.Second
	writeBound  = 30 * time.Second
	idleBound   = 2 * time.Minute
	lastBound   = 5 * time.Second // for requests that are under way at the end
)

// Around says what is said around a pod. [owners.Owners] does.
type Around interface {
	Around(ctx context.Context, namespace string, of []metav1.OwnerReference, fresh bool) (owners.Around, error)
}

// Config is what a Server is made with.
type Config struct {
	Listener net.Listener       // of the server. Run closes it
	TLS      func() *tls.Config // how it speaks TLS; called once, when Run begins
	Around   Around
	Options  inject.Options // what is injected where the policy's document does not say otherwise
	Kinds    config.Kinds   // that are validated, if a cluster needs a definition of them
	// Check says what is wrong with an object of these kinds.
	Check func(o *unstructured.Unstructured) []mesh.Problem
	Log   *slog.Logger
}

// Server answers the API server. Its methods may be called from any goroutine.
type Server struct {
	c        Config
	policy   atomic.Pointer[policy.Config] // nil: not known yet
	unknown  atomic.Pointer[string]        // why not
	reviews  chan struct{}                 // slots
	files    chan struct{}
	reading  *places.Places
	counters counters
}

// New returns a server. It answers nobody yet.
func New(c Config) *Server {
	return &Server{
		c: c, reviews: make(chan struct{}, atOnce), files: make(chan struct{}, filesAtOnce), reading: places.New(mostReading, eachReading),
	}
}

// Reading is what the place says where the policy's document stands.
type Reading struct {
	Document policy.Document
	Found    bool  // false: there is none
	Err      error // why it may not be read; what was good last stays in force
}

// SetPolicy takes what the place says, and returns what is wrong with it. What is not good, or may not be read, changes nothing. If it is
// what is read first, nobody knows which pods get a sidecar, and those that the API server asks about wait: what was good before this
// server began may have wanted one for them.
func (s *Server) SetPolicy(r Reading) []mesh.Problem {
	next := policy.Unsaid()
	var problems []mesh.Problem
	switch {
	case r.Err != nil:
		problems = []mesh.Problem{{
			Object: r.Document.Object, Position: mesh.Position{File: r.Document.Name}, Code: config.CodeUnreadableFile, Severity: mesh.Error,
			Message: "which pods get a sidecar cannot be read: " + r.Err.Error(), Hint: "until it can, what was read last counts",
		}}
	case r.Found:
		next, problems = policy.Read(r.Document)
	}
	if mesh.HasErrors(problems) {
		why := problems[0].Message
		s.unknown.Store(&why)
		return problems
	}
	s.policy.Store(&next)
	s.tellPolicy(next)
	return problems
}

// tellPolicy logs the policy that is in force from now on.
func (s *Server) tellPolicy(c policy.Config) {
	s.c.Log.Info("sidecar injector: policy", "policy", string(c.Mode), "namespaces", c.Namespaces, "excludeNamespaces", c.Excluded, //nolint:sloglint // as they are spelled
		"image", s.c.Options.With(c.Params).Image, "version", s.c.Options.With(c.Params).Version)
}

// Policy returns the policy in force; false: it is not known yet.
func (s *Server) Policy() (policy.Config, bool) {
	if c := s.policy.Load(); c != nil {
		return *c, true
	}
	return policy.Config{}, false
}

// Run answers until ctx ends. Requests that are under way then are finished.
func (s *Server) Run(ctx context.Context) error {
	s.c.Log.Info("sidecar injector: options", "address", s.c.Listener.Addr().String(), "image", s.c.Options.Image,
		"imagePullPolicy", string(s.c.Options.Pull), "version", s.c.Options.Version) //nolint:sloglint // as it is spelled
	s.c.Log.Info("sidecar injector: supported kinds", "kinds", inject.Supported())
	server := &http.Server{
		Handler: s.Handler(), TLSConfig: s.c.TLS(), ReadTimeout: readBound, WriteTimeout: writeBound, IdleTimeout: idleBound,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.c.Log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.ServeTLS(places.Listen(s.c.Listener, mostCallers, eachCaller), "", "") }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", s.c.Listener.Addr(), err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastBound)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		return errors.Join(server.Close(), ctx.Err())
	}
	return nil
}

// Handler returns what answers requests.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+MutatePath, s.bounded(maxReview, s.reviews, s.review(MutatePath, s.mutate)))
	mux.Handle("POST "+ValidatePath, s.bounded(maxReview, s.reviews, s.review(ValidatePath, s.validate)))
	mux.Handle("POST "+InjectPath, s.bounded(maxFile, s.files, s.file))
	return mux
}

// bounded reads bodies of so many bytes and hands them on, as many at a time as there are slots. Others wait for as long as their callers do. Who
// is slow to send a body holds nobody's slot.
func (s *Server) bounded(most int64, slots chan struct{}, next func(w http.ResponseWriter, r *http.Request, body []byte)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leave, ok := s.reading.Take(callerOf(r))
		if !ok {
			http.Error(w, "too many requests are being read", http.StatusTooManyRequests)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
		leave()
		if err != nil {
			status := http.StatusBadRequest
			if _, large := errors.AsType[*http.MaxBytesError](err); large {
				status = http.StatusRequestEntityTooLarge
			}
			http.Error(w, err.Error(), status)
			return
		}
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-r.Context().Done():
			return
		}
		next(w, r, body)
	})
}

// callerOf returns who has sent a request, as package places knows callers.
func callerOf(r *http.Request) string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return places.From(net.TCPAddrFromAddrPort(at))
}
