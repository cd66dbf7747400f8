package testapp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

const patience = 30 * time.Second

// lineWriter hands on each line that is written.
type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

// started is a server on free ports.
type started struct {
	ports map[string]string // addresses by flag
	stop  func() error      // ends the server and says how it ended
}

func startServer(t *testing.T, args ...string) started {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	said, ended := make(lineWriter), make(chan error, 1)
	all := append([]string{"serve", "--name=reviews", "--version=v2", "--http=127.0.0.1:0", "--grpc=127.0.0.1:0", "--tcp=127.0.0.1:0", "--first=127.0.0.1:0"}, args...)
	go func() { ended <- Main(ctx, all, nil, said) }()
	s := started{ports: map[string]string{}}
	select {
	case line := <-said:
		if !strings.HasPrefix(line, "reviews v2 listens: ") {
			t.Fatalf("the first line is %q", line)
		}
		for word := range strings.FieldsSeq(line) {
			if name, address, ok := strings.Cut(word, "="); ok {
				s.ports[name] = address
			}
		}
	case err := <-ended:
		t.Fatal(err)
	case <-time.After(patience):
		t.Fatal("the server does not start")
	}
	s.stop = func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return fmt.Errorf("the server does not end")
		}
	}
	t.Cleanup(func() { cancel() })
	return s
}

// ask runs the client and returns what it prints, read as one T for each line.
func ask[T any](t *testing.T, args ...string) []T {
	t.Helper()
	var out bytes.Buffer
	if err := Main(t.Context(), append([]string{"client"}, args...), strings.NewReader(""), &out); err != nil {
		t.Fatal(err)
	}
	var all []T
	for d := json.NewDecoder(&out); ; {
		var one T
		if err := d.Decode(&one); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
}

// Every protocol is answered by the server under its own name, whose answer the client understands.
func TestProtocols(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	for _, test := range []struct{ url, protocol, want string }{
		{"http://HTTP/a?b=c", "HTTP/1.1", `"path":"/a?b=c"`},
		{"h2c://HTTP/a", "HTTP/2.0", `"protocol":"HTTP/2.0"`},
		{"ws://HTTP/ws", "websocket", "reviews v2: hello"},
		{"grpc://GRPC", "grpc", "reviews v2: hello"},
		{"tcp://TCP", "tcp", "reviews v2: hello"},
		{"first://FIRST", "tcp", "reviews v2\nreviews v2: hello"},
	} {
		url := test.url
		for name, address := range s.ports {
			url = strings.Replace(url, "//"+strings.ToUpper(name), "//"+address, 1)
		}
		for _, fresh := range []string{"false", "true"} {
			got := ask[Result](t, "--count=2", "--body=hello", "--header=X-A=b", "--method=POST", "--fresh="+fresh, url)
			if len(got) != 2 {
				t.Fatalf("%s: %d answers, want 2", url, len(got))
			}
			for _, r := range got {
				if r.Error != "" || r.Protocol != test.protocol || !strings.Contains(r.Body, test.want) {
					t.Errorf("%s: %+v", url, r)
				}
				if strings.HasPrefix(test.protocol, "HTTP") {
					if a := r.Answer; r.Status != 200 || a == nil || a.Name != "reviews" || a.Version != "v2" || a.Method != "POST" || a.Body != "hello" || a.Header["X-A"] != "b" {
						t.Errorf("%s: the answer is %+v", url, a)
					}
				}
			}
		}
	}
}

// A server answers on each address of a protocol; a client asks several URLs, tells which each answer is for, and what a proxy has said of it.
func TestSeveral(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	said, ended := make(lineWriter), make(chan error, 1)
	go func() {
		ended <- Main(ctx, []string{"serve", "--http=", "--grpc=127.0.0.1:0", "--tcp=127.0.0.1:0,127.0.0.1:0", "--first="}, nil, said)
	}()
	var urls []string
	select {
	case line := <-said:
		for word := range strings.FieldsSeq(line) {
			if name, address, ok := strings.Cut(word, "="); ok {
				urls = append(urls, name+"://"+address)
			}
		}
	case err := <-ended:
		t.Fatal(err)
	}
	got := ask[Result](t, append([]string{"--count=2", "--header=x-forwarded-client-cert=URI=me", "--body=hello"}, urls...)...)
	if len(urls) != 3 || len(got) != 6 {
		t.Fatalf("%d answers of %v", len(got), urls)
	}
	for n, r := range got {
		if r.URL != urls[n/2] || r.Error != "" || r.Body != "testapp v1: hello" {
			t.Errorf("answer %d: %+v, want one of %s", n, r, urls[n/2])
		}
		if told := r.Header["seen-peer"]; r.Protocol == "grpc" && told != "URI=me" {
			t.Errorf("gRPC tells of the caller %q", told)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// The client tells apart what is wrong with an answer.
func TestFailures(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	http := "http://" + s.ports["http"]
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{http + "/status/503"}, "status 503"},
		{[]string{"--expect=v3", http + "/"}, `the answer does not say "v3"`},
		{[]string{"--timeout=50ms", http + "/delay/20s"}, "deadline exceeded"},
		{[]string{"http://127.0.0.1:1/"}, "refused"},
		{[]string{"grpc://127.0.0.1:1"}, "refused"},
		{[]string{"tcp://127.0.0.1:1"}, "refused"},
		{[]string{"ws://" + s.ports["tcp"] + "/ws"}, "malformed"},
	} {
		got := ask[Result](t, test.args...)
		if len(got) != 1 || !strings.Contains(got[0].Error, test.want) {
			t.Errorf("%v: %+v, want %q", test.args, got, test.want)
		}
	}
	var out bytes.Buffer
	if err := Main(t.Context(), []string{"print", "testapp_test.go"}, nil, &out); err != nil || !strings.HasPrefix(out.String(), "package testapp\n") {
		t.Errorf("print: %v", err)
	}
	for _, args := range [][]string{{"print"}, {"print", "nothing"}, nil, {"nothing"}, {"client"}, {"client", "ftp://x"}, {"client", "--rate=1", "http://x", "http://y"}, {"client", "--header=x", "http://x"}, {"serve", "--http=nowhere:x"}} {
		if err := Main(t.Context(), args, strings.NewReader(""), io.Discard); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

// A load is as long as it was asked to be, counts every answer once, and knows who gave it.
func TestLoad(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	got := ask[Summary](t, "--rate=100", "--duration=500ms", "http://"+s.ports["http"]+"/")
	if len(got) != 1 || got[0].Requests < 10 || got[0].Requests > 60 || got[0].Failures != 0 || got[0].Answers["reviews v2"] != got[0].Requests ||
		got[0].Statuses["200"] != got[0].Requests || got[0].Max <= 0 {
		t.Errorf("%+v", got)
	}
	got = ask[Summary](t, "--rate=50", "--duration=300ms", "http://"+s.ports["http"]+"/status/500")
	if len(got) != 1 || got[0].Requests == 0 || got[0].Failures != got[0].Requests || len(got[0].First) == 0 || !strings.Contains(got[0].First[0], "status 500") {
		t.Errorf("%+v", got)
	}
	// Standard input is empty, so it ends before the first request.
	if got = ask[Summary](t, "--rate=1", "--until-eof", "http://"+s.ports["http"]+"/"); len(got) != 1 || got[0].Failures != 0 {
		t.Errorf("until the end of standard input: %+v", got)
	}
}

// A server that is asked to end finishes what it has begun; one that exits at once does not.
func TestEnd(t *testing.T) {
	t.Parallel()
	for _, atOnce := range []bool{false, true} {
		t.Run(fmt.Sprint("at once ", atOnce), func(t *testing.T) {
			t.Parallel()
			s := startServer(t, fmt.Sprint("--exit-at-once=", atOnce), "--ready-after=1h")
			if got := ask[Result](t, "http://"+s.ports["http"]+"/health"); got[0].Status != 503 {
				t.Errorf("a server that is not ready: %+v", got)
			}
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.ports["first"])
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			reader := bufio.NewReader(conn)
			line := func() string {
				text, err := reader.ReadString('\n')
				if err != nil {
					t.Error(err)
				}
				return text
			}
			line() // the server knows of the connection
			ended := make(chan error, 1)
			go func() { ended <- s.stop() }()
			if atOnce {
				if err := <-ended; err != nil {
					t.Errorf("with a connection open: %v", err)
				}
				return
			}
			for { // until the port is closed, the end has not begun
				c, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.ports["first"])
				if err != nil {
					break
				}
				c.Close()
			}
			fmt.Fprintln(conn, "still there?")
			if got := line(); got != "reviews v2: still there?\n" {
				t.Errorf("during the end: %q", got)
			}
			conn.Close()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
