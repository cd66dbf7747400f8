// Package testapp is an application to test a mesh with: a server that speaks many protocols and says who it is, and a client
// that asks it and prints what came back as JSON.
//
// The server ([Serve]) has a port, or several, for each of
//
//   - HTTP: HTTP/1.1, HTTP/2 without TLS and WebSocket on one port. Every path is answered with an [Answer], but for
//     /health, /status/CODE, /delay/DURATION, /bytes/N and the WebSocket /ws;
//   - gRPC: grpc.health.v1.Health and grpc.testing.TestService, with unary calls and streams;
//   - TCP where the client speaks first: it is sent back what it sends, line by line, with the server's name before it;
//   - TCP where the server speaks first: a line with its name, then the same.
//
// The client ([Client]) asks the URLs http://, h2c://, ws://, grpc://, tcp:// and first://: some times, or at a steady rate
// for as long as wanted, with a [Summary] of what failed. It is the program of the image lateen-testapp; nothing of Lateen
// is in it.
package testapp

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

const usage = `usage: testapp serve|client|sniff|print [FLAG]... [URL...|FILE]

  testapp serve --name=NAME --version=VERSION    answer on --http, --grpc, --tcp and --first
  testapp client --count=3 http://HOST:PORT/...  ask URLs one after the other, and print each answer as JSON
  testapp client --rate=100 --duration=1m URL    ask steadily, and print a summary as JSON
  testapp sniff --port=9080 TEXT...              count packets of a port that hold a text, until standard input ends
  testapp print FILE                             print a file, where there is no cat`

// Main runs the program with its arguments until it is done or ctx ends.
func Main(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("name a command\n%s", usage)
	}
	switch args[0] {
	case "serve":
		return serveMain(ctx, args[1:], out)
	case "client":
		return clientMain(ctx, args[1:], in, out)
	case "sniff":
		return sniffMain(ctx, args[1:], in, out)
	case "print":
		if len(args) != 2 {
			return errors.New("name one file")
		}
		file, err := os.Open(args[1])
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(out, file)
		return err
	default:
		return fmt.Errorf("there is no command %q\n%s", args[0], usage)
	}
}

func serveMain(ctx context.Context, args []string, out io.Writer) error {
	var c Config
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.StringVar(&c.Name, "name", "testapp", "the name that every answer gives")
	flags.StringVar(&c.Version, "version", "v1", "the version that every answer gives")
	flags.StringVar(&c.HTTP, "http", ":8080", "addresses for HTTP, with commas between; empty: none")
	flags.StringVar(&c.GRPC, "grpc", ":9090", "addresses for gRPC, with commas between; empty: none")
	flags.StringVar(&c.TCP, "tcp", ":7000", "addresses for TCP where the client speaks first, with commas between; empty: none")
	flags.StringVar(&c.First, "first", ":7001", "addresses for TCP where the server speaks first, with commas between; empty: none")
	flags.BoolVar(&c.ExitAtOnce, "exit-at-once", false, "end in the moment of SIGTERM, with requests under way")
	flags.DurationVar(&c.ReadyAfter, "ready-after", 0, "how long /health and gRPC's health say that it is not ready")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return Serve(ctx, c, out)
}

func clientMain(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	c := Client{Header: map[string]string{}}
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	flags.IntVar(&c.Count, "count", 1, "how often to ask each URL, one after the other")
	flags.Float64Var(&c.Rate, "rate", 0, "requests per second; the answers are summed up instead of printed")
	flags.DurationVar(&c.Duration, "duration", 0, "how long to ask at that rate; 0: until SIGTERM, or with --until-eof")
	untilEOF := flags.Bool("until-eof", false, "ask at that rate until standard input ends")
	flags.BoolVar(&c.Fresh, "fresh", false, "open a connection for every request; at a rate, every second request does")
	flags.DurationVar(&c.Timeout, "timeout", defaultTimeout, "bounds one request")
	flags.StringVar(&c.Connect, "connect", "", "HOST:PORT to connect to, whatever the URL names")
	flags.BoolVar(&c.Insecure, "insecure", false, "over TLS, take any certificate; the answer says which one it was")
	flags.StringVar(&c.Method, "method", "GET", "the method, for HTTP")
	flags.StringVar(&c.Body, "body", "", "what to send")
	flags.StringVar(&c.Expect, "expect", "", "a text that is in every right answer")
	flags.Func("header", "NAME=VALUE to send, for HTTP and gRPC; may be repeated", func(text string) error {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return errors.New("not of the form NAME=VALUE")
		}
		c.Header[key] = value
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("name a URL")
	}
	c.URLs = flags.Args()
	if *untilEOF {
		ctx = untilEnd(ctx, in)
	}
	return c.Run(ctx, out)
}

// untilEnd returns a context that ends with the input too.
func untilEnd(ctx context.Context, in io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, in) // its end is all that counts
		cancel()
	}()
	return ctx
}

func sniffMain(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("sniff", flag.ContinueOnError)
	port := flags.Uint("port", 80, "the TCP port")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *port > 0xffff {
		return fmt.Errorf("there is no port %d", *port)
	}
	return Sniffer{Port: uint16(*port), Texts: flags.Args()}.Run(untilEnd(ctx, in), out)
}
