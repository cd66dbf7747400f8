package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/source/kube"
)

// Registries by the names that pilot-discovery gave them.
const (
	kubernetesRegistry = "Kubernetes"
	consulRegistry     = "Consul"
	eurekaRegistry     = "Eureka"
)

// registryFlags say from where the control plane knows what runs.
type registryFlags struct {
	registries []string
	kubeconfig string
	context    string
	namespaces []string
	domain     string
}

func (r *registryFlags) addTo(flags *pflag.FlagSet) {
	flags.StringSliceVar(&r.registries, "registries", nil, "what knows what runs: Kubernetes (default: lateen up, or the file of --registry)")
	flags.StringVar(&r.kubeconfig, "kubeconfig", "", "`file` that names the cluster of --registries=Kubernetes (default: $KUBECONFIG, ~/.kube/config, in a pod its own)")
	flags.StringVar(&r.context, "context", "", "context in the kubeconfig (default: the current one)")
	flags.StringSliceVarP(&r.namespaces, "app-namespace", "a", nil, "namespaces of the cluster whose services and objects count (default: all)")
	flags.StringVar(&r.domain, "domain", serve.Domain, "DNS suffix of services: that of the cluster")
	flags.SetNormalizeFunc(oldNames(flags.GetNormalizeFunc()))
}

// oldNames lets flags be written as those of pilot-discovery.
func oldNames(before func(*pflag.FlagSet, string) pflag.NormalizedName) func(*pflag.FlagSet, string) pflag.NormalizedName {
	return func(flags *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "appNamespace" {
			name = "app-namespace"
		}
		return before(flags, name)
	}
}

// cluster returns the cluster that is a registry, or nil.
func (r *registryFlags) cluster() (*kubeclient.Cluster, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if len(r.registries) == 0 {
		if len(r.namespaces) > 0 || r.kubeconfig != "" || r.context != "" {
			return nil, misused("add --registries=Kubernetes", "--kubeconfig, --context and --app-namespace are about a cluster, and no cluster is asked what runs")
		}
		return nil, nil
	}
	c, err := kubeclient.Load(kubeclient.Options{Kubeconfig: r.kubeconfig, Context: r.context, UserAgent: "lateen/" + version})
	if errors.Is(err, kubeclient.ErrNone) {
		return nil, failed("name a kubeconfig with --kubeconfig FILE or $KUBECONFIG", "--registries=Kubernetes: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return &c, nil
}

func (r *registryFlags) check() error {
	known := []string{kubernetesRegistry, consulRegistry, eurekaRegistry}
	seen := map[string]bool{}
	for _, name := range r.registries {
		switch {
		case seen[name]:
			return misused("name each registry once", "--registries names %s twice", name)
		case name == consulRegistry || name == eurekaRegistry:
			return misused("leave it out", "--registries: %s is not supported", name)
		case name != kubernetesRegistry:
			return misused(config.Suggest(name, "registries", known), "--registries: unknown registry %q", name)
		}
		seen[name] = true
	}
	for _, namespace := range r.namespaces {
		if !config.IsLabel(namespace) {
			return misused("", "--app-namespace: %q is not a namespace: lower-case letters, digits and -", namespace)
		}
	}
	if !config.IsDomain(r.domain) {
		return misused("", "--domain: %q is no domain: write it as in "+serve.Domain, strings.TrimSpace(r.domain))
	}
	return nil
}

// attached returns a cluster as a source of a control plane.
func (r *registryFlags) attached(c *kubeclient.Cluster) serve.Attached {
	namespaces := slices.Clone(r.namespaces)
	slices.Sort(namespaces)
	return serve.Attached{
		Names: []string{kube.RegistryName, kube.ObjectsName, kube.SecretsName},
		New: func(a serve.Attachment) (serve.Source, error) {
			return kube.New(kube.Config{
				Client: c.Config, Namespaces: slices.Compact(namespaces), Realm: a.Realm, Kinds: a.Kinds, Sink: a.Store,
				Cache: a.Cache, Patience: a.Patience, Log: a.Log,
			})
		},
	}
}
