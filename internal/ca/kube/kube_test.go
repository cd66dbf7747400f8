package kube_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/ca/catest"
	"github.com/lateen-mesh/lateen/internal/ca/kube"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/identity/identitytest"
	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rights are those that the storage needs, as a control plane has them.
const rights = `
{apiVersion: v1, kind: Namespace, metadata: {name: lateen-system}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: lateen-ca, namespace: lateen-system}
rules:
- {apiGroups: [""], resources: [secrets], resourceNames: [lateen-ca], verbs: [get, update]}
- {apiGroups: [""], resources: [secrets], verbs: [create]}
- {apiGroups: [""], resources: [configmaps], resourceNames: [lateen-root], verbs: [get, update, delete]}
- {apiGroups: [""], resources: [configmaps], verbs: [create]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: lateen-ca, namespace: lateen-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: lateen-ca}
subjects: [{kind: User, name: plane}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: lateen-ca}
rules:
- {apiGroups: [""], resources: [configmaps], resourceNames: [lateen-root], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: lateen-ca}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: lateen-ca}
subjects: [{kind: User, name: plane}]
`

// cluster is an API server of one test: the names of the Secret and the ConfigMap are fixed.
type cluster struct {
	server *kubetest.Server
	admin  *kubernetes.Clientset
	plane  string // kubeconfig
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	s := kubetest.StartOwn(t)
	s.Kubectl(t, rights, "apply", "-f", "-")
	return &cluster{server: s, admin: kubetest.Clientset(t, s.Kubeconfig, nil), plane: s.User(t, "plane")}
}

func (c *cluster) storage(t *testing.T) *kube.Storage {
	return kube.New(kubetest.Client(t, c.plane, nil))
}

// clear removes everything.
func (c *cluster) clear(t *testing.T) {
	t.Helper()
	must(t, c.admin.CoreV1().Secrets("lateen-system").DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
	c.server.Kubectl(t, "", "delete", "configmap", "--all-namespaces", "--field-selector", "metadata.name=lateen-root")
}

// put writes a part by hand.
func (c *cluster) put(t *testing.T, part ca.Part, text []byte) {
	t.Helper()
	if part == ca.MarkPart {
		c.putMark(t, text)
		return
	}
	if text == nil {
		c.putSecret(t, nil)
		return
	}
	_, rest := pem.Decode(text)
	cert := string(text[:len(text)-len(rest)])
	c.putSecret(t, map[string]string{"ca-cert.pem": cert, "root-cert.pem": cert, "ca-key.pem": string(rest)})
}

// putSecret puts the authority's Secret there; nil removes it.
func (c *cluster) putSecret(t *testing.T, data map[string]string) {
	t.Helper()
	secrets := c.admin.CoreV1().Secrets("lateen-system")
	if err := secrets.Delete(t.Context(), "lateen-ca", metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		must(t, err)
	}
	if data != nil {
		_, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "lateen-ca"}, StringData: data}, metav1.CreateOptions{})
		must(t, err)
	}
}

func (c *cluster) putMark(t *testing.T, text []byte) {
	t.Helper()
	maps := c.admin.CoreV1().ConfigMaps("lateen-system")
	if err := maps.Delete(t.Context(), "lateen-root", metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		must(t, err)
	}
	if text != nil {
		_, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "lateen-root"}, Data: map[string]string{kube.MarkKey: string(text)}}, metav1.CreateOptions{})
		must(t, err)
	}
}

// aside returns the roots that were set aside.
func (c *cluster) aside(t *testing.T) (all [][]byte) {
	t.Helper()
	list, err := c.admin.CoreV1().Secrets("lateen-system").List(t.Context(), metav1.ListOptions{})
	must(t, err)
	for _, s := range list.Items {
		if strings.HasPrefix(s.Name, "lateen-ca-found-") {
			all = append(all, bytes.Join([][]byte{s.Data["ca-cert.pem"], s.Data["ca-key.pem"]}, nil))
		}
	}
	return all
}

func TestConforms(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	catest.Run(t, func(t *testing.T) catest.Subject {
		c.clear(t)
		return catest.Subject{Open: func(t *testing.T) ca.Storage { return c.storage(t) }, Put: c.put, Aside: c.aside}
	})
}

// authority is one that runs on a storage.
type authority struct {
	*ca.Authority
	log *bytes.Buffer
}

func start(t *testing.T, s ca.Storage) (*authority, error) {
	t.Helper()
	log := new(bytes.Buffer)
	a, err := ca.Open(ca.Config{State: t.TempDir(), TrustDomain: catest.TrustDomain, Storage: s, Log: slog.New(slog.NewTextHandler(log, nil))})
	if err == nil {
		t.Cleanup(func() { must(t, a.Close()) })
	}
	return &authority{a, log}, err
}

func open(t *testing.T, s ca.Storage) *authority {
	t.Helper()
	a, err := start(t, s)
	must(t, err)
	return a
}

func (a *authority) root() string { return identity.Fingerprint(a.Bundle().Roots[0]) }

// losing loses answers, of requests that were carried out.
type losing struct {
	http.RoundTripper
	lose func(*http.Request) bool
}

func (l losing) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := l.RoundTripper.RoundTrip(r)
	if err == nil && l.lose(r) {
		_ = answer.Body.Close() // nobody reads it
		return nil, errors.New("the answer is lost")
	}
	return answer, err
}

// Ten that start at once have one root also where answers are lost, and where another one has put up a ConfigMap without a mark.
func TestAnswersAreLost(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	var lost atomic.Int32
	lossy := func(every int32) *kube.Storage {
		var n atomic.Int32
		return kube.New(kubetest.Client(t, c.plane, func(r http.RoundTripper) http.RoundTripper {
			return losing{r, func(q *http.Request) bool {
				if q.Method == http.MethodGet || n.Add(1)%every != 1%every {
					return false
				}
				lost.Add(1)
				return true
			}}
		}))
	}
	a := open(t, lossy(1)) // each of its writes gets no answer
	if lost.Load() == 0 {
		t.Error("nothing was lost")
	}
	if b := open(t, c.storage(t)); b.root() != a.root() {
		t.Error("another one has another root")
	}
	for round := range 3 {
		c.clear(t)
		if round > 0 {
			_, err := c.admin.CoreV1().ConfigMaps("lateen-system").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "lateen-root"}}, metav1.CreateOptions{})
			must(t, err)
		}
		roots := make([]string, 10)
		var all sync.WaitGroup
		for i := range roots {
			s := lossy(2 + int32(i)%2)
			all.Go(func() {
				if a, err := start(t, s); err != nil {
					t.Error(err)
				} else {
					roots[i] = a.root()
				}
			})
		}
		all.Wait()
		for _, r := range roots {
			if r == "" || r != roots[0] {
				t.Fatalf("round %d: the roots are %v", round, roots)
			}
		}
	}
}

// putRoot puts a root where proxies of a namespace find it.
func (c *cluster) putRoot(t *testing.T, namespace string, root *identitytest.Authority) {
	t.Helper()
	_, err := c.admin.CoreV1().ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "lateen-root"}, Data: map[string]string{"root-cert.pem": string(identitytest.PEM(root.Cert))},
	}, metav1.CreateOptions{})
	must(t, err)
}

// Nothing is made while Lateen's own namespace, or that of the cluster, tells of a root of which nothing else is left.
func TestProxiesTrustARoot(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	for _, namespace := range []string{"lateen-system", "kube-system"} {
		old := identitytest.New(t, catest.TrustDomain, time.Now())
		c.putRoot(t, namespace, old)
		_, err := start(t, c.storage(t))
		u, ok := errors.AsType[*ca.Unusable](err)
		if !ok || !strings.Contains(u.Message, identity.Fingerprint(old.Cert)) || !strings.Contains(u.Hint(), "the ConfigMap lateen-root of namespace "+namespace) {
			t.Fatalf("%s: the error is %v", namespace, err)
		}
		if _, err := c.storage(t).Read(t.Context(), ca.RootPart); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a root was made: %v", namespace, err)
		}
		c.clear(t) // as the hint says
	}
	open(t, c.storage(t))
}

// Whoever may write a ConfigMap in a namespace of their own decides nothing by it: it is told, and no more.
func TestOthersDecideNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	evil := identitytest.New(t, catest.TrustDomain, time.Now())
	namespace := c.server.Namespace(t)
	c.putRoot(t, namespace, evil)
	a := open(t, c.storage(t))
	if a.root() == identity.Fingerprint(evil.Cert) {
		t.Error("it is the root")
	}
	for _, want := range []string{identity.Fingerprint(evil.Cert), namespace, "another one is trusted"} {
		if !strings.Contains(a.log.String(), want) {
			t.Errorf("%q is not said:\n%s", want, a.log)
		}
	}
}

// A ConfigMap that somebody has made immutable, with a mark or without, does not keep the mark from being written.
func TestImmutable(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	fixed := true
	for name, mark := range map[string]map[string]string{"nothing": nil, "another mark": {kube.MarkKey: "x"}} {
		c.clear(t)
		data := map[string]string{"mine": "y"}
		maps.Copy(data, mark)
		configs := c.admin.CoreV1().ConfigMaps("lateen-system")
		_, err := configs.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "lateen-root"}, Data: data, Immutable: &fixed}, metav1.CreateOptions{})
		must(t, err)
		if mark == nil {
			must(t, c.storage(t).Create(t.Context(), ca.MarkPart, []byte("mark")))
		} else if _, err := c.storage(t).Replace(t.Context(), ca.MarkPart, []byte("mark")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		there, err := configs.Get(t.Context(), "lateen-root", metav1.GetOptions{})
		must(t, err)
		if want := map[string]string{"mine": "y", kube.MarkKey: "mark"}; !maps.Equal(there.Data, want) || there.Immutable != nil {
			t.Errorf("%s: there is %v, immutable %v", name, there.Data, there.Immutable)
		}
	}
}

// While the API server is away signing goes on and nothing is said to be lost; afterwards what was lost meanwhile is put back.
func TestServerAway(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := open(t, c.storage(t))
	c.server.Stop(t)
	a.Look(t.Context())
	if s := a.Status(); s.Restored != 0 || !strings.Contains(s.Problem, "cannot be reached now") {
		t.Errorf("away: %d were restored, problem %q", s.Restored, s.Problem)
	}
	if _, err := start(t, c.storage(t)); !errors.Is(err, ca.ErrAway) {
		t.Errorf("a start: %v", err)
	}
	c.server.Resume(t)
	c.putSecret(t, nil)
	a.Look(t.Context())
	if s := a.Status(); s.Restored != 1 || s.Problem != "" {
		t.Errorf("back: %d were restored, problem %q", s.Restored, s.Problem)
	}
	if b := open(t, c.storage(t)); b.root() != a.root() {
		t.Error("another one has another root")
	}
}

// plugged is the Secret of an authority that somebody else has made.
func plugged(t *testing.T, root, signing *identitytest.Authority, chain ...*identitytest.Authority) map[string]string {
	t.Helper()
	data := map[string]string{
		"ca-cert.pem": string(identitytest.PEM(signing.Cert)), "ca-key.pem": string(identitytest.KeyPEM(t, signing.Key)), "root-cert.pem": string(identitytest.PEM(root.Cert)),
	}
	for _, c := range chain {
		data["cert-chain.pem"] += string(identitytest.PEM(c.Cert))
	}
	return data
}

// An authority of somebody's own, in the Secret before Lateen starts, is used; a change of it is told and counts at the next start.
func TestPluggedIn(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	root := identitytest.New(t, catest.TrustDomain, time.Now())
	between := root.Below(t, "between")
	whole := plugged(t, root, between.Below(t, "signing"), between)
	for name, change := range map[string]func(map[string]string){
		"no key":         func(d map[string]string) { delete(d, "ca-key.pem") },
		"no certificate": func(d map[string]string) { delete(d, "ca-cert.pem") },
		"no root":        func(d map[string]string) { delete(d, "root-cert.pem") },
		"no chain":       func(d map[string]string) { delete(d, "cert-chain.pem") },
		"something else": func(d map[string]string) { d["ca-cert.pem"] = "x" },
		"nothing":        func(d map[string]string) { clear(d) },
		"the key broken": func(d map[string]string) { d["ca-key.pem"] = d["ca-key.pem"][:60] },
		"another's key":  func(d map[string]string) { d["ca-key.pem"] = string(identitytest.KeyPEM(t, identitytest.NewKey(t))) },
		"another's roots": func(d map[string]string) {
			d["root-cert.pem"] = string(identitytest.PEM(identitytest.New(t, catest.TrustDomain, time.Now()).Cert))
		},
	} {
		broken := maps.Clone(whole)
		change(broken)
		c.putSecret(t, broken)
		if _, err := start(t, c.storage(t)); err == nil || !strings.Contains(err.Error(), "lateen-ca") || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.storage(t).Read(t.Context(), ca.MarkPart); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: it is remembered all the same: %v", name, err)
		}
	}
	c.putSecret(t, whole)
	a := open(t, c.storage(t))
	if a.root() != identity.Fingerprint(root.Cert) || !a.Status().PluggedIn || len(a.Status().Issuing) != 2 {
		t.Errorf("the status is %+v", a.Status())
	}
	a.Look(t.Context())
	other := identitytest.New(t, catest.TrustDomain, time.Now())
	next := plugged(t, other, other.Below(t, "signing"))
	c.putSecret(t, next)
	a.Look(t.Context())
	if s := a.Status(); s.Restored != 0 || !strings.Contains(s.Problem, "has changed: the control plane goes on") {
		t.Errorf("changed: %d were restored, problem %q", s.Restored, s.Problem)
	}
	b := open(t, c.storage(t))
	if b.root() != identity.Fingerprint(other.Cert) || !strings.Contains(b.log.String(), "other roots than before") {
		t.Errorf("the next start has the root %s, and says\n%s", b.root(), b.log)
	}
	c.putSecret(t, nil)
	_, err := start(t, c.storage(t))
	if u, ok := errors.AsType[*ca.Unusable](err); !ok || !strings.Contains(u.Message, "plugged in") {
		t.Errorf("without it: %v", err)
	}
	a.Look(t.Context())
	if _, err := c.storage(t).Read(t.Context(), ca.RootPart); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("somebody else's authority is put back: %v", err)
	}
}

// Who plugs an authority in while one of Lateen's own runs has decided: that is told, and not undone; one that is not whole is
// damage, and is undone.
func TestPluggedInWhileItRuns(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := open(t, c.storage(t))
	root := identitytest.New(t, catest.TrustDomain, time.Now())
	whole := plugged(t, root, root.Below(t, "signing"))
	broken := plugged(t, root, root.Below(t, "signing"))
	broken["ca-key.pem"] = "x"
	c.putSecret(t, broken)
	a.Look(t.Context())
	if s := a.Status(); s.Restored != 1 || len(c.aside(t)) != 1 {
		t.Errorf("broken: %d were restored", s.Restored)
	}
	c.putSecret(t, whole)
	a.Look(t.Context())
	if s := a.Status(); s.Restored != 1 || !strings.Contains(s.Problem, identity.Fingerprint(root.Cert)) {
		t.Errorf("whole: %d were restored, problem %q", s.Restored, s.Problem)
	}
	secret, err := c.admin.CoreV1().Secrets("lateen-system").Get(t.Context(), mesh.AuthoritySecret, metav1.GetOptions{})
	must(t, err)
	if string(secret.Data["ca-cert.pem"]) != whole["ca-cert.pem"] {
		t.Error("what was plugged in is gone")
	}
}
