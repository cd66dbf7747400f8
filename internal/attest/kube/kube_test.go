package kube_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/attest/attesttest"
	"github.com/lateen-mesh/lateen/internal/attest/kube"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/kubetest"
)

// The suite runs against a real API server. Its clock is moved, that of the API server is not: tokens begin before both.
func TestConforms(t *testing.T) {
	t.Parallel()
	var others atomic.Int32
	attesttest.Run(t, func(t *testing.T, clock *attesttest.Clock) attesttest.Subject {
		server := kubetest.Start(t)
		if strings.HasSuffix(t.Name(), "of_another_authority") && others.Add(1) == 2 {
			server = kubetest.StartOwn(t)
		}
		begun := clock.Now()
		// The clock of the attestor is five minutes ahead of the API server's, so that a busy machine has time.
		base := time.Now().Add(5 * time.Minute)
		now := func() time.Time { return base.Add(clock.Now().Sub(begun)) }
		return subject(t, newCluster(t, server, now), now)
	})
}

func subject(t *testing.T, c *cluster, now func() time.Time) attesttest.Subject {
	return attesttest.Subject{
		Attestor: c, Placed: true, Namespace: c.namespace,
		Prove: func(p identity.Peer, life time.Duration, key []byte) (attest.Evidence, error) {
			if p.ID.TrustDomain != trustDomain || p.Workload == "" {
				return attest.Evidence{}, errors.New("no pod is of another trust domain or has no name")
			}
			if p.ID.Namespace == "lateen-system" {
				c.server.Kubectl(t, "{apiVersion: v1, kind: Namespace, metadata: {name: lateen-system}}", "apply", "-f", "-")
			}
			address := ""
			if p.Address.IsValid() {
				address = p.Address.String()
			}
			pod := c.pod(t, p.ID.Namespace, podName(p), p.ID.Account, address)
			return attest.Evidence{ServiceAccount: c.sign(t, c.claims(t, pod, p.ID.Account, now().Add(life))), Key: key}, nil
		},
		Spoil: func(e attest.Evidence) []attest.Evidence { return spoil(t, e.ServiceAccount) },
	}
}

// spoil returns what somebody can make of a token who has no key of the API server's.
func spoil(t *testing.T, token string) []attest.Evidence {
	parts := strings.Split(token, ".")
	another, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	forged := signWith(t, another, map[string]any{"aud": "lateen", "exp": time.Now().Add(time.Hour).Unix(), "sub": "system:serviceaccount:default:default"})
	var bad []attest.Evidence
	for _, text := range []string{
		"x", "..", "a.b.c", token[:len(token)-4], token + ".x", token + "AAAA", parts[0] + "." + parts[1] + ".", forged, "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"eyJhbGciOiJub25lIn0." + parts[1] + ".AAAA", parts[0] + "." + strings.Split(forged, ".")[1] + "." + parts[2], flip(token, len(token)-20),
		token + "\x00", "lateen1.aaaa.bbbb", strings.Repeat("a", 1<<20), strings.Repeat("a.", 1<<12),
	} {
		bad = append(bad, attest.Evidence{ServiceAccount: text})
	}
	return bad
}

// flip makes one letter of a text another one.
func flip(text string, at int) string {
	other := "A"
	if text[at] == 'A' {
		other = "B"
	}
	return text[:at] + other + text[at+1:]
}

// Tokens that the API server gives out itself, and what has become of their pods.
func TestRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, kubetest.Start(t), time.Now)
	pod := func(t *testing.T) *corev1.Pod {
		t.Helper()
		return c.pod(t, c.namespace, strings.ToLower(rand.Text()), "reviews", "10.244.0.7")
	}
	for name, test := range map[string]struct {
		token func(t *testing.T) string
		want  string
	}{
		"bound to nothing": {func(t *testing.T) string {
			c.account(t, c.namespace, "reviews")
			return c.token(t, "reviews", "lateen", nil)
		}, "is bound to no pod"},
		"bound to a Secret": {func(t *testing.T) string {
			c.account(t, c.namespace, "reviews")
			secret, err := c.admin.CoreV1().Secrets(c.namespace).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{GenerateName: "s-"}}, metav1.CreateOptions{})
			must(t, err)
			return c.token(t, "reviews", "lateen", &authenticationv1.BoundObjectReference{Kind: "Secret", APIVersion: "v1", Name: secret.Name, UID: secret.UID})
		}, "is bound to no pod"},
		"for the API server": {func(t *testing.T) string {
			return c.token(t, "reviews", "https://kubernetes.default.svc.cluster.local", boundTo(pod(t)))
		}, "not for the audience"},
		"for somebody else": {func(t *testing.T) string { return c.token(t, "reviews", "vault", boundTo(pod(t))) }, "not for the audience"},
		"of a pod that is gone": {func(t *testing.T) string {
			p := pod(t)
			token := c.token(t, "reviews", "lateen", boundTo(p))
			c.remove(t, c.namespace, p.Name)
			return token
		}, "accepted by the API server"},
		"of a pod of which there is another now": {func(t *testing.T) string {
			p := pod(t)
			token := c.token(t, "reviews", "lateen", boundTo(p))
			c.remove(t, c.namespace, p.Name)
			c.pod(t, c.namespace, p.Name, "reviews", "10.244.0.8")
			return token
		}, "accepted by the API server"},
		"of a pod that has ended": {func(t *testing.T) string {
			p := pod(t)
			token := c.token(t, "reviews", "lateen", boundTo(p))
			p.Status.Phase = corev1.PodSucceeded
			_, err := c.admin.CoreV1().Pods(c.namespace).UpdateStatus(t.Context(), p, metav1.UpdateOptions{})
			must(t, err)
			return token
		}, "has ended"},
		"of another account than the pod's": {func(t *testing.T) string {
			return c.sign(t, c.claims(t, pod(t), "ratings", time.Now().Add(time.Hour)))
		}, "has the ServiceAccount reviews, the token that of ratings"},
		"that ended a second ago": {func(t *testing.T) string {
			return c.sign(t, c.claims(t, pod(t), "reviews", time.Now().Add(-time.Second)))
		}, "has expired"},
		"without an end": {func(t *testing.T) string {
			claims := c.claims(t, pod(t), "reviews", time.Now())
			delete(claims, "exp")
			return c.sign(t, claims)
		}, "has expired"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			who, err := c.Attest(t.Context(), attest.Evidence{ServiceAccount: test.token(t)})
			if _, ok := errors.AsType[*attest.Refused](err); !ok || !strings.Contains(err.Error(), test.want) {
				t.Errorf("it is %s, %v; want %q", who.Peer, err, test.want)
			}
		})
	}
}

// No pod gets a certificate that is good for the name of the control plane.
func TestNamedAsTheControlPlane(t *testing.T) {
	t.Parallel()
	c := newCluster(t, kubetest.StartOwn(t), time.Now)
	_, err := c.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "svc"}}, metav1.CreateOptions{})
	must(t, err)
	c.namespace = "svc"
	for name, want := range map[string]string{"lateen.lateen-system": "its name is that of the control plane", "reviews.lateen-system": ""} {
		who, err := c.Attest(t.Context(), attest.Evidence{ServiceAccount: c.token(t, "reviews", "lateen", boundTo(c.pod(t, "svc", name, "reviews", "10.244.0.7")))})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s is %s, %v", name, who.Peer, err)
		}
	}
}

// The clock that counts is also the API server's: with its own far behind, the attestor takes nothing that has ended.
func TestExpiredByTheClockOfTheServer(t *testing.T) {
	t.Parallel()
	c := newCluster(t, kubetest.Start(t), func() time.Time { return time.Now().Add(-time.Hour) })
	pod := c.pod(t, c.namespace, "web-0", "reviews", "10.244.0.7")
	_, err := c.Attest(t.Context(), attest.Evidence{ServiceAccount: c.sign(t, c.claims(t, pod, "reviews", time.Now().Add(-time.Minute)))})
	if _, ok := errors.AsType[*attest.Refused](err); !ok || !strings.Contains(err.Error(), "expired") {
		t.Errorf("the error is %v", err)
	}
}

// A token that the API server gives out for a pod is taken, with all that is known of the pod; what it must not be used for is
// told before it is.
func TestToken(t *testing.T) {
	t.Parallel()
	c := newCluster(t, kubetest.Start(t), nil)
	pod := c.pod(t, c.namespace, "web-0.a", "reviews", "10.244.0.7")
	e := attest.Evidence{ServiceAccount: c.token(t, "reviews", "lateen", boundTo(pod))}
	want := identity.Peer{
		ID:       identity.ID{TrustDomain: trustDomain, Namespace: c.namespace, Account: "reviews"},
		Workload: "web-0.a." + c.namespace, Address: netip.MustParseAddr("10.244.0.7"),
	}
	if who, err := c.Attest(t.Context(), e); err != nil || who != (attest.Attested{Peer: want, By: attest.ByServiceAccount}) {
		t.Errorf("it is %+v, %v", who, err)
	}
	c.place(t, pod, "10.244.0.7", "fd00:244::7")
	want.Further = netip.MustParseAddr("fd00:244::7")
	if who, err := c.Attest(t.Context(), e); err != nil || who.Peer != want {
		t.Errorf("with addresses of both families it is %+v, %v", who, err)
	}
	e.Check = func(p identity.Peer) error { return fmt.Errorf("not for %s", p.Workload) }
	if who, err := c.Attest(t.Context(), e); err == nil || err.Error() != "not for "+want.Workload || who != (attest.Attested{}) {
		t.Errorf("checked, it is %+v, %v", who, err)
	}
}

// The agent may be faster than the news of its pod's address. Where that does not come nobody can tell who it is.
func TestAddressComesLater(t *testing.T) {
	t.Parallel()
	c := newCluster(t, kubetest.Start(t), nil)
	pod := c.pod(t, c.namespace, "web-0", "reviews", "")
	e := attest.Evidence{ServiceAccount: c.token(t, "reviews", "lateen", boundTo(pod))}
	_, err := c.Attest(t.Context(), e)
	if _, refused := errors.AsType[*attest.Refused](err); err == nil || refused || !strings.Contains(err.Error(), "does not know yet") {
		t.Errorf("without an address: %v", err)
	}
	placed := make(chan *corev1.Pod, 1)
	time.AfterFunc(200*time.Millisecond, func() { placed <- c.place(t, pod, "10.244.0.9") })
	who, err := c.Attest(t.Context(), e)
	if err != nil || who.Peer.Address != netip.MustParseAddr("10.244.0.9") {
		t.Errorf("it is %s, %v", who.Peer, err)
	}
	<-placed
}

// While the API server is away nobody can tell who somebody is: that refuses nobody, and afterwards they are known. What cannot
// be a token is refused all the same.
func TestServerAway(t *testing.T) {
	t.Parallel()
	server := kubetest.StartOwn(t)
	c := newCluster(t, server, nil)
	pod := c.pod(t, c.namespace, "web-0", "reviews", "10.244.0.7")
	e := attest.Evidence{ServiceAccount: c.token(t, "reviews", "lateen", boundTo(pod))}
	server.Stop(t)
	_, err := c.Attest(t.Context(), e)
	if _, refused := errors.AsType[*attest.Refused](err); err == nil || refused || errors.Is(err, attest.ErrNoEvidence) || strings.Contains(err.Error(), e.ServiceAccount) {
		t.Errorf("while it is away: %v", err)
	}
	if _, err := c.Attest(t.Context(), attest.Evidence{ServiceAccount: "x"}); err == nil {
		t.Error("no token is taken")
	}
	server.Resume(t)
	if who, err := c.Attest(t.Context(), e); err != nil {
		t.Errorf("when it is back it is %s, %v", who.Peer, err)
	}
}

// Who may not ask the API server cannot tell either.
func TestNoRights(t *testing.T) {
	t.Parallel()
	server := kubetest.Start(t)
	c := newCluster(t, server, nil)
	pod := c.pod(t, c.namespace, "web-0", "reviews", "10.244.0.7")
	e := attest.Evidence{ServiceAccount: c.token(t, "reviews", "lateen", boundTo(pod))}
	a := kube.New(kube.Config{Client: kubetest.Client(t, server.User(t, "nobody"), nil), TrustDomain: trustDomain})
	_, err := a.Attest(t.Context(), e)
	if _, refused := errors.AsType[*attest.Refused](err); err == nil || refused || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("the error is %v", err)
	}
}
