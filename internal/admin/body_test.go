package admin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// one is a listener to which one connection comes.
type one struct {
	come, closed chan net.Conn
}

func (l one) Accept() (net.Conn, error) {
	select {
	case c := <-l.come:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l one) Close() error   { close(l.closed); return nil }
func (l one) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// A request whose body does not come is ended, whatever it asks for; one without a body may wait.
func TestBodiesComeInTime(t *testing.T) {
	for header, ended := range map[string]bool{"Content-Length: 10\r\n": true, "": false} {
		synctest.Test(t, func(t *testing.T) {
			l := one{make(chan net.Conn, 1), make(chan net.Conn)}
			ctx, stop := context.WithCancel(t.Context())
			waits := make(chan struct{})
			served := make(chan error)
			go func() {
				served <- serve(ctx, l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					select {
					case <-waits:
					case <-r.Context().Done():
					}
				}), slog.New(slog.DiscardHandler))
			}()
			near, far := net.Pipe()
			l.come <- far
			if _, err := io.WriteString(near, "GET /x HTTP/1.1\r\nHost: x\r\n"+header+"\r\n"); err != nil {
				t.Fatal(err)
			}
			if !ended {
				time.AfterFunc(readTimeout+time.Second, func() { close(waits) })
			} else {
				close(waits)
			}
			begun := time.Now()
			_ = near.SetDeadline(begun.Add(readTimeout + 5*time.Second)) // a pipe has deadlines
			text, err := io.ReadAll(near)
			if open := errors.Is(err, os.ErrDeadlineExceeded); open == ended || len(text) == 0 {
				t.Errorf("with %q it is open: %t, answered %q, after %s", header, open, text, time.Since(begun))
			}
			_ = near.Close() // likewise
			stop()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}
