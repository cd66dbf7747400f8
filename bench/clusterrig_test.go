package bench

import (
	"bufio"
	"net/http"
	"strconv"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// clusterRig is a control plane that knows a cluster as one in a pod does, and the proxies of that cluster, not connected yet.
type clusterRig struct {
	*cluster
	base  *base
	admin string // HOST:PORT of its metrics
}

// newClusterRig has a control plane for a cluster, that is not started.
func newClusterRig(tb testing.TB, c *cluster, cpu int) *clusterRig {
	tb.Helper()
	s := notStarted(tb, cpu)
	r := &clusterRig{c, &base{TB: tb, server: s}, ownAddress() + ":15014"}
	// As the Deployment has it, but for what would be taken twice on one machine.
	s.flags = []string{
		"--registries=Kubernetes", "--kubeconfig=" + c.user(), "--admin-address=" + r.admin,
		"--replica=lateen-0", "--replica-address=" + s.secure,
	}
	r.base.fleet = newFleet(tb, s, c.members())
	return r
}

// start starts the control plane and returns when it knows the cluster.
func (r *clusterRig) start() {
	r.Helper()
	r.base.server.start()
	r.base.server.answers()
	r.base.until("ready", func() bool { return r.base.status().Ready })
}

// trust waits for the roots in the namespaces, where agents find them, and returns them.
func (r *clusterRig) trust() identity.Bundle {
	r.Helper()
	var bundle identity.Bundle
	r.base.until("in every namespace", func() bool {
		list, err := r.typed.CoreV1().ConfigMaps("").List(r.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + mesh.RootConfigMap})
		r.must(err)
		if len(list.Items) < namespaces {
			return false
		}
		for i := range list.Items {
			if text := list.Items[i].Data[mesh.RootKey]; text != "" {
				bundle, err = identity.ParseBundle(serve.Domain, []byte(text))
				r.must(err)
			}
		}
		return len(bundle.Roots) > 0
	})
	return bundle
}

// tokens gives each proxy a token of its pod, as kubelets do.
func (r *clusterRig) tokens() []*enrolment {
	r.Helper()
	trust := r.trust()
	var workloads []*mesh.Workload
	for i := range r.proxies {
		workloads = append(workloads, r.workload(i))
	}
	list := enrolments(r, r.base.server, workloads)
	r.each(r.proxies, func(i int) error {
		e := list[i]
		reply, err := r.typed.CoreV1().ServiceAccounts(e.workload.Namespace).CreateToken(r.Context(), e.workload.Account, &authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{
				Audiences:      []string{mesh.TokenAudience},
				BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: e.workload.Name, UID: r.uid(i)},
			},
		}, metav1.CreateOptions{})
		if err == nil {
			e.ask.ServiceAccount, e.ask.Trust = reply.Status.Token, &trust
		}
		return err
	})
	return list
}

// enrol gets each proxy its certificate for its token.
func (r *clusterRig) enrol(list []*enrolment) {
	r.Helper()
	allOf(r, list, func(e *enrolment) error { return e.request(r.Context()) })
	for i, e := range list {
		r.base.fleet.proxies[i].creds = e.credentials()
	}
}

// ofScopes returns a metric of the control plane about scopes.
func (r *clusterRig) ofScopes(name string) int64 {
	r.Helper()
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+r.admin+"/metrics", nil)
	r.must(err)
	response, err := http.DefaultClient.Do(request)
	r.must(err)
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		series, value, ok := strings.Cut(lines.Text(), "} ")
		if ok && strings.HasPrefix(series, name+"{") && strings.Contains(series, `"scope"`) {
			n, err := strconv.ParseFloat(value, 64)
			r.must(err)
			return int64(n)
		}
	}
	r.Fatalf("no metric %s about scopes: %v", name, lines.Err())
	return 0
}
