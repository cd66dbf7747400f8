package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	hopConnections = 8
	hopBody        = 1024 // bytes of a response
	hopBound       = 10 * time.Second
)

// exchange is one open connection that has one request at a time.
type exchange interface {
	do() error
	Close() error
}

// hopLoad is a closed loop over connections that stay.
type hopLoad struct {
	open []exchange
	took [][]time.Duration // by connection, reused
}

// newHopLoad opens the connections of a load on an address, for an authority behind it.
func newHopLoad(b *testing.B, protocol, address, authority string) *hopLoad {
	b.Helper()
	return dialledHopLoad(b, protocol, authority, func() (net.Conn, error) { return new(net.Dialer).DialContext(b.Context(), "tcp", address) })
}

// dialledHopLoad opens connections that somebody dials.
func dialledHopLoad(b *testing.B, protocol, authority string, dial func() (net.Conn, error)) *hopLoad {
	b.Helper()
	l := &hopLoad{took: make([][]time.Duration, hopConnections)}
	for range hopConnections {
		conn, err := dial()
		if err != nil {
			b.Fatal(err)
		}
		var e exchange
		if protocol == "http" {
			e = newHTTP1(conn, authority)
		} else if e, err = newHTTP2(conn, authority, protocol == "grpc"); err != nil {
			b.Fatal(err)
		}
		l.open = append(l.open, e)
		b.Cleanup(func() { _ = e.Close() })
	}
	return l
}

// run sends requests until the time is over, and returns how long each took, sorted.
func (l *hopLoad) run(length time.Duration) ([]time.Duration, error) {
	end := time.Now().Add(length)
	failed := make([]error, len(l.open))
	var running sync.WaitGroup
	for i, e := range l.open {
		running.Go(func() {
			took := l.took[i][:0]
			for now := time.Now(); now.Before(end) && failed[i] == nil; {
				failed[i] = e.do()
				then := time.Now()
				took, now = append(took, then.Sub(now)), then
			}
			l.took[i] = took
		})
	}
	running.Wait()
	all := slices.Concat(l.took...)
	slices.Sort(all)
	return all, errors.Join(failed...)
}

// http1 sends the same GET again and again, in absolute form as to a proxy. Servers take that too.
type http1 struct {
	net.Conn
	read    *bufio.Reader
	request []byte
}

func newHTTP1(conn net.Conn, authority string) *http1 {
	return &http1{Conn: conn, read: bufio.NewReader(conn), request: fmt.Appendf(nil,
		"GET http://%s/hop HTTP/1.1\r\nHost: %s\r\nUser-Agent: hop\r\nAccept: */*\r\n\r\n", authority, authority)}
}

func (c *http1) do() error {
	if _, err := c.Write(c.request); err != nil {
		return err
	}
	length := -1
	for first := true; ; first = false {
		line, err := c.read.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
			return fmt.Errorf("status line %q", line)
		}
		if len(line) == 0 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(": ")); bytes.EqualFold(name, []byte("content-length")) {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
	}
	if length != hopBody {
		return fmt.Errorf("a body of %d bytes, want %d", length, hopBody)
	}
	_, err := c.read.Discard(length)
	return err
}

// plainHTTP2 sends the same request again and again over HTTP/2 with prior knowledge: a GET, or a unary call of gRPC.
type plainHTTP2 struct {
	net.Conn
	write   *bufio.Writer
	framer  *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
	fields  []hpack.HeaderField
	message []byte // nil: no body
	stream  uint32
	unacked uint32
}

const window = 1 << 20

func newHTTP2(conn net.Conn, authority string, grpc bool) (*plainHTTP2, error) {
	c := &plainHTTP2{Conn: conn, write: bufio.NewWriter(conn), stream: 1}
	c.framer = http2.NewFramer(c.write, bufio.NewReader(conn))
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.encoder = hpack.NewEncoder(&c.block)
	method, path := http.MethodGet, "/hop"
	if grpc {
		method, path, c.message = http.MethodPost, "/bench.Hop/Call", make([]byte, 5) // an empty message
	}
	c.fields = []hpack.HeaderField{
		{Name: ":method", Value: method},
		{Name: ":scheme", Value: "http"},
		{Name: ":path", Value: path},
		{Name: ":authority", Value: authority},
		{Name: "user-agent", Value: "hop"},
	}
	if grpc {
		c.fields = append(c.fields, hpack.HeaderField{Name: "content-type", Value: "application/grpc"},
			hpack.HeaderField{Name: "te", Value: "trailers"})
	}
	_, err := c.write.WriteString(http2.ClientPreface)
	return c, errors.Join(err, c.framer.WriteSettings(), c.framer.WriteWindowUpdate(0, 2*window))
}

func (c *plainHTTP2) do() error {
	c.block.Reset()
	for _, f := range c.fields {
		if err := c.encoder.WriteField(f); err != nil {
			return err
		}
	}
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: c.stream, BlockFragment: c.block.Bytes(), EndHeaders: true, EndStream: c.message == nil,
	})
	if err == nil && c.message != nil {
		err = c.framer.WriteData(c.stream, true, c.message)
	}
	if err != nil {
		return err
	}
	return c.response()
}

// response reads until the stream has ended.
func (c *plainHTTP2) response() error {
	got := 0
	for {
		if err := c.write.Flush(); err != nil {
			return err
		}
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return err
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			err = goodHeaders(f)
		case *http2.DataFrame:
			got += len(f.Data())
			if c.unacked += f.Length; c.unacked > window {
				err, c.unacked = c.framer.WriteWindowUpdate(0, c.unacked), 0
			}
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = c.framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				err = c.framer.WritePing(true, f.Data)
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			err = fmt.Errorf("the server ends it: %v", f)
		}
		if err != nil {
			return err
		}
		if h := frame.Header(); h.StreamID == c.stream && h.Type != http2.FrameWindowUpdate && h.Flags.Has(http2.FlagDataEndStream) {
			break
		}
	}
	c.stream += 2
	if got < hopBody {
		return fmt.Errorf("a body of %d bytes, want %d", got, hopBody)
	}
	return nil
}

// goodHeaders takes headers and trailers in which nothing failed.
func goodHeaders(f *http2.MetaHeadersFrame) error {
	for _, h := range f.Fields {
		if h.Name == ":status" && h.Value != "200" || h.Name == "grpc-status" && h.Value != "0" {
			return fmt.Errorf("%s %s", strings.TrimPrefix(h.Name, ":"), h.Value)
		}
	}
	return nil
}
