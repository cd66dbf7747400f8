package bookinfo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// shutdownGrace is how long requests may run on after the end was asked for.
const shutdownGrace = 5 * time.Second

// Serve listens on addr (":9080"), logs when it is ready, and serves until ctx
// ends. Requests under way may then finish, for five seconds at most. The error
// is nil if all of them did.
func Serve(ctx context.Context, addr string, handler http.Handler, log *slog.Logger) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return serve(ctx, ln, handler, log)
}

func serve(ctx context.Context, ln net.Listener, handler http.Handler, log *slog.Logger) error {
	srv := newServer(handler, log)
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Serve(ln) }()
	log.Info("ready", "address", ln.Addr().String())

	select {
	case err := <-stopped:
		return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	err := srv.Shutdown(grace)
	if err != nil {
		err = errors.Join(fmt.Errorf("end requests on %s: %w", ln.Addr(), err), srv.Close())
	}
	if served := <-stopped; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// newServer bounds everything a client can make the server wait for or keep.
func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		// The slowest answer is the page when details and both tries of reviews
		// time out, 9 s, or reviews v2 when ratings does, 10 s.
		WriteTimeout: 30 * time.Second,
		// Longer than Envoy keeps an idle connection (1 h), so that it is never
		// this side that closes one just as a request is sent on it.
		IdleTimeout:    65 * time.Minute,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
