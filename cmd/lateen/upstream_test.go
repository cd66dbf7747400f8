package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/netns"
)

// applications are the programs that the test's own program can be beside lateen.
var applications = map[string]func(ctx context.Context, args []string) error{
	"echo": echo, "ask": ask, "grpc-serve": grpcServe, "grpc-ask": grpcAsk,
}

// echo answers each line on PORT with itself and its own name; it speaks first.
func echo(ctx context.Context, args []string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	for {
		conn, err := l.Accept()
		if err != nil {
			return nil //nolint:nilerr // it was told to end
		}
		go func() {
			defer conn.Close()
			fmt.Fprintln(conn, "welcome")
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				fmt.Fprintln(conn, args[0], "says", lines.Text())
			}
		}()
	}
}

// ask sends a line to each address that it is given, prints what comes back, and takes connections on PORT.
func ask(ctx context.Context, addresses []string) error {
	for _, address := range addresses {
		for {
			answer, err := askOnce(ctx, address)
			if err == nil {
				fmt.Println(answer)
				break
			}
			if err := wait(ctx); err != nil {
				return err
			}
		}
	}
	return echo(ctx, []string{"ask"})
}

// wait waits for a moment.
func wait(ctx context.Context) error {
	moment := time.NewTimer(100 * time.Millisecond)
	defer moment.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-moment.C:
		return nil
	}
}

func askOnce(ctx context.Context, address string) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	welcome, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		return "", err
	}
	answer, err := in.ReadString('\n')
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(welcome, "welcome") {
		return "", errors.New("not welcome: " + welcome)
	}
	return strings.TrimSpace(answer), nil
}

const askingMesh = `apiVersion: lateen.dev/v1alpha1
kind: Mesh
metadata: {name: asking}
spec:
  services:
    echo:
      ports: [{name: tcp, port: 7000}]
      workloads:
        v1: {command: [lateen, echo-one], env: {LATEEN_TEST_ACT_AS_LATEEN: echo}}
    ask:
      ports: [{name: tcp, port: 7000}]
      workloads:
        v1:
          command: [lateen, "${UPSTREAM_ECHO_TCP}", "${UPSTREAM_ECHO_7000_HOST}:${UPSTREAM_ECHO_7000_PORT}", "${UPSTREAM_FAR_TCP_ELSEWHERE}"]
          env: {LATEEN_TEST_ACT_AS_LATEEN: ask}
          dependsOn: [echo]
---
apiVersion: lateen.dev/v1alpha1
kind: Mesh
metadata: {name: asking, namespace: elsewhere}
spec:
  services:
    far:
      ports: [{name: tcp, port: 7001}]
      workloads:
        v1: {command: [lateen, echo-far], env: {LATEEN_TEST_ACT_AS_LATEEN: echo}}
`

// A program that knows no proxies and speaks TCP reaches services at local addresses, also when the server speaks first.
func TestLocalAddress(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		p := start(t, dir, "up", "-f", write(t, dir, "mesh.yaml", askingMesh))
		p.prints(ready)
		p.prints("| echo-one says hello\n")
		p.prints("| echo-far says hello\n") // asked last
		if got := strings.Count(p.text(), "| echo-one says hello\n"); got != 2 {
			t.Errorf("%d of 2 answers of echo", got)
		}
		if code := p.interrupt(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
}
