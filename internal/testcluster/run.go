package testcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/process"
)

const startTime = 3 * time.Minute // bounds a start; a busy machine takes ten times what an idle one does

// runner is what starts the parts of a cluster, in its namespaces.
type runner struct {
	Cluster
	programs programs
	report   io.Writer
	ended    chan string // names of parts that have ended
}

// programs are the paths of what a cluster runs.
type programs struct{ kube, etcd, containerd, ctr, ip string }

// programs finds everything that the cluster needs, so that a start does not fail halfway for want of it.
func (c Cluster) programs() (programs, error) {
	var bad []error
	need := func(found string, err error) string {
		if err != nil {
			bad = append(bad, err)
		}
		return found
	}
	kube, kubeErr := Binary(c.Root, "kube")
	p := programs{kube: need(kube, kubeErr)}
	for _, program := range []struct {
		name string
		path *string
	}{
		{"etcd", &p.etcd},
		{"containerd", &p.containerd},
		{"ctr", &p.ctr},
		{"ip", &p.ip},
		{"runc", new(string)},
		{"iptables", new(string)},
		{"nsenter", new(string)},
		{cniPlugins + "/bridge", new(string)},
	} {
		found, err := Program(program.name)
		*program.path = need(found, err)
	}
	for _, image := range []string{pauseImage, dnsImage} {
		if _, err := os.Stat(c.imageFile(image)); err != nil {
			bad = append(bad, fmt.Errorf("there is no image %s: `make images` builds it", image))
		}
	}
	return p, errors.Join(bad...)
}

// Run starts the parts and stays with them. It is the child of [Init].
func Run(ctx context.Context, c Cluster) error {
	report := os.NewFile(reportFD, "report")
	defer report.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ready := make(chan struct{})
	go func() {
		_, _ = os.NewFile(lifelineFD, "lifeline").Read(make([]byte, 1)) // nobody writes: it returns at the end
		select {
		case <-ready:
		default:
			cancel(errors.New("whoever asked for the cluster has gone"))
		}
	}()
	r := &runner{Cluster: c, report: report, ended: make(chan string, 1)}
	var err error
	if r.programs, err = c.programs(); err != nil {
		return err
	}
	if err := r.start(ctx, cancel); err != nil {
		return err
	}
	close(ready)
	if err := os.WriteFile(c.path(readyFile), nil, 0o644); err != nil {
		return err
	}
	fmt.Fprintln(report, readyLine)
	_ = report.Close()
	<-ctx.Done() // for ever: the end is a SIGKILL, or the end of a part
	return context.Cause(ctx)
}

// start brings up everything, in an order in which each part finds what it needs.
func (r *runner) start(ctx context.Context, fail context.CancelCauseFunc) error {
	begun := time.Now()
	step := func(what string) {
		fmt.Fprintf(r.report, "%s after %.1f s\n", what, time.Since(begun).Seconds())
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, fmt.Errorf("not ready after %v", startTime))
	defer cancel()
	server := Server{Kube: r.programs.kube, Etcd: r.programs.etcd, Dir: r.Dir, Address: NodeAddress}
	if err := errors.Join(r.network(ctx), r.makeCgroups(), r.certificates(server), r.writeConfig()); err != nil {
		return err
	}
	parts := r.parts()
	parts["etcd"], parts["kube-apiserver"] = server.EtcdCommand(), server.APIServerCommand()
	launch := func(names ...string) error {
		for _, name := range names {
			if err := r.launch(name, parts[name], fail); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}
	if err := launch("etcd", "containerd", "kube-apiserver"); err != nil {
		return err
	}
	if err := r.awaitContainerd(ctx); err != nil {
		return err
	}
	for _, image := range []string{pauseImage, dnsImage} {
		if err := r.loadImage(ctx, r.imageFile(image)); err != nil {
			return err
		}
	}
	if err := server.AwaitReady(ctx); err != nil {
		return err
	}
	step("API server ready")
	if err := launch("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"); err != nil {
		return err
	}
	if err := r.dns(ctx, step); err != nil {
		return err
	}
	step("DNS ready")
	return nil
}

// launch starts a part with a log of its own. Its end is the end of the cluster.
func (r *runner) launch(name string, command []string, fail context.CancelCauseFunc) error {
	log, err := os.Create(filepath.Join(r.Logs(), name))
	if err != nil {
		return err
	}
	lines := process.NewLines(func(line string) { _, _ = io.WriteString(log, line+"\n") })
	env := append(os.Environ(), "TMPDIR="+r.path("tmp"), "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	p, err := process.Start(process.Command{Path: command[0], Args: command[1:], Dir: r.Dir, Env: env, Stdout: lines, Stderr: lines})
	if err != nil {
		return errors.Join(err, log.Close())
	}
	go func() {
		<-p.Done()
		_ = log.Close()
		fail(fmt.Errorf("%s ended: %s\n%s", name, process.Describe(p.Err()), strings.Join(lines.Last(), "\n")))
	}()
	return nil
}

// network makes the interfaces. A bridge without ports carries the address of the node, since not every kernel has dummy
// interfaces; the default route, which Kubernetes wants, leads nowhere.
func (r *runner) network(ctx context.Context) error {
	for _, args := range []string{
		"link set lo up", "link add kube0 type bridge", "addr add " + NodeAddress + "/24 dev kube0",
		"addr add " + NodeAddress6 + "/64 dev kube0 nodad", "link set kube0 up", "route add default dev kube0", "-6 route add default dev kube0",
	} {
		if err := run(ctx, "", r.programs.ip, strings.Fields(args)...); err != nil {
			return err
		}
	}
	for _, setting := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		if err := os.WriteFile("/proc/sys/net/"+setting, []byte("1"), 0); err != nil {
			return err
		}
	}
	// From a pod to a Service that the same bridge leads to: the answer must meet iptables on its way back.
	for _, setting := range []string{"iptables", "ip6tables"} {
		err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+setting, []byte("1"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) { // else the kernel knows nothing else
			return err
		}
	}
	return nil
}

// run runs a command to its end. The error has what it printed.
func run(ctx context.Context, stdin, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
