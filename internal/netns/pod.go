package netns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Pod is a network namespace on a [Network], and a view of the file system of its own. Its interfaces are lo and eth0.
type Pod struct {
	Name      string
	Address   string   // on the network, the first one
	Addresses []string // all of them

	t       testing.TB
	network *os.File    // the network namespace
	work    chan func() // for the thread that starts processes
}

// Pod makes a pod with an address of each of some families; without any, of IPv4. It ends with the test, and all of its processes with it.
func (n *Network) Pod(name string, families ...Family) *Pod {
	n.t.Helper()
	if n.pods == mostPods {
		n.t.Fatalf("netns: a network has room for %d pods", mostPods)
	}
	n.pods++
	if len(families) == 0 {
		families = []Family{IPv4}
	}
	p := &Pod{Name: name, t: n.t, work: make(chan func())}
	for _, f := range families {
		address, _, _ := strings.Cut(f.pod(n.pods), "/")
		p.Addresses = append(p.Addresses, address)
	}
	p.Address = p.Addresses[0]
	if err := p.make(n.pods, families); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { close(p.work) })
	return p
}

// make makes the namespaces on a thread that stays, since the kernel ends the processes when the thread ends that started
// them. No goroutine gets the thread afterwards.
func (p *Pod) make(number int, families []Family) error {
	made := make(chan error)
	onThread(func() {
		err := p.enter(number, families)
		made <- err
		if err != nil {
			return
		}
		for f := range p.work {
			f()
		}
		p.network.Close()
	})
	return <-made
}

// onThread runs f on a thread that ends with it. It is never the first thread: that one does not end, and by its namespaces the
// process is known.
func onThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		elsewhere := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(elsewhere)
			f()
		}()
		<-elsewhere
		runtime.UnlockOSThread()
	}()
}

// enter puts this thread into new namespaces, and joins them to the network.
func (p *Pod) enter(number int, families []Family) error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("netns: make a pod: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("netns: make mounts of a pod its own: %w", err)
	}
	var err error
	if p.network, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())); err != nil {
		return err
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("netns: bring up the loopback interface: %w", err)
	}
	interfaceName := "pod" + strconv.Itoa(number)
	outside := strconv.Itoa(os.Getpid()) // the first thread never leaves the test's namespace
	commands := [][]string{{"link", "add", "eth0", "type", "veth", "peer", "name", interfaceName, "netns", outside}}
	for _, f := range families {
		commands = append(commands, f.give(f.pod(number), "eth0"))
	}
	for _, args := range append(commands, []string{"link", "set", "eth0", "up"}) {
		if err := ip(args, (*exec.Cmd).Run); err != nil {
			return err
		}
	}
	if err := ip([]string{"link", "set", interfaceName, "master", bridge, "up"}, runOutside); err != nil {
		return err
	}
	for _, f := range families {
		if err := ip([]string{"-" + strconv.Itoa(int(f)), "route", "add", "default", "via", f.node()}, (*exec.Cmd).Run); err != nil {
			return err
		}
	}
	return nil
}

// runOutside runs a command from a thread that is in the test's own namespace.
func runOutside(cmd *exec.Cmd) error {
	done := make(chan error)
	go func() { done <- cmd.Run() }()
	return <-done
}

// Command returns a command that [Pod.Start] or [Pod.Run] runs as a user, whose group has the same number. It is killed when
// the test ends. Users but root have no capabilities.
func (p *Pod) Command(user uint32, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(p.t.Context(), path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Start starts a command in the pod. Any goroutine may wait for it.
func (p *Pod) Start(cmd *exec.Cmd) error {
	started := make(chan error)
	p.work <- func() { started <- cmd.Start() }
	return <-started
}

// Run runs a command in the pod and returns what it has printed to standard output and standard error.
func (p *Pod) Run(cmd *exec.Cmd) (string, error) {
	var output bytes.Buffer // both are the same writer, so one goroutine writes
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := p.Start(cmd); err != nil {
		return "", err
	}
	err := cmd.Wait()
	return output.String(), err
}

// Mount lets the processes that the pod starts from now on see a file or folder in the place of another one.
func (p *Pod) Mount(file, over string) {
	p.t.Helper()
	mounted := make(chan error)
	p.work <- func() { mounted <- unix.Mount(file, over, "", unix.MS_BIND, "") }
	if err := <-mounted; err != nil {
		p.t.Fatalf("netns: mount %s over %s: %v", file, over, err)
	}
}

// Do runs f on a thread that is in the pod's network: sockets that f makes, itself and not through other goroutines, stay
// there. They are root's, as those of an application.
func (p *Pod) Do(f func() error) error { return p.DoAs(0, f) }

// DoAs is [Pod.Do] for the sockets of another user, such as a proxy's.
func (p *Pod) DoAs(user int, f func() error) error {
	done := make(chan error)
	onThread(func() {
		if err := unix.Setns(int(p.network.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("netns: enter pod %s: %w", p.Name, err)
			return
		}
		// It is by this one of a thread's users that the kernel tells whose a socket is.
		if _, err := unix.SetfsuidRetUid(user); err != nil {
			done <- fmt.Errorf("netns: be user %d: %w", user, err)
			return
		}
		done <- f()
	})
	return <-done
}

// Dial dials out of the pod. The address has an IP address.
func (p *Pod) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = p.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens for TCP in the pod until the test ends. The address has an IP address, or none for all of both families.
func (p *Pod) Listen(address string) net.Listener {
	p.t.Helper()
	var l net.Listener
	if err := p.Do(func() (err error) {
		l, err = new(net.ListenConfig).Listen(p.t.Context(), "tcp", address)
		return err
	}); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { l.Close() })
	return l
}

// ListenPacket is [Pod.Listen] for UDP.
func (p *Pod) ListenPacket(address string) net.PacketConn {
	p.t.Helper()
	var l net.PacketConn
	if err := p.Do(func() (err error) {
		l, err = new(net.ListenConfig).ListenPacket(p.t.Context(), "udp", address)
		return err
	}); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = l.Close() })
	return l
}

// Client returns a client that calls out of the pod, with a connection of its own for each request. URLs have IP addresses.
func (p *Pod) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: p.Dial, DisableKeepAlives: true}}
}

// Folder returns a folder that belongs to a user, with that user's way to it. It is removed when the test ends.
func (p *Pod) Folder(user int) string {
	p.t.Helper()
	dir := p.t.TempDir()
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o711), os.Chmod(dir, 0o700), os.Chown(dir, user, user)); err != nil { //nolint:gosec // others go through it
		p.t.Fatal(err)
	}
	return dir
}

// Program returns a path by which all users of the pod reach a program, wherever it lies.
func (p *Pod) Program(path string) string {
	p.t.Helper()
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		p.t.Fatal(err)
	}
	dir := p.Folder(0)
	place := filepath.Join(dir, filepath.Base(path))
	if err := errors.Join(os.Chmod(dir, 0o711), os.WriteFile(place, nil, 0o600)); err != nil { //nolint:gosec // others go through it
		p.t.Fatal(err)
	}
	p.Mount(target, place)
	return place
}

// Namespace returns a path by which programs find the pod's network namespace as long as the test runs.
func (p *Pod) Namespace() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), p.network.Fd()) }
