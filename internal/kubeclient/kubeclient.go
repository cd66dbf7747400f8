// Package kubeclient says which cluster is meant, and makes clients for it.
//
// What comes in: the file and the context that a user has named, or nothing. What goes out: a [Cluster], from which typed
// and dynamic clients are made. The rules are kubectl's: the named file, else $KUBECONFIG, else ~/.kube/config; a program
// that runs in a pod and finds none of these takes the service account of its pod.
//
// It promises that loading asks nobody: only files and the environment are read. Errors say what to do ([Error]). No client
// is held back below what the API server itself allows one program, since the server shares itself out among its callers.
package kubeclient

import (
	"errors"
	"fmt"
	"os"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/lateen-mesh/lateen/internal/kubeapi"
)

// How many requests a client may make in a second, and at once.
const (
	requestsPerSecond = 50
	burst             = 300
)

// InCluster is the name of a cluster that is known by the service account of a pod.
const InCluster = "in-cluster"

// Options say which cluster is meant.
type Options struct {
	Kubeconfig string // file; "": $KUBECONFIG, which may name several, then ~/.kube/config, then the pod's service account
	Context    string // in it; "": the current one
	UserAgent  string // what the API server's log calls this program; "": the name of the binary
	// Warn is told what the API server warns of, such as a deprecated version; nil: nobody is.
	Warn func(text string)
}

// Cluster is a cluster that can be asked.
type Cluster struct {
	Context   string       // name of the context, or [InCluster]
	Server    string       // URL of the API server
	Namespace string       // that objects get which name none; "default" unless the context has one
	Config    *rest.Config // for clients of any kind; it is not to be changed
}

// Error says why there is no cluster.
type Error struct {
	error
	hint string
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.error }

// Hint returns the next step.
func (e *Error) Hint() string { return e.hint }

// ErrNone says that nothing names a cluster: there is no kubeconfig, and this is no pod.
var ErrNone = errors.New("nothing names a cluster")

// Load returns the cluster that the options mean. Without any, the error is [ErrNone].
func Load(o Options) (Cluster, error) {
	loader := o.loader()
	raw, err := loader.RawConfig()
	if err != nil {
		return Cluster{}, &Error{fmt.Errorf("read the kubeconfig: %w", err), "name a file with --kubeconfig FILE"}
	}
	if len(raw.Contexts) == 0 && len(raw.Clusters) == 0 {
		return o.ofPod()
	}
	name := o.Context
	if name == "" {
		name = raw.CurrentContext
	}
	if err := known(raw, name); err != nil {
		return Cluster{}, err
	}
	c, err := loader.ClientConfig()
	if err != nil {
		return Cluster{}, &Error{fmt.Errorf("context %q: %w", name, err), "`kubectl config view` shows what is there"}
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return Cluster{}, fmt.Errorf("context %q: %w", name, err)
	}
	return o.cluster(name, namespace, c), nil
}

// Known tells whether a kubeconfig names a cluster, or the options do. It is what decides between the cluster and a mesh on this
// machine, so that a broken file counts too: somebody meant it.
func Known(o Options) bool {
	if o.Kubeconfig != "" || o.Context != "" {
		return true
	}
	raw, err := o.loader().RawConfig()
	return err != nil || len(raw.Clusters) > 0 && raw.CurrentContext != ""
}

func (o Options) loader() clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	rules.WarnIfAllMissing = false
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context})
}

// known says what is wrong with the name of a context, or nil.
func known(raw clientapi.Config, name string) error {
	if name == "" {
		return &Error{errors.New("the kubeconfig has no current context"), "choose one with --context NAME, or with `kubectl config use-context`"}
	}
	if _, ok := raw.Contexts[name]; !ok {
		return &Error{fmt.Errorf("the kubeconfig has no context %q", name), "`kubectl config get-contexts` lists them"}
	}
	return nil
}

// ofPod returns the cluster in whose pod this program runs.
func (o Options) ofPod() (Cluster, error) {
	if o.Context != "" {
		return Cluster{}, &Error{fmt.Errorf("there is no context %q: there is no kubeconfig", o.Context), "name a file with --kubeconfig FILE"}
	}
	c, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) {
		return Cluster{}, &Error{ErrNone, "name a kubeconfig with --kubeconfig FILE or $KUBECONFIG"}
	}
	if err != nil {
		return Cluster{}, fmt.Errorf("read the service account of this pod: %w", err)
	}
	return o.cluster(InCluster, podNamespace(), c), nil
}

// podNamespace returns the namespace of the pod that this program runs in.
func podNamespace() string {
	const file = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
	if name, err := os.ReadFile(file); err == nil && len(name) > 0 {
		return string(name)
	}
	return "default"
}

func (o Options) cluster(name, namespace string, c *rest.Config) Cluster {
	c.QPS, c.Burst = requestsPerSecond, burst
	if o.UserAgent != "" {
		c.UserAgent = o.UserAgent
	}
	c.WarningHandler = rest.NoWarnings{}
	if o.Warn != nil {
		c.WarningHandler = warner(o.Warn)
	}
	return Cluster{Context: name, Server: c.Host, Namespace: namespace, Config: c}
}

// Typed returns a client for built-in kinds.
func (c Cluster) Typed() (*kubeapi.Client, error) { return kubeapi.New(c.Config) }

// Dynamic returns a client for objects of any kind, as they are written.
func (c Cluster) Dynamic() (*dynamic.DynamicClient, error) { return dynamic.NewForConfig(c.Config) }

// warner hands on warnings of the API server.
type warner func(text string)

// HandleWarningHeader takes one warning (RFC 9111 has it as a header; Kubernetes uses code 299 only).
func (w warner) HandleWarningHeader(code int, _, text string) {
	if code == 299 && text != "" {
		w(text)
	}
}
