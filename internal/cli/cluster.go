package cli

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/kubeobjects"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/tunnel"
)

// cluster is a cluster that holds objects of ours, and may have a control plane.
type cluster struct{ kubeclient.Cluster }

// What a command does with the mesh that it is about.
const (
	reads  = false
	writes = true
)

// choose tells whether the flags mean a mesh in a cluster. Without a word of them it is the one that there is. Where a mesh
// runs on this machine and a kubeconfig names a cluster too, a command that only reads means the one that runs here, and one
// that writes has to be told.
func (f *meshFlags) choose(ctx context.Context, writes bool) (inCluster bool, err error) {
	here, there := f.local || f.name != "" || f.stateDir != "", f.kubeconfig != "" || f.context != ""
	switch {
	case here && there:
		return false, misused("leave out one of them", "--kubeconfig and --context mean a cluster, --mesh, --state-dir and --local a mesh on this machine")
	case here || there:
		return there, nil
	}
	known := kubeclient.Known(kubeclient.Options{})
	if !known && os.Getenv("KUBERNETES_SERVICE_HOST") == "" { // no pod either
		return false, nil
	}
	names, err := running(ctx)
	if err != nil || len(names) == 0 {
		return true, nil //nolint:nilerr // where nobody can have a mesh, none runs
	}
	if !writes || !known {
		return false, nil
	}
	context := "NAME"
	if c, err := kubeclient.Load(kubeclient.Options{}); err == nil {
		context = c.Context
	}
	return false, misused("--local means the mesh on this machine, --context "+context+" the cluster",
		"a mesh runs on this machine (%s), and a kubeconfig names a cluster: which of them is meant?", strings.Join(names, ", "))
}

// load returns the cluster that the flags mean.
func (f *meshFlags) load() (*cluster, error) {
	c, err := kubeclient.Load(kubeclient.Options{Kubeconfig: f.kubeconfig, Context: f.context, UserAgent: "lateen/" + version})
	if errors.Is(err, kubeclient.ErrNone) {
		return nil, failed("start a mesh with `lateen demo`, or name a cluster with --kubeconfig FILE", "no mesh is running, and nothing names a cluster")
	}
	if err != nil {
		return nil, err
	}
	return &cluster{c}, nil
}

// inCluster returns the mesh in the cluster that the flags mean, unless there is an error already.
func (f *meshFlags) inCluster(err error) (target, error) {
	if err != nil {
		return target{}, err
	}
	c, err := f.load()
	if err != nil {
		return target{}, err
	}
	kept, err := kubeobjects.New(c.Cluster, serve.Kinds())
	if err != nil {
		return target{}, err
	}
	client, err := tunnel.Client(c.Cluster, f.namespace)
	if err != nil {
		return target{}, err
	}
	return target{name: c.Context, client: client, objects: kept, cluster: c}, nil
}

// again returns the same mesh when its control plane answers again.
func (t target) again(ctx context.Context) (target, error) {
	if t.cluster == nil {
		same := meshFlags{name: t.name, stateDir: t.dir}
		return same.findLocal(ctx)
	}
	for {
		if _, err := t.client.Status(ctx); err == nil || ctx.Err() != nil {
			return t, ctx.Err()
		}
		rest(ctx, pollInterval)
	}
}

// said returns how a mesh is called in what commands say.
func (t target) said() string {
	if t.cluster != nil {
		return "cluster " + t.name
	}
	return "mesh " + t.name
}

// namespace returns that of what names none.
func (t target) namespace() string {
	if t.cluster != nil {
		return t.cluster.Namespace
	}
	return defaultNamespace
}

// look returns a page of the proxy of a pod.
func (c *cluster) look(ctx context.Context, proxy mesh.ProxyID, page string) ([]byte, error) {
	text, err := tunnel.Look(ctx, c.Cluster, proxy, page)
	if err != nil && ctx.Err() == nil {
		return nil, failed("it takes the right to create pods/exec in the namespace of the pod", "%w", err)
	}
	return text, err
}

// podReader reads what the Envoy of a pod has.
type podReader struct {
	*cluster
	proxy mesh.ProxyID
}

// Dump reads the whole dump of the Envoy, with its endpoints.
func (r podReader) Dump(ctx context.Context) ([]byte, error) {
	return r.look(ctx, r.proxy, agent.LookConfig)
}
