package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

// confined runs a program as a container of the injected pod does: its user, no rights but $CAPABILITIES, and a file system that
// cannot be written but for $DIR, which is memory and has the token.
const confined = `if [ -n "$DIR" ]; then
	mount -t tmpfs -o mode=1777 tmpfs "$DIR" && cp "$TOKEN" "$DIR/token" && chown "$USER_ID" "$DIR/token" || exit 6
fi
mount -o remount,bind,ro / || exit 7
exec setpriv --reuid="$USER_ID" --regid="$USER_ID" --clear-groups --bounding-set=-all"$CAPABILITIES" --inh-caps=-all --no-new-privs -- "$@"`

// beside is the pod's sidecar.
type beside struct {
	t            *testing.T
	pod          *netns.Pod
	cmd          *exec.Cmd
	dir, program string
	output       *output
	done         chan error
}

// output collects what a program prints.
type output struct{ testkit.Output }

// pipe returns an end of a pipe that belongs to the proxy's user, as runc makes it.
func (o *output) pipe(t *testing.T) *os.File {
	t.Helper()
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Chown(mesh.ProxyUser, mesh.ProxyUser); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(o, from) }()
	t.Cleanup(func() {
		to.Close()
		from.Close()
	})
	return to
}

// capture redirects a pod's traffic, as the pod's init container does.
func (c *cluster) capture(program string, pod *netns.Pod) {
	c.t.Helper()
	cmd := pod.Command(0, "unshare", "--mount", "sh", "-c", confined, "sh", pod.Program(program), "capture", fmt.Sprintf("--proxy-uid=%d", mesh.ProxyUser))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "CAPABILITIES=,+net_admin,+net_raw", "USER_ID=0"}
	if out, err := pod.Run(cmd); err != nil || !strings.HasPrefix(out, "info: traffic is captured backend=nftables") {
		c.t.Fatalf("capture: %v\n%s", err, out)
	}
}

// start runs an agent beside a workload in its pod.
func (c *cluster) start(program string, pod *netns.Pod, w *mesh.Workload) *beside {
	c.t.Helper()
	resolv, token := filepath.Join(c.dir, "resolv.conf"), filepath.Join(c.dir, "token")
	err := errors.Join(
		os.WriteFile(resolv, []byte("nameserver "+netns.NodeAddress+"\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"), 0o644), //nolint:gosec // for everybody
		os.WriteFile(token, []byte(c.token(w)), 0o600),
	)
	if err != nil {
		c.t.Fatal(err)
	}
	pod.Mount(resolv, "/etc/resolv.conf")
	dir := pod.Folder(mesh.ProxyUser)
	s := &beside{t: c.t, pod: pod, dir: dir, program: pod.Program(program), output: &output{}, done: make(chan error, 1)}
	s.cmd = pod.Command(0, "unshare", "--mount", "sh", "-c", confined, "sh", s.program, "agent",
		"--node", string(w.ID()), "--address", w.Address, "--dir", dir, "--control-plane", mesh.SystemAddress, "--token-file", dir+"/token",
		"--health-address", fmt.Sprintf(":%d", mesh.AgentHealthPort), "--metrics-address", fmt.Sprintf(":%d", mesh.AgentMetricsPort))
	s.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "LATEEN_ENVOY=" + pod.Program(meshtest.Envoy(c.t)),
		"DIR=" + dir, "TOKEN=" + token, "CAPABILITIES=", "USER_ID=" + strconv.Itoa(mesh.ProxyUser),
	}
	s.cmd.Stdout, s.cmd.Stderr = s.output.pipe(c.t), s.output.pipe(c.t)
	if err := pod.Start(s.cmd); err != nil {
		c.t.Fatal(err)
	}
	go func() { s.done <- s.cmd.Wait() }()
	return s
}

// page asks the sidecar from the node, as the kubelet does.
func (s *beside) page(port int, path string) (string, error) {
	return ask(s.t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, fmt.Sprintf("http://%s:%d%s", s.pod.Address, port, path))
}

// ask returns a page. A status that is not 200 is an error.
func ask(t *testing.T, client *http.Client, page string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return string(body), err
}

// kept returns status and Connection of an answer to somebody who would keep the connection.
func (s *beside) kept(t *testing.T) (status, connection string) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp4", s.pod.Address+":9080")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: web\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	status = response.Proto + " " + response.Status
	if response.Close {
		connection = "close"
	}
	return status, connection
}

// drain runs what the kubelet runs in the container when it begins to end the pod.
func (s *beside) drain() {
	s.t.Helper()
	user := strconv.Itoa(mesh.ProxyUser)
	cmd := s.pod.Command(0, "nsenter", "--mount", "--target", strconv.Itoa(s.cmd.Process.Pid), "setpriv", "--reuid="+user, "--regid="+user,
		"--clear-groups", s.program, "drain", "--dir", s.dir)
	if out, err := s.pod.Run(cmd); err != nil || out != "" {
		s.t.Errorf("drain: %v\n%s", err, out)
	}
}

// ready returns when the sidecar says that it is ready.
func (s *beside) ready() {
	s.t.Helper()
	until(s.t, "the sidecar is ready", func() error {
		_, err := s.page(mesh.AgentHealthPort, "/healthz/ready")
		select {
		case err := <-s.done:
			s.t.Fatalf("it has ended: %v\n%s", err, s.output)
		default:
		}
		return err
	})
}

// stop asks the sidecar to end, as the kubelet does when all other containers of the pod have, and returns how it ended.
func (s *beside) stop() error {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case err := <-s.done:
		return err
	case <-time.After(patience):
		s.t.Fatal("it does not end")
		return nil
	}
}

// memory returns what the agent has of its own, in KiB: not the pages of its program, which all agents of a node share.
func (s *beside) memory() int {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "RssAnon:")
	n, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// service is the address of the service that the pod serves.
const service = "10.96.0.20"

// registryOf is one of a service with one workload, whose traffic is captured.
func registryOf(address string) (mesh.Registry, *mesh.Workload) {
	const host = "web.default.svc.cluster.local"
	w := &mesh.Workload{
		Name: "web-v1-0", Namespace: "default", Type: mesh.Sidecar, Account: "default", Address: address, Capture: true,
		Labels: mesh.Labels{"app": "web"},
		Serves: []mesh.Serving{{Host: host, Port: 80, Protocol: mesh.HTTP, Listen: 9080}},
	}
	settings := mesh.DefaultSettings
	settings.ServiceRanges = []string{"10.96.0.0/16"}
	return mesh.Registry{
		Settings: &settings,
		Services: []*mesh.Service{{
			Host: host, Name: "web", Namespace: "default", Addresses: []string{service},
			Ports: []mesh.Port{{Name: "http", Number: 80, Protocol: mesh.HTTP}},
		}},
		Endpoints: []*mesh.EndpointSet{{Host: host, Endpoints: []mesh.Endpoint{{
			Address: address, Ports: map[string]int{"http": 9080}, Labels: w.Labels, Workload: w.Name, Account: w.Account, Health: mesh.Healthy,
		}}}},
		Workloads: []*mesh.Workload{w},
	}, w
}

// TestInAPod runs the program as the containers of an injected pod do, capture first, with the control plane found by the name of its Service:
// when it is ready, what it tells, how much memory it takes, that it finds a control plane which moves, and how it ends.
func TestInAPod(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		program := build(t)
		registry, w := registryOf("10.244.0.2")
		c := newCluster(t, registry)
		pod := c.network.Pod("web")
		entered, release := make(chan struct{}), make(chan struct{})
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				entered <- struct{}{}
				<-release
			}
			fmt.Fprint(w, "web")
		})}
		l := pod.Listen(":9080")
		go func() { _ = server.Serve(l) }()
		c.capture(program, pod)

		begin := time.Now()
		s := c.start(program, pod, w)
		s.ready()
		t.Logf("ready %v after its start, with %d KiB", time.Since(begin).Round(time.Millisecond), s.memory())
		if got, conn := s.kept(t); got != "HTTP/1.1 200 OK" || conn != "" {
			t.Errorf("a connection is answered with %s and Connection: %q", got, conn)
		}
		if got, err := s.page(9080, "/"); err != nil || got != "web" {
			t.Errorf("through the proxy came %q, %v", got, err)
		}
		if got, err := ask(t, pod.Client(), "http://"+service+"/itself"); err != nil || got != "web" {
			t.Errorf("when it calls itself through its service, it is told %q, %v", got, err)
		}
		for path, part := range map[string]string{
			"/": `"peer":null`, "/itself": `"peer":"spiffe://cluster.local/ns/default/sa/default"`,
		} {
			until(t, "the request in the access log", func() error {
				for line := range strings.Lines(s.output.String()) {
					if strings.Contains(line, `"path":"`+path+`"`) && strings.Contains(line, part) {
						return nil
					}
				}
				return fmt.Errorf("%s with %s is not in\n%s", path, part, s.output)
			})
		}
		for path, want := range map[string][]string{
			"/metrics":          {"lateen_agent_ready 1\n", "lateen_agent_certificate_renewals_total 1\n"},
			"/stats/prometheus": {"lateen_agent_ready 1\n", "\nenvoy_server_live{} 1\n"},
		} {
			text, err := s.page(mesh.AgentMetricsPort, path)
			for _, part := range want {
				if err != nil || !strings.Contains(text, part) {
					t.Errorf("%s lacks %q (%v):\n%.2000s", path, part, err, text)
				}
			}
		}

		c.names.Store("lateen.lateen-system.svc.cluster.local.", otherAddress)
		c.plane.move(otherAddress + ":15012")
		moved := time.Now()
		until(t, "Envoy finds its control plane again", func() error {
			text, err := s.page(mesh.AgentMetricsPort, "/stats/prometheus")
			if err == nil && (c.plane.count() == 0 || !strings.Contains(text, "\nenvoy_control_plane_connected_state{} 1\n")) {
				err = fmt.Errorf("%d connections", c.plane.count())
			}
			return err
		})
		t.Logf("the control plane was found again %v after it had moved", time.Since(moved).Round(time.Millisecond))
		for range 200 {
			s.ready()
		}
		if kib := s.memory(); kib > 15<<10 {
			t.Errorf("the agent has %d KiB of its own, want 15 MiB at most", kib)
		} else {
			t.Logf("in the end it has %d KiB of its own", kib)
		}

		s.drain()
		got, conn := s.kept(t)
		if got != "HTTP/1.1 200 OK" || conn != "close" {
			t.Errorf("when the pod begins to end, a connection is answered with %s and Connection: %q", got, conn)
		}
		s.ready()

		answered := make(chan error, 1)
		go func() {
			got, err := s.page(9080, "/slow")
			if err == nil && got != "web" {
				err = errors.New(got)
			}
			answered <- err
		}()
		<-entered
		ended := make(chan error)
		go func() { ended <- s.stop() }()
		until(t, "the end of readiness", func() error {
			if _, err := s.page(mesh.AgentHealthPort, "/healthz/ready"); err == nil || !strings.Contains(err.Error(), "draining") {
				return fmt.Errorf("it says %w", err)
			}
			return nil
		})
		if got, err := s.page(9080, "/"); err != nil || got != "web" {
			t.Errorf("a new connection while it drains: %q, %v", got, err)
		}
		close(release)
		released := time.Now()
		if err := <-answered; err != nil {
			t.Errorf("a request that was under way: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("it ends with %v\n%s", err, s.output)
		}
		t.Logf("it ended %v after its last request", time.Since(released).Round(time.Millisecond))
	})
}
