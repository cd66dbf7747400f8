package cli

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/local"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// meshFlags say which mesh a command means: one on this machine, or one in a cluster.
type meshFlags struct {
	name     string
	stateDir string
	local    bool

	kubeconfig string
	context    string
	namespace  string // of the control plane in a cluster
}

func (f *meshFlags) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&f.name, "mesh", "", "name of the mesh on this machine (default: the one that runs)")
	flags.StringVar(&f.stateDir, "state-dir", "", "state folder of the mesh (default: $XDG_STATE_HOME/lateen/NAME)")
}

// addClusterTo adds the flags of the commands that may be about a mesh in a cluster.
func (f *meshFlags) addClusterTo(flags *pflag.FlagSet) {
	flags.BoolVar(&f.local, "local", false, "the mesh on this machine, where a kubeconfig names a cluster too")
	f.addKubeconfigTo(flags)
	flags.StringVarP(&f.namespace, "istioNamespace", "i", mesh.SystemNamespace, "`namespace` of the control plane in the cluster")
}

// addKubeconfigTo adds the flags that name a cluster.
func (f *meshFlags) addKubeconfigTo(flags *pflag.FlagSet) {
	flags.StringVarP(&f.kubeconfig, "kubeconfig", "c", "", "`file` that names the cluster (default: $KUBECONFIG, else ~/.kube/config)")
	flags.StringVar(&f.context, "context", "", "`name` of the context of the kubeconfig (default: the current one)")
}

// target is a running mesh.
type target struct {
	name    string
	dir     string // its state folder; "": in a cluster
	client  *api.Client
	objects objects  // where its objects are written and read
	cluster *cluster // nil: on this machine
}

// objects is where the objects of a mesh are kept.
type objects interface {
	Write(ctx context.Context, w api.Write) (api.Written, error)
	Delete(ctx context.Context, d api.Delete) (api.Written, error)
	Compare(ctx context.Context, c api.Compare) (api.Compared, error)
	Objects(ctx context.Context, q api.Query) ([]api.Object, error)
}

// onMachine returns a mesh on this machine.
func onMachine(name, dir, socket string) target {
	client := api.NewClient(socket)
	return target{name: name, dir: dir, client: client, objects: client}
}

// stateHome returns the folder that holds the state folders of this user's meshes (XDG Base Directory Specification).
func stateHome() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "lateen"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", failed("name a state folder with --state-dir", "find the state folder: %w", err)
	}
	return filepath.Join(home, ".local", "state", "lateen"), nil
}

// dir returns the state folder of the mesh that the flags name, and its name; without flags that of the mesh called
// fallback.
func (f *meshFlags) dir(fallback string) (dir, name string, err error) {
	name = f.name
	if name == "" {
		name = fallback
	}
	if name != "" && !config.IsLabel(name) {
		return "", "", misused("", "%q is not a name for a mesh: lower-case letters, digits and -", name)
	}
	if f.stateDir != "" {
		if name == "" {
			name = filepath.Base(f.stateDir)
		}
		return f.stateDir, name, nil
	}
	home, err := stateHome()
	return filepath.Join(home, name), name, err
}

// find returns the mesh that the flags name, for a command that changes nothing; see [meshFlags.choose].
func (f *meshFlags) find(ctx context.Context) (target, error) {
	if in, err := f.choose(ctx, reads); err != nil || in {
		return f.inCluster(err)
	}
	return f.findLocal(ctx)
}

// findToWrite returns the mesh that the flags name, for a command that changes something there.
func (f *meshFlags) findToWrite(ctx context.Context) (target, error) {
	if in, err := f.choose(ctx, writes); err != nil || in {
		return f.inCluster(err)
	}
	return f.findLocal(ctx)
}

// findLocal returns the running mesh on this machine that the flags name, else the only one that runs.
func (f *meshFlags) findLocal(ctx context.Context) (target, error) {
	if f.name == "" && f.stateDir == "" {
		return only(ctx)
	}
	dir, name, err := f.dir("")
	if err != nil {
		return target{}, err
	}
	socket, err := api.Socket(dir)
	if err != nil {
		return target{}, err
	}
	switch {
	case answers(ctx, socket), local.Runs(dir) && awaitPlane(ctx, socket):
		t := onMachine(name, dir, socket)
		if f.name == "" {
			t.name = cmp.Or(ownName(ctx, t.client), name)
		}
		return t, nil
	case local.Runs(dir):
		return target{}, failed("look at the terminal of `lateen up`", "mesh %s runs, but its control plane does not answer on %s", name, socket)
	default:
		return target{}, failed(othersHint(ctx), "mesh %s is not running (nobody answers on %s)", name, socket)
	}
}

// findOrLeft returns the mesh that the flags name like find, and also one that has only left its state folder: its control plane
// is away, or does not start.
func (f *meshFlags) findOrLeft(ctx context.Context) (target, error) {
	if in, err := f.choose(ctx, reads); err != nil || in {
		return f.inCluster(err)
	}
	t, err := f.findLocal(ctx)
	if err == nil {
		return t, nil
	}
	left := *f
	if f.name == "" && f.stateDir == "" {
		names, failed := running(ctx)
		if failed == nil && len(names) == 0 {
			names, failed = meshes(func(dir, _ string) bool { return hasState(dir) })
		}
		if failed != nil || len(names) != 1 {
			return target{}, err
		}
		left.name = names[0]
	}
	dir, name, failed := left.dir("")
	if failed != nil || !hasState(dir) {
		return target{}, err
	}
	socket, failed := api.Socket(dir)
	if failed != nil {
		return target{}, err
	}
	return onMachine(name, dir, socket), nil
}

// hasState tells whether a mesh with identities has run in a state folder.
func hasState(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "ca.made"))
	_, failed := os.Stat(filepath.Join(dir, "proxies"))
	return err == nil || failed == nil
}

// ownName returns what a control plane calls its mesh, or "".
func ownName(ctx context.Context, client *api.Client) string {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	status, err := client.Status(ctx)
	if err != nil {
		return "" // whatever is asked next says why
	}
	return status.Mesh
}

// planePatience bounds how long a command waits for a control plane that is being started again.
const planePatience = 10 * time.Second

// awaitPlane waits until somebody answers on the socket of a mesh that runs, and tells whether that happened.
func awaitPlane(ctx context.Context, socket string) bool {
	ctx, cancel := context.WithTimeout(ctx, planePatience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
			if answers(ctx, socket) {
				return true
			}
		}
	}
}

// only returns the mesh that runs, if there is exactly one.
func only(ctx context.Context) (target, error) {
	names, err := running(ctx)
	if err != nil {
		return target{}, err
	}
	switch len(names) {
	case 0:
		return target{}, failed("start one with `lateen demo`", "no mesh is running")
	case 1:
		f := meshFlags{name: names[0]}
		return f.findLocal(ctx)
	default:
		return target{}, misused("choose one with --mesh NAME", "several meshes are running: %s", strings.Join(names, ", "))
	}
}

// running lists the meshes of this user that run, sorted.
func running(ctx context.Context) ([]string, error) {
	return meshes(func(dir, socket string) bool { return answers(ctx, socket) || local.Runs(dir) })
}

// meshes lists the meshes of this user that are as asked, sorted.
func meshes(is func(dir, socket string) bool) ([]string, error) {
	home, err := stateHome()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(home)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		dir := filepath.Join(home, entry.Name())
		socket, err := api.Socket(dir)
		if err == nil && config.IsLabel(entry.Name()) && is(dir, socket) {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

func othersHint(ctx context.Context) string {
	if names, err := running(ctx); err == nil && len(names) > 0 {
		return "running: " + strings.Join(names, ", ")
	}
	return "start one with `lateen demo` or `lateen up`"
}

// answers tells whether somebody listens on a socket.
func answers(ctx context.Context, socket string) bool {
	connection, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	_ = connection.Close() // nothing was sent
	return true
}
