package kubewrite_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/testkit"
)

// data returns what the ConfigMap of a namespace holds; nil: there is none.
func (c *cluster) data(t *testing.T, namespace string) map[string]string {
	t.Helper()
	there, err := c.admin.CoreV1().ConfigMaps(namespace).Get(t.Context(), "lateen-root", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	must(t, err)
	return there.Data
}

func (c *cluster) awaitRoots(t *testing.T, namespace string, want map[string]string) {
	t.Helper()
	testkit.Await(t, "the roots are in "+namespace, func() bool { return maps.Equal(c.data(t, namespace), want) })
}

// Every namespace has the roots: those that are there, those that come, and those where somebody has changed or removed them.
// What else stands in the ConfigMap stays.
func TestRoots(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	old := c.server.Namespace(t)
	_, err := c.admin.CoreV1().ConfigMaps(old).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "lateen-root"}, Data: map[string]string{"root-cert.pem": "old", "mine": "x"}}, metav1.CreateOptions{})
	must(t, err)
	a, b := c.replica(t, "a", calm), c.replica(t, "b", calm)
	whole := map[string]string{"root-cert.pem": "roots"}
	for _, namespace := range []string{"default", "kube-system", "lateen-system"} {
		c.awaitRoots(t, namespace, whole)
	}
	c.awaitRoots(t, old, map[string]string{"root-cert.pem": "roots", "mine": "x"})
	fresh := c.server.Namespace(t)
	c.awaitRoots(t, fresh, whole)
	configs := c.admin.CoreV1().ConfigMaps(fresh)
	must(t, configs.Delete(t.Context(), "lateen-root", metav1.DeleteOptions{}))
	c.awaitRoots(t, fresh, whole)
	there, err := configs.Get(t.Context(), "lateen-root", metav1.GetOptions{})
	must(t, err)
	if there.Labels["app.kubernetes.io/part-of"] != "lateen" {
		t.Errorf("its labels are %v", there.Labels)
	}
	there.Data["root-cert.pem"] = "evil"
	_, err = configs.Update(t.Context(), there, metav1.UpdateOptions{})
	must(t, err)
	c.awaitRoots(t, fresh, whole)
	leader, other := a, b
	if b.Leading() {
		leader, other = b, a
	}
	if other.writes.Load() != 0 {
		t.Errorf("the one that does not lead has written %d times", other.writes.Load())
	}
	leader.stop()
	must(t, configs.Delete(t.Context(), "lateen-root", metav1.DeleteOptions{}))
	c.awaitRoots(t, fresh, whole)
	c.server.Kubectl(t, "", "delete", "namespace", fresh, "--wait=false")
	must(t, configs.Delete(t.Context(), "lateen-root", metav1.DeleteOptions{}))
	c.awaitRoots(t, c.server.Namespace(t), whole)
	if data := c.data(t, fresh); data != nil {
		t.Errorf("in a namespace that goes there is %v", data)
	}
	if said := other.log.String(); strings.Contains(said, "WARN") {
		t.Errorf("said is\n%s", said)
	}
}

// Whoever changes the roots again and again is answered ever more slowly, and that is told once; other namespaces do not wait.
func TestNoFight(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	namespace := c.server.Namespace(t)
	a := c.replica(t, "a", calm)
	whole := map[string]string{"root-cert.pem": "roots"}
	c.awaitRoots(t, namespace, whole)
	written := a.writes.Load()
	configs := c.admin.CoreV1().ConfigMaps(namespace)
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); <-pace.C {
		evil := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "lateen-root"}, Data: map[string]string{"root-cert.pem": "evil"}}
		_, err := configs.Update(t.Context(), evil, metav1.UpdateOptions{})
		must(t, err)
	}
	if n := a.writes.Load() - written; n < 2 || n > 4 {
		t.Errorf("in 8 s it is written %d times", n)
	}
	c.awaitRoots(t, c.server.Namespace(t), whole)
	c.awaitRoots(t, namespace, whole)
	if n := strings.Count(a.log.String(), "do not last"); n != 1 {
		t.Errorf("it is told %d times:\n%s", n, a.log)
	}
}

// Twenty namespaces that come at once have the roots soon, each written once.
func TestManyNamespaces(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.replica(t, "a", calm)
	c.awaitRoots(t, "default", map[string]string{"root-cert.pem": "roots"})
	testkit.Await(t, "those that there were have them", func() bool { return a.writes.Load() == 5 }) // default, kube-*, lateen-system
	for i := range 20 {
		_, err := c.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i)}}, metav1.CreateOptions{})
		must(t, err)
	}
	for i := range 20 {
		c.awaitRoots(t, fmt.Sprint("n", i), map[string]string{"root-cert.pem": "roots"})
	}
	if n := a.writes.Load(); n != 25 {
		t.Errorf("%d were written", n)
	}
}

// A ConfigMap that somebody has made immutable is replaced, with what else it holds.
func TestImmutableRoots(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	fixed, namespace := true, c.server.Namespace(t)
	_, err := c.admin.CoreV1().ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "lateen-root"}, Data: map[string]string{"root-cert.pem": "evil", "mine": "x"}, Immutable: &fixed,
	}, metav1.CreateOptions{})
	must(t, err)
	a := c.replica(t, "a", calm)
	c.awaitRoots(t, namespace, map[string]string{"root-cert.pem": "roots", "mine": "x"})
	if said := a.log.String(); strings.Contains(said, "WARN") {
		t.Errorf("said is\n%s", said)
	}
}
