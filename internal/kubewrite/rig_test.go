package kubewrite_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/kubewrite"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

// beat is short, so that what takes three of them is soon over.
const beat = 300 * time.Millisecond

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rights are those of a control plane that has to do with this package.
const rights = `
{apiVersion: v1, kind: Namespace, metadata: {name: lateen-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: lateen-write, namespace: lateen-system}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, list, create, update, delete]}
- {apiGroups: [""], resources: [configmaps], resourceNames: [lateen-stances], verbs: [get, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: lateen-write, namespace: lateen-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: lateen-write}
subjects: [{kind: User, name: plane}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: lateen-write}
rules:
- {apiGroups: [""], resources: [namespaces], verbs: [list, watch]}
- {apiGroups: [""], resources: [services], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses/status], verbs: [patch]}
- {apiGroups: [""], resources: [configmaps], resourceNames: [lateen-root], verbs: [list, watch, update, delete]}
- {apiGroups: [""], resources: [configmaps], verbs: [create]}
- {apiGroups: [config.istio.io], resources: [routerules/status], verbs: [patch]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: lateen-write}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: lateen-write}
subjects: [{kind: User, name: plane}]
`

// cluster is an API server of one test.
type cluster struct {
	server *kubetest.Server
	admin  *kubernetes.Clientset
	plane  string // kubeconfig
	judge  *judge // nil: no status is written
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	s := kubetest.StartOwn(t)
	s.Kubectl(t, rights, "apply", "-f", "-")
	return &cluster{server: s, admin: kubetest.Clientset(t, s.Kubeconfig, nil), plane: s.User(t, "plane")}
}

// replica is a writer that runs.
type replica struct {
	*kubewrite.Writer
	name    string
	log     *testkit.Output
	cut     atomic.Bool                          // nothing comes through, as when it was killed
	writes  atomic.Int64                         // of ConfigMaps
	status  atomic.Int64                         // writes of the status of an Ingress object
	refused atomic.Int64                         // those of them that were a conflict
	states  atomic.Int64                         // writes of the status of objects of ours
	ingress atomic.Pointer[mesh.IngressSettings] // that the replica knows; nil: none yet
	held    atomic.Pointer[held]
	saying  atomic.Pointer[held] // of the next status
	stop    func()
}

// held has the next look at the stances wait until on is closed.
type held struct{ came, on chan struct{} }

func (r *replica) hold() *held {
	h := &held{make(chan struct{}), make(chan struct{})}
	r.held.Store(h)
	return h
}

// holdStatus has the next write of a status wait until on is closed.
func (r *replica) holdStatus() *held {
	h := &held{make(chan struct{}), make(chan struct{})}
	r.saying.Store(h)
	return h
}

// RoundTrip lets requests through, or not.
func (r *replica) wrap(next http.RoundTripper) http.RoundTripper {
	return through(func(q *http.Request) (*http.Response, error) {
		if h := r.held.Load(); h != nil && q.Method == http.MethodGet && strings.HasSuffix(q.URL.Path, "/lateen-stances") && r.held.CompareAndSwap(h, nil) {
			close(h.came)
			<-h.on
		} else if r.cut.Load() {
			return nil, errors.New("cut off")
		}
		if q.Method == http.MethodPatch && strings.HasSuffix(q.URL.Path, "/status") {
			r.states.Add(1)
			if h := r.saying.Load(); h != nil && r.saying.CompareAndSwap(h, nil) {
				close(h.came)
				<-h.on
			}
		}
		if q.Method != http.MethodGet && bytes.HasSuffix([]byte(q.URL.Path), []byte("/lateen-root")) || q.Method == http.MethodPost && bytes.HasSuffix([]byte(q.URL.Path), []byte("/configmaps")) {
			r.writes.Add(1)
		}
		if q.Method == http.MethodPatch && strings.HasSuffix(q.URL.Path, "/status") {
			r.status.Add(1)
		}
		answer, err := next.RoundTrip(q)
		if err == nil && answer.StatusCode == http.StatusConflict && strings.HasSuffix(q.URL.Path, "/status") {
			r.refused.Add(1)
		}
		return answer, err
	})
}

type through func(*http.Request) (*http.Response, error)

func (f through) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

// calm is a beat for tests that are not about Leases: a busy machine does not miss three of them.
const calm = 5 * time.Second

// replica starts a writer, which runs until it is stopped or the test ends.
func (c *cluster) replica(t *testing.T, name string, beat time.Duration) *replica {
	t.Helper()
	return c.replicaWith(t, name, beat, nil)
}

// hooks returns what the API server is to be told of webhooks.
type hooks = func() (*admissionv1.MutatingWebhookConfiguration, *admissionv1.ValidatingWebhookConfiguration, bool)

// replicaWith starts one that has webhooks.
func (c *cluster) replicaWith(t *testing.T, name string, beat time.Duration, told hooks) *replica {
	t.Helper()
	r := &replica{name: name, log: new(testkit.Output)}
	config := kubewrite.Config{
		Client: kubetest.Client(t, c.plane, r.wrap), Replica: name, Address: name + ":15012", Roots: func() []byte { return []byte("roots") }, Beat: beat, Hooks: told, Log: slog.New(slog.NewTextHandler(r.log, nil)),
		Ingress: func() (mesh.IngressSettings, bool) {
			s := r.ingress.Load()
			if s == nil {
				return mesh.IngressSettings{}, false
			}
			return *s, true
		},
	}
	if c.judge != nil {
		objects, err := dynamic.NewForConfig(kubetest.Config(t, c.plane, r.wrap))
		must(t, err)
		config.Judge, config.Objects, config.Settle = func() kubewrite.Judge { return c.judge }, objects, time.Millisecond
	}
	r.Writer = kubewrite.New(config)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	r.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(r.stop)
	return r
}

// sees tells whether a replica sees exactly these others.
func (r *replica) sees(names ...string) bool {
	list, known := r.Replicas()
	if !known || len(list) != len(names) {
		return false
	}
	for i, n := range names {
		if list[i].Name != n || list[i].Address != n+":15012" {
			return false
		}
	}
	return true
}
