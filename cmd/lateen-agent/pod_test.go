package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/linelog"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
	"github.com/lateen-mesh/lateen/internal/serve"
)

const (
	// patience bounds everything that a test waits for.
	patience = 60 * time.Second
	// planeAddress and otherAddress are those of the control plane's Service, one after the other.
	planeAddress = "10.96.0.15"
	otherAddress = "10.96.0.16"
)

// build builds the program as it is in an image, and returns its path.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lateen-agent")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return path
}

// cluster is a node with a control plane, its name in DNS, and pods.
type cluster struct {
	t       *testing.T
	network *netns.Network
	plane   *door
	dir     string
	names   sync.Map // host name to address
}

// newCluster starts a control plane that knows the workloads of a registry.
func newCluster(t *testing.T, r mesh.Registry) *cluster {
	t.Helper()
	c := &cluster{t: t, network: netns.NewNetwork(t), dir: t.TempDir()}
	for _, address := range []string{planeAddress, otherAddress} {
		c.network.Outside(address)
	}
	c.plane = newDoor(t, planeAddress+":15012")
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	registry := filepath.Join(c.dir, "registry.json")
	if err := os.WriteFile(registry, text, 0o600); err != nil {
		t.Fatal(err)
	}
	plane, err := serve.New(serve.Config{
		StateDir: filepath.Join(c.dir, "s"), RegistryFile: registry, Secure: c.plane, Log: linelog.New(t.Output(), slog.LevelWarn),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- plane.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	c.names.Store("lateen.lateen-system.svc.cluster.local.", planeAddress)
	c.serveDNS()
	return c
}

// serveDNS answers on the node for the names of Services.
func (c *cluster) serveDNS() {
	c.t.Helper()
	packets, err := new(net.ListenConfig).ListenPacket(c.t.Context(), "udp4", netns.NodeAddress+":53")
	if err != nil {
		c.t.Fatal(err)
	}
	server := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		var answer dns.Msg
		answer.SetReply(q)
		address, known := c.names.Load(q.Question[0].Name)
		if !known {
			answer.Rcode = dns.RcodeNameError
		} else if q.Question[0].Qtype == dns.TypeA {
			answer.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.ParseIP(address.(string)),
			}}
		}
		_ = w.WriteMsg(&answer) // who does not hear it asks again
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ActivateAndServe()
	}()
	c.t.Cleanup(func() {
		_ = server.Shutdown()
		<-done
	})
}

// token returns a join token for a workload.
func (c *cluster) token(w *mesh.Workload) string {
	c.t.Helper()
	client := api.NewClient(filepath.Join(c.dir, "s", "api.sock"))
	var token api.JoinToken
	until(c.t, "a token", func() (err error) {
		token, err = client.NewToken(c.t.Context(), api.NewToken{Workload: w.Name, Namespace: w.Namespace, Account: w.Account, Address: w.Address})
		return err
	})
	return token.Token
}

// until calls f until it returns no error.
func until(t *testing.T, what string, f func() error) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// door is where the control plane listens, and can move.
type door struct {
	t        *testing.T
	accepted chan net.Conn
	closed   chan struct{}
	once     sync.Once

	mu       sync.Mutex
	listener net.Listener
	open     []net.Conn
}

func newDoor(t *testing.T, address string) *door {
	t.Helper()
	d := &door{t: t, accepted: make(chan net.Conn), closed: make(chan struct{})}
	d.listen(address)
	return d
}

func (d *door) listen(address string) {
	d.t.Helper()
	l, err := new(net.ListenConfig).Listen(d.t.Context(), "tcp4", address)
	if err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	d.listener = l
	d.mu.Unlock()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.open = append(d.open, conn)
			d.mu.Unlock()
			select {
			case d.accepted <- conn:
			case <-d.closed:
				conn.Close()
			}
		}
	}()
}

// move closes the old address with all its connections, and listens at another one.
func (d *door) move(address string) {
	d.t.Helper()
	d.mu.Lock()
	d.listener.Close()
	for _, conn := range d.open {
		conn.Close()
	}
	d.open = nil
	d.mu.Unlock()
	d.listen(address)
}

// count returns how many connections were made since the last move.
func (d *door) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.open)
}

func (d *door) Accept() (net.Conn, error) {
	select {
	case conn := <-d.accepted:
		return conn, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

func (d *door) Close() error {
	d.once.Do(func() { close(d.closed) })
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.listener.Close()
}

func (d *door) Addr() net.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.listener.Addr()
}

// confined runs a program as a container of the injected pod does: its user, no rights but $CAPABILITIES, and a file system that
// cannot be written but for $DIR, which is memory.
const confined = `mount -t tmpfs -o mode=1777 tmpfs "$DIR" && cp "$TOKEN" "$DIR/token" && chown "$USER_ID" "$DIR/token" &&
mount -o remount,bind,ro / || exit 7
exec setpriv --reuid="$USER_ID" --regid="$USER_ID" --clear-groups --bounding-set=-all"$CAPABILITIES" --inh-caps=-all --no-new-privs -- "$@"`

// beside is the pod's sidecar.
type beside struct {
	t      *testing.T
	pod    *netns.Pod
	cmd    *exec.Cmd
	output *output
	done   chan error
}

// output collects what a program prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(text)
}

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

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
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
	s := &beside{t: c.t, pod: pod, output: &output{}, done: make(chan error, 1)}
	s.cmd = pod.Command(0, "unshare", "--mount", "sh", "-c", confined, "sh", pod.Program(program), "agent",
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
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d%s", s.pod.Address, port, path), nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
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

// registryOf is one of a service with one workload.
func registryOf(address string) (mesh.Registry, *mesh.Workload) {
	const host = "web.default.svc.cluster.local"
	w := &mesh.Workload{
		Name: "web-v1-0", Namespace: "default", Type: mesh.Sidecar, Account: "default", Address: address, Outbound: 15080,
		Labels: mesh.Labels{"app": "web"},
		Serves: []mesh.Serving{{Host: host, Port: 9080, Protocol: mesh.HTTP, Listen: 9080, Target: "127.0.0.1:9080"}},
	}
	return mesh.Registry{
		Services:  []*mesh.Service{{Host: host, Name: "web", Namespace: "default", Ports: []mesh.Port{{Name: "http", Number: 9080, Protocol: mesh.HTTP}}}},
		Workloads: []*mesh.Workload{w},
	}, w
}

// TestInAPod runs the program as the containers of an injected pod do, with the control plane found by the name of its Service:
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
		l := pod.Listen("127.0.0.1:9080")
		go func() { _ = server.Serve(l) }()

		begin := time.Now()
		s := c.start(program, pod, w)
		s.ready()
		t.Logf("ready %v after its start, with %d KiB", time.Since(begin).Round(time.Millisecond), s.memory())
		if got, err := s.page(9080, "/"); err != nil || got != "web" {
			t.Errorf("through the proxy came %q, %v", got, err)
		}
		until(t, "the request in the access log", func() error {
			if !strings.Contains(s.output.String(), `"method":"GET","path":"/"`) {
				return fmt.Errorf("the output is\n%s", s.output)
			}
			return nil
		})
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
