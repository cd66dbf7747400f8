package cli

import (
	"log/slog"
	"net"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/client-go/dynamic"
	kuberest "k8s.io/client-go/rest"

	"github.com/lateen-mesh/lateen/internal/attest"
	attestkube "github.com/lateen-mesh/lateen/internal/attest/kube"
	cakube "github.com/lateen-mesh/lateen/internal/ca/kube"
	"github.com/lateen-mesh/lateen/internal/kubeapi"
	"github.com/lateen-mesh/lateen/internal/kubewrite"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// replicaFlags say which replica of a control plane in a cluster this one is.
type replicaFlags struct{ name, address string }

func (r *replicaFlags) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&r.name, "replica", "", "name of this replica of a control plane that shares a cluster with others: that of its pod (default: it shares nothing)")
	flags.StringVar(&r.address, "replica-address", "", "`HOST:PORT` where the other replicas reach this one")
}

// check finds out whether the flags go together.
func (r *replicaFlags) check(inCluster bool) error {
	switch {
	case r.name == "" && r.address == "":
		return nil
	case !inCluster:
		return misused("add --registries=Kubernetes", "--replica is about a control plane in a cluster")
	case r.name == "" || r.address == "":
		return misused("", "--replica and --replica-address are given both or not at all")
	}
	return nil
}

// endpoint returns the address, of which the host may be one of IPv6 without brackets, as it comes from a pod's environment.
func (r *replicaFlags) endpoint() string {
	if _, _, err := net.SplitHostPort(r.address); err == nil {
		return r.address
	}
	colon := strings.LastIndexByte(r.address, ':')
	if colon < 0 {
		return r.address
	}
	return net.JoinHostPort(r.address[:colon], r.address[colon+1:])
}

// join has a control plane know the pods of a cluster by their tokens, and if it is one of several replicas share with the others
// what they have in common. Plane returns the control plane that c makes, once there is one, hooks what the API server is to be told.
func (r *replicaFlags) join(c *serve.Config, cluster *kuberest.Config, plane func() *serve.Plane, hooks toldHooks, log *slog.Logger) error {
	config := kuberest.CopyConfig(cluster)
	config.QPS = -1 // what comes from outside is bounded where it comes in
	client, err := kubeapi.New(config)
	if err != nil {
		return err
	}
	trustDomain := c.TrustDomain
	if trustDomain == "" {
		trustDomain = serve.Domain
	}
	c.Shared.Attestors = []attest.Attestor{attestkube.New(attestkube.Config{Client: client, TrustDomain: trustDomain})}
	if r.name == "" {
		return nil
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	writer := kubewrite.New(kubewrite.Config{
		Client: client, Objects: objects, Replica: r.name, Address: r.endpoint(), Log: log, Refused: push.CodeRefusedByProxy,
		Roots: func() []byte { return plane().Roots() }, Hooks: hooks,
		Ingress: func() (mesh.IngressSettings, bool) { return plane().Ingress() }, Judge: func() kubewrite.Judge { return plane().Judge() },
	})
	c.Shared.Replica, c.Shared.Members, c.Shared.Leads, c.Shared.Run = r.name, writer, writer.Leading, writer.Run
	c.Shared.Root, c.Shared.Stances = cakube.New(client), writer.Stances()
	return nil
}
