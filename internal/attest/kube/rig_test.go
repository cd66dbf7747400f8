package kube_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/lateen-mesh/lateen/internal/attest/kube"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/kubetest"
)

const trustDomain = "cluster.local"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rights are those that an attestor needs.
const rights = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NAME}
rules:
- {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
- {apiGroups: [""], resources: [pods], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAME}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NAME}
subjects: [{kind: User, name: NAME}]
`

// cluster is an API server as whoever makes pods sees it, with an attestor that has only the rights that it needs.
type cluster struct {
	*kube.Attestor
	server    *kubetest.Server
	admin     *kubernetes.Clientset
	namespace string
}

func newCluster(t testing.TB, s *kubetest.Server, now func() time.Time) *cluster {
	t.Helper()
	c := &cluster{server: s, admin: kubetest.Clientset(t, s.Kubeconfig, nil), namespace: s.Namespace(t)}
	name := "attestor-" + c.namespace // tests share the server
	s.Kubectl(t, strings.ReplaceAll(rights, "NAME", name), "create", "-f", "-")
	c.Attestor = kube.New(kube.Config{Client: kubetest.Client(t, s.User(t, name), nil), TrustDomain: trustDomain, Now: now})
	return c
}

// account makes a ServiceAccount where there is none.
func (c *cluster) account(t testing.TB, namespace, name string) *corev1.ServiceAccount {
	t.Helper()
	accounts := c.admin.CoreV1().ServiceAccounts(namespace)
	made, err := accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		made, err = accounts.Get(t.Context(), name, metav1.GetOptions{})
	}
	must(t, err)
	return made
}

// pod makes a pod, in the place of one of its name that is another, and tells its address if there is one.
func (c *cluster) pod(t testing.TB, namespace, name, account, address string) *corev1.Pod {
	t.Helper()
	c.account(t, namespace, account)
	pods := c.admin.CoreV1().Pods(namespace)
	there, err := pods.Get(t.Context(), name, metav1.GetOptions{})
	if err == nil && there.Spec.ServiceAccountName == account && there.Status.PodIP == address {
		return there
	}
	c.remove(t, namespace, name)
	made, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{ServiceAccountName: account, Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
	}, metav1.CreateOptions{})
	must(t, err)
	if address == "" {
		return made
	}
	return c.place(t, made, address)
}

// place tells the API server where a pod is, as its kubelet does.
func (c *cluster) place(t testing.TB, pod *corev1.Pod, address string, further ...string) *corev1.Pod {
	t.Helper()
	pod = pod.DeepCopy()
	pod.Status.Phase, pod.Status.PodIP, pod.Status.PodIPs = corev1.PodRunning, address, []corev1.PodIP{{IP: address}}
	for _, a := range further {
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: a})
	}
	placed, err := c.admin.CoreV1().Pods(pod.Namespace).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{})
	must(t, err)
	return placed
}

// remove removes a pod at once, if there is one.
func (c *cluster) remove(t testing.TB, namespace, name string) {
	t.Helper()
	err := c.admin.CoreV1().Pods(namespace).Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
}

// token has the API server give out the token of an account, bound to something or nothing.
func (c *cluster) token(t testing.TB, account, audience string, bound *authenticationv1.BoundObjectReference) string {
	t.Helper()
	r, err := c.admin.CoreV1().ServiceAccounts(c.namespace).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, BoundObjectRef: bound},
	}, metav1.CreateOptions{})
	must(t, err)
	return r.Status.Token
}

func boundTo(pod *corev1.Pod) *authenticationv1.BoundObjectReference {
	return &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID}
}

// claims are those of a token that is bound to a pod, until it ends.
func (c *cluster) claims(t testing.TB, pod *corev1.Pod, account string, end time.Time) map[string]any {
	t.Helper()
	owner := c.account(t, pod.Namespace, account)
	begin := time.Now().Add(-time.Minute).Unix()
	return map[string]any{
		"iss": "https://kubernetes.default.svc.cluster.local", "aud": []string{"lateen"}, "sub": "system:serviceaccount:" + pod.Namespace + ":" + account,
		"iat": begin, "nbf": begin, "exp": end.Unix(), "jti": rand.Text(),
		"kubernetes.io": map[string]any{
			"namespace": pod.Namespace, "serviceaccount": map[string]any{"name": account, "uid": owner.UID}, "pod": map[string]any{"name": pod.Name, "uid": pod.UID},
		},
	}
}

// sign signs claims with the API server's own key: so a test has tokens that the API server would not give out.
func (c *cluster) sign(t testing.TB, claims map[string]any) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(c.server.CA), "tokens.key"))
	must(t, err)
	block, _ := pem.Decode(text)
	key, err := x509.ParseECPrivateKey(block.Bytes)
	must(t, err)
	return signWith(t, key, claims)
}

func signWith(t testing.TB, key *ecdsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	text, err := json.Marshal(maps.Clone(claims))
	must(t, err)
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"ES256"}`)) + "." + encode(text)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	must(t, err)
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + encode(signature)
}

// podName returns the name of the pod that is a workload.
func podName(p identity.Peer) string { return strings.TrimSuffix(p.Workload, "."+p.ID.Namespace) }
