package doctest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/client-go/rest"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/golden"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/local"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/source/kube"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// Names of the sections of an example, behind inputPrefix. Every other one is a file, which is watched unless a command
// names it.
const (
	inputPrefix     = "in."
	commandsSection = "commands"                        // command lines, run when the control plane is ready
	linksSection    = "links"                           // symbolic links, a line each: NAME TARGET
	refusedSection  = "refused"                         // what a proxy that calls reviews refuses: KIND NAME: ITS WORDS
	stateFolder     = "state/"                          // beginning of the names of files that lie in the state folder at the start
	keptSection     = "state/cache/registry-local.json" // with it nobody says what runs
	clusterSection  = "cluster"                         // what a cluster is like that says what runs, in words of clusterFor
)

// example is a control plane without proxies, with files that it watches.
type example struct {
	t        *testing.T
	dir      string // of all files
	watched  []string
	commands []string
	silent   bool // nobody says what runs
	cluster  string
	client   *api.Client
}

func newExample(t *testing.T, c *golden.Case) *example {
	t.Helper()
	dir, err := os.MkdirTemp("", "x") //nolint:usetesting // TempDir holds the test's name, and paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	e := &example{t: t, dir: dir}
	if text, ok := c.Lookup(inputPrefix + commandsSection); ok {
		e.commands = strings.Split(strings.TrimSpace(text), "\n")
	}
	if err := os.Mkdir(filepath.Join(dir, stateFolder), 0o700); err != nil {
		t.Fatal(err)
	}
	refused := ""
	for _, section := range c.Inputs() {
		name := strings.TrimPrefix(section, inputPrefix)
		switch text := c.In(section); name {
		case commandsSection:
		case linksSection:
			e.link(text)
		case refusedSection:
			refused = text
		case keptSection:
			e.silent = true
			e.file(name, text)
		case clusterSection:
			e.cluster = strings.TrimSpace(text)
		default:
			e.file(name, text)
		}
	}
	e.start()
	if refused != "" {
		e.refuse(strings.TrimSpace(refused))
	}
	return e
}

// refuse connects a proxy that refuses a resource, and returns when it has done so.
func (e *example) refuse(text string) {
	what, words, _ := strings.Cut(text, ": ")
	fake := meshtest.NewFakeProxy(mesh.Node{
		Type: mesh.Sidecar, Address: refuser.Address, Name: refuser.Name, Namespace: refuser.Namespace, Domain: serve.Domain,
	}, "reviews:9080")
	fake.Refuse = func(_ xds.Type, name string) string {
		if strings.HasSuffix(what, " "+name) {
			return words
		}
		return ""
	}
	conn, err := grpc.NewClient("unix://"+serve.XDSSocket(filepath.Join(e.dir, stateFolder)), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(e.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- fake.Run(ctx, conn) }()
	e.t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, conn.Close()); ctx.Err() == nil {
			e.t.Error(err)
		}
	})
	for !strings.Contains(e.problems(), push.CodeRefusedByProxy) {
		if e.t.Context().Err() != nil {
			e.t.Fatal(e.t.Context().Err())
		}
	}
}

// refuser is the workload whose proxy may refuse something.
var refuser = &mesh.Workload{
	Name: "productpage-v1-0", Namespace: "default", Type: mesh.Sidecar, Account: "default", Address: "127.0.0.9", Outbound: 15001,
}

// file writes a file, and has it watched unless it is for something else.
func (e *example) file(name, text string) {
	path := filepath.Join(e.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		e.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		e.t.Fatal(err)
	}
	named := func(command string) bool { return slices.Contains(strings.Fields(command), name) }
	if !strings.HasPrefix(name, stateFolder) && !slices.ContainsFunc(e.commands, named) {
		e.watched = append(e.watched, path)
	}
}

// link makes symbolic links in a folder that is watched.
func (e *example) link(text string) {
	folder := filepath.Join(e.dir, "watched")
	if err := os.Mkdir(folder, 0o700); err != nil {
		e.t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		name, target, _ := strings.Cut(strings.TrimSpace(line), " ")
		if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
			e.t.Fatal(err)
		}
	}
	e.watched = append(e.watched, folder)
}

// start runs a control plane until the test ends, and returns when it knows everything.
func (e *example) start() {
	state := filepath.Join(e.dir, stateFolder)
	c := serve.Config{
		StateDir: state, Paths: e.watched, Carried: config.Kinds{local.MeshKind()}, Push: push.Config{}, Log: slog.New(slog.DiscardHandler),
	}
	if err := os.MkdirAll(state, 0o700); err != nil {
		e.t.Fatal(err)
	}
	c.PlainXDS = meshtest.PlainXDS(e.t, state)
	if e.silent || e.cluster != "" {
		c.Patience = time.Millisecond
	}
	if e.cluster != "" {
		c.Attached = append(c.Attached, e.attach())
	}
	plane, err := serve.New(c)
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(e.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- plane.Run(ctx) }()
	e.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			e.t.Error(err)
		}
	})
	e.client = api.NewClient(filepath.Join(state, api.SocketName))
	for known := false; !known; {
		if e.t.Context().Err() != nil {
			e.t.Fatal(e.t.Context().Err())
		}
		if !e.silent && e.cluster == "" {
			_, err = e.client.PutRegistry(e.t.Context(), bookInfo())
		}
		status, unready := e.client.Status(e.t.Context())
		known = err == nil && unready == nil && (len(status.Missing) == 0 || e.cluster != "")
		if known && e.cluster != "" {
			known = strings.Contains(e.problems(), "["+filepath.Base(e.t.Name())+"]")
		}
	}
}

// attach returns a cluster as a source.
func (e *example) attach() serve.Attached {
	return serve.Attached{
		Names: []string{kube.RegistryName, kube.ObjectsName},
		New: func(a serve.Attachment) (serve.Source, error) {
			return kube.New(kube.Config{
				Client: e.clusterFor(), Realm: a.Realm, Kinds: a.Kinds, Sink: a.Store, Cache: a.Cache, Patience: a.Patience, Log: a.Log,
			})
		},
	}
}

// mostRights are those that Lateen has in the example in which it may not read route rules.
const mostRights = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: most}
rules:
- {apiGroups: [""], resources: [services, pods, nodes], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses, servicecidrs], verbs: [list, watch]}
- {apiGroups: [config.istio.io], resources: [destinationpolicies, egressrules], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: most}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: most}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "system:serviceaccount:lateen-system:lateen"}]
`

// clusterFor returns how to reach a cluster that is as the example says.
func (e *example) clusterFor() *rest.Config {
	kubeconfig := ""
	switch e.cluster {
	case "Nobody has installed Lateen's kinds.":
		kubeconfig = kubetest.Start(e.t).Kubeconfig
	case "Lateen may read everything but route rules.":
		const account = "system:serviceaccount:lateen-system:lateen"
		s := kubetest.Start(e.t)
		s.Kubectl(e.t, mostRights, "apply", "-f", "-")
		kubeconfig = s.User(e.t, account)
	case "It was reached before, and is not now.":
		return &rest.Config{Host: "https://127.0.0.1:1"}
	default:
		e.t.Fatalf("nobody knows such a cluster: %s", e.cluster)
	}
	cluster, err := kubeclient.Load(kubeclient.Options{Kubeconfig: kubeconfig})
	if err != nil {
		e.t.Fatal(err)
	}
	return cluster.Config
}

// bookInfo is what runs in the mesh of every example.
func bookInfo() mesh.Registry {
	r := mesh.Registry{Workloads: []*mesh.Workload{refuser}}
	for _, service := range []struct {
		name     string
		versions []string
	}{{"details", []string{"v1"}}, {"productpage", []string{"v1"}}, {"ratings", []string{"v1"}}, {"reviews", []string{"v1", "v2", "v3"}}} {
		host := mesh.ServiceHost(service.name, "default", serve.Domain)
		r.Services = append(r.Services, &mesh.Service{
			Host: host, Name: service.name, Namespace: "default", Ports: []mesh.Port{{Name: "http", Number: 9080, Protocol: mesh.HTTP}},
		})
		set := &mesh.EndpointSet{Host: host}
		for i, version := range service.versions {
			set.Endpoints = append(set.Endpoints, mesh.Endpoint{
				Address: fmt.Sprintf("127.0.0.%d", i+1), Ports: map[string]int{"http": 9080}, Health: mesh.Healthy,
				Labels: mesh.Labels{"app": service.name, "version": version},
			})
		}
		r.Endpoints = append(r.Endpoints, set)
	}
	return r
}

// problems returns everything that is wrong, as it is printed.
func (e *example) problems() string {
	all, err := e.client.Problems(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	var objects []config.Object
	for _, path := range e.watched {
		if text, err := os.ReadFile(path); err == nil {
			found, _ := config.Parse(path, text, "")
			objects = append(objects, found...)
		}
	}
	_, more := local.Read(objects)
	all = append(all, more...)
	mesh.SortProblems(all)
	var text strings.Builder
	for _, p := range all {
		text.WriteString(p.String() + "\n")
	}
	return text.String()
}

// command runs a command line and returns what it says beside its results.
func (e *example) command(line string) string {
	self, err := os.Executable()
	if err != nil {
		e.t.Fatal(err)
	}
	words := append(strings.Fields(line)[1:], "--state-dir", filepath.Join(e.dir, stateFolder))
	cmd := exec.CommandContext(e.t.Context(), self, words...)
	var told bytes.Buffer
	cmd.Dir, cmd.Stderr = e.dir, &told
	cmd.Env = append(os.Environ(), program+"=1")
	if _, failed := errors.AsType[*exec.ExitError](cmd.Run()); !failed && cmd.ProcessState == nil {
		e.t.Fatalf("%s did not run", line)
	}
	return told.String()
}
