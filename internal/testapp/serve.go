package testapp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/websocket"
)

// Config says what a server is and where it listens: for each protocol addresses with commas between, or "" for no port.
type Config struct {
	Name, Version          string
	HTTP, GRPC, TCP, First string
	// ExitAtOnce ends the server when ctx ends, without waiting for requests under way.
	ExitAtOnce bool
	// ReadyAfter is how long the server says that it is not ready.
	ReadyAfter time.Duration
}

const (
	grace     = 10 * time.Second // for requests under way at the end
	maxLine   = 64 << 10         // bytes of a line over TCP
	maxBody   = 1 << 20          // bytes of a request that are sent back
	mostBytes = 1 << 30          // of /bytes
)

// Answer is what the server says to a request over HTTP: who it is, and what it was asked.
type Answer struct {
	Name     string            `json:"name"`
	Version  string            `json:"version"`
	Instance string            `json:"instance"` // the name of the host: the pod
	Protocol string            `json:"protocol"` // HTTP/1.1 or HTTP/2.0
	Method   string            `json:"method"`
	Host     string            `json:"host"`
	Path     string            `json:"path"` // with the query
	Remote   string            `json:"remote"`
	Header   map[string]string `json:"header"` // the names as Go spells them
	Body     string            `json:"body,omitempty"`
}

// server is a running Config.
type server struct {
	Config
	instance string
	born     time.Time
}

// self is how the server names itself in a line.
func (s *server) self() string { return s.Name + " " + s.Version }

func (s *server) ready() bool { return time.Since(s.born) >= s.ReadyAfter }

// Serve answers until ctx ends, and then finishes what is under way. The first line that it prints says where it listens.
func Serve(ctx context.Context, c Config, out io.Writer) error {
	s := &server{Config: c, born: time.Now()}
	s.instance, _ = os.Hostname() // only to be told
	var running sync.WaitGroup
	var stops []func(context.Context)
	var said []string
	ended := make(chan error, 1) // how the first port ended
	for _, port := range []struct {
		name, addresses string
		start           func(net.Listener) (serve func() error, stop func(context.Context))
	}{{"http", c.HTTP, s.http}, {"grpc", c.GRPC, s.grpc}, {"tcp", c.TCP, s.tcp(false)}, {"first", c.First, s.tcp(true)}} {
		for address := range strings.SplitSeq(port.addresses, ",") {
			if address == "" {
				continue
			}
			l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
			if err != nil {
				return fmt.Errorf("--%s: %w", port.name, err)
			}
			serve, stop := port.start(l)
			stops = append(stops, stop)
			said = append(said, port.name+"="+l.Addr().String())
			running.Go(func() {
				err := serve()
				select {
				case ended <- err:
				default:
				}
			})
		}
	}
	fmt.Fprintln(out, s.self(), "listens:", strings.Join(said, " "))
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	if c.ExitAtOnce {
		return err
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	var stopping sync.WaitGroup
	for _, stop := range stops {
		stopping.Go(func() { stop(late) })
	}
	stopping.Wait()
	running.Wait()
	return err
}

func (s *server) http(l net.Listener) (serve func() error, stop func(context.Context)) {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	h := &http.Server{Handler: s.routes(), Protocols: &protocols, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 65 * time.Minute}
	serve = func() error {
		if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
	return serve, func(ctx context.Context) {
		if h.Shutdown(ctx) != nil {
			_ = h.Close()
		}
	}
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.echo)
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		if !s.ready() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.PathValue("code"))
		if err != nil || code < 200 || code > 599 {
			code = http.StatusBadRequest
		}
		w.WriteHeader(code)
	})
	mux.HandleFunc("/delay/{duration}", func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.PathValue("duration"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		select {
		case <-time.After(d):
			s.echo(w, r)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/bytes/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
		if err != nil || n < 0 || n > mostBytes {
			http.Error(w, "not a number of bytes", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		_, _ = io.CopyN(w, zeros{}, n) // a client that has gone reads no error
	})
	// Any origin will do, none included.
	mux.Handle("/ws", websocket.Server{Handler: func(c *websocket.Conn) {
		var text string
		for websocket.Message.Receive(c, &text) == nil {
			if websocket.Message.Send(c, s.self()+": "+text) != nil {
				return
			}
		}
	}})
	return mux
}

// zeros reads as bytes of the digit 0 without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

// echo answers who this is and what was asked.
func (s *server) echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a := Answer{
		Name: s.Name, Version: s.Version, Instance: s.instance, Protocol: r.Proto, Method: r.Method, Host: r.Host,
		Path: r.URL.RequestURI(), Remote: r.RemoteAddr, Header: map[string]string{}, Body: string(body),
	}
	for name, values := range maps.All(r.Header) {
		a.Header[name] = strings.Join(values, ", ")
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(a) // a client that has gone reads no error
}

// tcp returns a server of lines. With first it speaks first.
func (s *server) tcp(first bool) func(net.Listener) (serve func() error, stop func(context.Context)) {
	return func(l net.Listener) (func() error, func(context.Context)) {
		open := &connections{all: map[net.Conn]bool{}}
		serve := func() error {
			for {
				c, err := l.Accept()
				if errors.Is(err, net.ErrClosed) {
					return nil
				}
				if err != nil {
					return err
				}
				open.add(c)
				go func() {
					defer open.remove(c)
					s.lines(c, first)
				}()
			}
		}
		return serve, func(ctx context.Context) {
			_ = l.Close()
			open.drain(ctx)
		}
	}
}

// lines serves one connection.
func (s *server) lines(c net.Conn, first bool) {
	if first {
		fmt.Fprintln(c, s.self())
	}
	lines := bufio.NewScanner(c)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if _, err := fmt.Fprintf(c, "%s: %s\n", s.self(), lines.Text()); err != nil {
			return
		}
	}
}

// connections are those that a TCP server has open.
type connections struct {
	mu   sync.Mutex
	all  map[net.Conn]bool
	gone chan struct{} // closed with the last one, once somebody waits
}

func (o *connections) add(c net.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all[c] = true
}

func (o *connections) remove(c net.Conn) {
	c.Close()
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, c)
	if len(o.all) == 0 && o.gone != nil {
		close(o.gone)
		o.gone = nil
	}
}

// drain waits until the clients have closed all connections, or closes those that are left when ctx ends.
func (o *connections) drain(ctx context.Context) {
	o.mu.Lock()
	gone := make(chan struct{})
	if len(o.all) == 0 {
		close(gone)
	} else {
		o.gone = gone
	}
	o.mu.Unlock()
	select {
	case <-gone:
	case <-ctx.Done():
		o.mu.Lock()
		defer o.mu.Unlock()
		for c := range o.all {
			c.Close()
		}
	}
}
