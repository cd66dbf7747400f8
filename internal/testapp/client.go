package testapp

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const defaultTimeout = 10 * time.Second

// Client says whom to ask, how often, and for what.
type Client struct {
	URLs     []string      // one after the other; at a rate only one
	Connect  string        // HOST:PORT to connect to, whatever the URL names; "": what that does
	Insecure bool          // over TLS any certificate will do
	Count    int           // for each URL
	Rate     float64       // requests per second; 0: Count requests for each URL, one after the other
	Duration time.Duration // of the requests at a rate; 0: until ctx ends
	Fresh    bool          // a connection for each request
	Timeout  time.Duration // of one request
	Method   string
	Body     string
	Header   map[string]string
	Expect   string // is in every right answer
}

// Result is what became of one request.
type Result struct {
	URL string `json:"url"`
	// Status is that of HTTP, or the code of gRPC; over TCP and WebSocket it is 0.
	Status int `json:"status"`
	// Protocol of the answer, such as HTTP/2.0.
	Protocol string            `json:"protocol,omitempty"`
	Header   map[string]string `json:"header,omitempty"`
	// Certificate is the subject of the certificate that the server has shown.
	Certificate string `json:"certificate,omitempty"`
	Body        string `json:"body,omitempty"`
	// Answer is what the body says, if it is that of a testapp over HTTP.
	Answer *Answer `json:"answer,omitempty"`
	// Error is why there is no right answer; "" for a right one.
	Error string        `json:"error,omitempty"`
	Took  time.Duration `json:"took"` // in nanoseconds
}

// Run asks, and prints one JSON object for each answer, or for all at a rate. Answers that are not right are no error.
func (c Client) Run(ctx context.Context, out io.Writer) error {
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	if c.Rate > 0 {
		if len(c.URLs) != 1 {
			return fmt.Errorf("one URL is asked at a rate, not %d", len(c.URLs))
		}
		summary, err := c.load(ctx)
		return errors.Join(err, encoder.Encode(summary))
	}
	for _, target := range c.URLs {
		if err := c.each(ctx, target, encoder); err != nil {
			return err
		}
	}
	return nil
}

// each asks one URL as often as is wanted.
func (c Client) each(ctx context.Context, target string, out *json.Encoder) error {
	ask, done, err := c.asker(target, c.Fresh)
	if err != nil {
		return err
	}
	defer done()
	for range c.Count {
		r := c.once(ctx, ask)
		r.URL = target
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// asker is what sends one request: it fills the result, and returns why there is no answer.
type asker func(ctx context.Context, r *Result) error

// asker returns what asks a URL, and what closes its connections.
func (c Client) asker(target string, fresh bool) (ask asker, done func(), err error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, nil, err
	}
	nothing := func() {}
	switch u.Scheme {
	case "http", "https", "h2c":
		client, target := c.httpClient(u, fresh)
		return func(ctx context.Context, r *Result) error { return c.askHTTP(ctx, client, target, r) }, client.CloseIdleConnections, nil
	case "ws":
		return func(ctx context.Context, r *Result) error { return c.askWebSocket(ctx, u, r) }, nothing, nil
	case "tcp", "first":
		return func(ctx context.Context, r *Result) error { return c.askTCP(ctx, u, r) }, nothing, nil
	case "grpc":
		return c.grpcAsker(u, fresh)
	default:
		return nil, nil, fmt.Errorf("%q is none of http, https, h2c, ws, grpc, tcp and first", u.Scheme)
	}
}

// once asks once. An answer with a status that tells of a failure, or without the text that is expected, is a wrong one.
func (c Client) once(ctx context.Context, ask asker) Result {
	// A request that was begun is finished, so that none fails because the client ends.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Timeout)
	defer cancel()
	var r Result
	begun := time.Now()
	err := ask(ctx, &r)
	r.Took = time.Since(begun)
	switch {
	case err != nil:
		r.Error = err.Error()
	case !strings.Contains(r.Body, c.Expect):
		r.Error = fmt.Sprintf("the answer does not say %q", c.Expect)
	}
	return r
}

// dial connects to an address, or where all connections are to go.
func (c Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, cmp.Or(c.Connect, address))
}

// httpClient returns a client for the scheme, and the URL as net/http wants it.
func (c Client) httpClient(u *url.URL, fresh bool) (*http.Client, string) {
	t := &http.Transport{DisableKeepAlives: fresh, Proxy: http.ProxyFromEnvironment, DisableCompression: true, DialContext: c.dial, ForceAttemptHTTP2: true}
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: c.Insecure} //nolint:gosec // a test asks for it
	target := *u
	if u.Scheme == "h2c" {
		target.Scheme = "http"
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	asIs := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: t, CheckRedirect: asIs}, target.String()
}

func (c Client) askHTTP(ctx context.Context, client *http.Client, target string, r *Result) error {
	request, err := http.NewRequestWithContext(ctx, c.Method, target, strings.NewReader(c.Body))
	if err != nil {
		return err
	}
	for name, value := range c.Header {
		request.Header.Set(name, value)
		if strings.EqualFold(name, "host") {
			request.Host = value
		}
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.TLS != nil {
		r.Certificate = response.TLS.PeerCertificates[0].Subject.String()
	}
	r.Status, r.Protocol, r.Header = response.StatusCode, response.Proto, map[string]string{}
	for name, values := range response.Header {
		r.Header[name] = strings.Join(values, ", ")
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, response.Body); err != nil {
		return fmt.Errorf("after %d more bytes: %w", n, err)
	}
	r.Body = string(body)
	var answer Answer
	if json.Unmarshal(body, &answer) == nil && answer.Protocol != "" {
		r.Answer = &answer
	}
	if r.Status >= 400 {
		return fmt.Errorf("status %d", r.Status)
	}
	return nil
}

// askWebSocket sends the body as a message and waits for one.
func (c Client) askWebSocket(ctx context.Context, u *url.URL, r *Result) error {
	config, err := websocket.NewConfig(u.String(), "http://"+u.Host)
	if err != nil {
		return err
	}
	for name, value := range c.Header {
		config.Header.Set(name, value)
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "80")
	}
	raw, err := c.dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer raw.Close()
	defer closeWith(ctx, raw)()
	conn, err := websocket.NewClient(config, raw)
	if err != nil {
		return err
	}
	if err := websocket.Message.Send(conn, c.Body); err != nil {
		return err
	}
	r.Protocol = "websocket"
	return websocket.Message.Receive(conn, &r.Body)
}

// askTCP sends the body as a line, after the server's own line where that speaks first, and waits for one.
func (c Client) askTCP(ctx context.Context, u *url.URL, r *Result) error {
	conn, err := c.dial(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer closeWith(ctx, conn)()
	reader := bufio.NewReaderSize(conn, maxLine)
	var lines []string
	read := func() error {
		line, err := reader.ReadString('\n')
		lines = append(lines, strings.TrimSuffix(line, "\n"))
		r.Body = strings.Join(lines, "\n")
		if errors.Is(err, io.EOF) {
			return errors.New("the server closed the connection")
		}
		return err
	}
	r.Protocol = "tcp"
	if u.Scheme == "first" {
		if err := read(); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(conn, c.Body); err != nil {
		return err
	}
	return read()
}

// closeWith closes a connection when ctx ends; what it returns undoes that.
func closeWith(ctx context.Context, conn io.Closer) func() {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	return func() { stop() }
}

// grpcAsker asks by a unary call of grpc.testing.TestService.
func (c Client) grpcAsker(u *url.URL, fresh bool) (ask asker, done func(), err error) {
	dial := func() (*grpc.ClientConn, error) {
		return grpc.NewClient("passthrough:///"+u.Host, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return c.dial(ctx, "tcp", address) }))
	}
	kept, err := dial()
	if err != nil {
		return nil, nil, err
	}
	ask = func(ctx context.Context, r *Result) error {
		conn := kept
		if fresh {
			own, err := dial()
			if err != nil {
				return err
			}
			defer func() { _ = own.Close() }()
			conn = own
		}
		var header metadata.MD
		ctx = metadata.NewOutgoingContext(ctx, metadata.New(c.Header))
		response, err := testgrpc.NewTestServiceClient(conn).UnaryCall(ctx,
			&testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: []byte(c.Body)}}, grpc.Header(&header))
		r.Status, r.Protocol, r.Header = int(status.Code(err)), "grpc", map[string]string{}
		for name, values := range header {
			r.Header[name] = strings.Join(slices.Sorted(slices.Values(values)), ", ")
		}
		if err != nil {
			return err
		}
		r.Body = response.GetServerId() + ": " + string(response.GetPayload().GetBody())
		return nil
	}
	return ask, func() { _ = kept.Close() }, nil
}
