// Package kube attests pods of Kubernetes, as one more [attest.Attestor].
//
// What comes in is the token of a ServiceAccount that the kubelet has put into the pod, for the audience "lateen". What goes out
// is the pod: the identity of its account, its name, and its address. The API server says whether the token holds
// (TokenReview), so that one that is forged, has expired, is for somebody else or of another cluster counts for nothing, and
// which pod it is bound to. One that is bound to none proves no workload. Then the pod itself is looked at: it must be there
// still, the same one, with that account.
//
// Nothing is remembered: an agent asks once in the life of a pod, since it renews with its certificate, and so a pod that is
// deleted proves nothing from that moment on. When the API server cannot be asked nobody can tell, which refuses nobody.
package kube

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/attest"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/kubeapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Bounds.
const (
	maxToken    = 16 << 10         // bytes
	mostAtATime = 16               // questions to the API server
	mostCallers = 1024             // for whom it is asked, or is to be
	inAll       = 30 * time.Second // for one of them, from when it comes
	bound       = 10 * time.Second // of one question
	// An agent runs a moment before the API server has been told the pod's address.
	addressWait = 3 * time.Second
	firstLook   = 50 * time.Millisecond // between two looks for it, longer each time
)

// What the API server says of a token that is bound to a pod.
const (
	podName    = "authentication.kubernetes.io/pod-name"
	podUID     = "authentication.kubernetes.io/pod-uid"
	userPrefix = "system:serviceaccount:"
)

// Config is what an Attestor is made with.
type Config struct {
	// Client speaks to the API server. It needs to create TokenReviews, and to get Pods in all namespaces. Its own bound on
	// requests should be wide: the attestor has one.
	Client      *kubeapi.Client
	TrustDomain string           // of the identities
	Now         func() time.Time // nil: [time.Now]
}

// Attestor knows pods by the tokens of their ServiceAccounts. Its methods may be called from any goroutine.
type Attestor struct {
	c       Config
	slots   *semaphore.Weighted // of questions
	callers atomic.Int32
}

// New returns an attestor.
func New(c Config) *Attestor {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Attestor{c: c, slots: semaphore.NewWeighted(mostAtATime)}
}

// Attest implements [attest.Attestor].
func (a *Attestor) Attest(ctx context.Context, e attest.Evidence) (attest.Attested, error) {
	if e.ServiceAccount == "" {
		return attest.Attested{}, attest.ErrNoEvidence
	}
	if err := checkToken(e.ServiceAccount, a.c.Now()); err != nil {
		return attest.Attested{}, err
	}
	defer a.callers.Add(-1)
	if a.callers.Add(1) > mostCallers {
		return attest.Attested{}, attest.ErrBusy
	}
	ctx, cancel := context.WithTimeout(ctx, inAll)
	defer cancel()
	peer, err := a.peer(ctx, e.ServiceAccount)
	if err != nil {
		return attest.Attested{}, err
	}
	if e.Check != nil {
		if err := e.Check(peer); err != nil {
			return attest.Attested{}, err
		}
	}
	return attest.Attested{Peer: peer, By: attest.ByServiceAccount}, nil
}

// peer returns the pod that has a token.
func (a *Attestor) peer(ctx context.Context, token string) (identity.Peer, error) {
	b, err := a.review(ctx, token)
	if err != nil {
		return identity.Peer{}, err
	}
	peer := identity.Peer{
		ID:       identity.ID{TrustDomain: a.c.TrustDomain, Namespace: b.namespace, Account: b.account},
		Workload: b.pod + "." + b.namespace,
	}
	if err := attest.CheckPeer(peer); err != nil {
		return identity.Peer{}, attest.Refuse("the pod %s of namespace %s can have no certificate: %v", b.pod, b.namespace, err)
	}
	if peer.Workload == planeHost {
		return identity.Peer{}, attest.Refuse("the pod %s of namespace %s can have no certificate: its name is that of the control plane", b.pod, b.namespace)
	}
	if peer.Address, peer.Further, err = a.addresses(ctx, b); err != nil {
		return identity.Peer{}, err
	}
	return peer, peer.Check()
}

// planeHost is the name by which an API server knows the control plane's certificate, and nothing else: no pod may have one for it, as
// "lateen.lateen-system" of a namespace "svc" would.
const planeHost = mesh.SystemName + "." + mesh.SystemNamespace + ".svc"

// bearer is whom the API server has given a token.
type bearer struct{ namespace, account, pod, uid string }

// ask asks the API server something, when it is this caller's turn.
func (a *Attestor) ask(ctx context.Context, question func(context.Context) error) error {
	if err := a.slots.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("many others wait: %w", err)
	}
	defer a.slots.Release(1)
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	return question(ctx)
}

// review has the API server say whose a token is.
func (a *Attestor) review(ctx context.Context, token string) (bearer, error) {
	var r *authenticationv1.TokenReview
	err := a.ask(ctx, func(ctx context.Context) (err error) {
		r, err = a.c.Client.TokenReviews().Create(ctx, &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{mesh.TokenAudience}},
		}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return bearer{}, fmt.Errorf("ask the API server whose a token is: %w", hide(err, token))
	}
	s := r.Status
	if !s.Authenticated {
		why := cmp.Or(hide(errors.New(s.Error), token).Error(), "it is not known")
		return bearer{}, attest.Refuse("the token of a ServiceAccount is not accepted by the API server: %.500s", why)
	}
	if !slices.Contains(s.Audiences, mesh.TokenAudience) {
		return bearer{}, attest.Refuse("the token of a ServiceAccount is not for the audience %q", mesh.TokenAudience)
	}
	user, ok := strings.CutPrefix(s.User.Username, userPrefix)
	b := bearer{pod: only(s.User.Extra[podName]), uid: only(s.User.Extra[podUID])}
	if b.namespace, b.account, ok = cutIf(user, ok); !ok {
		return bearer{}, attest.Refuse("the token is not that of a ServiceAccount")
	}
	if b.pod == "" || b.uid == "" {
		return bearer{}, attest.Refuse("the token of the ServiceAccount %s of namespace %s is bound to no pod: only one that the kubelet puts into a pod proves which it is", b.account, b.namespace)
	}
	return b, nil
}

func cutIf(user string, ok bool) (namespace, account string, both bool) {
	if ok {
		namespace, account, ok = strings.Cut(user, ":")
	}
	return namespace, account, ok && namespace != "" && account != ""
}

// only returns the one value that there is.
func only(values authenticationv1.ExtraValue) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

// addresses returns where the pod is, once the API server knows that, and its address of the other family, if it has one.
func (a *Attestor) addresses(ctx context.Context, b bearer) (address, further netip.Addr, err error) {
	begun := time.Now()
	for pause := firstLook; ; pause *= 2 {
		pod, err := a.pod(ctx, b)
		if err != nil {
			return netip.Addr{}, netip.Addr{}, err
		}
		if pod.Status.PodIP != "" {
			if address, further, err = addressesOf(pod); err != nil {
				err = fmt.Errorf("the addresses of the pod %s of namespace %s: %w", b.pod, b.namespace, err)
			}
			return address, further, err
		}
		if time.Since(begun)+pause > addressWait {
			return netip.Addr{}, netip.Addr{}, fmt.Errorf("the API server does not know yet which address the pod %s of namespace %s has", b.pod, b.namespace)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return netip.Addr{}, netip.Addr{}, ctx.Err()
		}
	}
}

// addressesOf reads the address of a pod that has one, and the first one of the other family.
func addressesOf(pod *corev1.Pod) (address, further netip.Addr, err error) {
	if address, err = netip.ParseAddr(pod.Status.PodIP); err != nil {
		return netip.Addr{}, netip.Addr{}, err
	}
	address = address.Unmap()
	for _, ip := range pod.Status.PodIPs {
		other, err := netip.ParseAddr(ip.IP)
		if err != nil {
			return netip.Addr{}, netip.Addr{}, err
		}
		if other = other.Unmap(); !further.IsValid() && other.Is4() != address.Is4() {
			further = other
		}
	}
	return address, further, nil
}

// pod returns the pod that a token is bound to, if it runs and has the token's account.
func (a *Attestor) pod(ctx context.Context, b bearer) (*corev1.Pod, error) {
	var pod *corev1.Pod
	err := a.ask(ctx, func(ctx context.Context) (err error) {
		pod, err = a.c.Client.Pods(b.namespace).Get(ctx, b.pod, metav1.GetOptions{})
		return err
	})
	switch {
	case apierrors.IsNotFound(err):
		return nil, attest.Refuse("the pod %s of namespace %s is not there (any more)", b.pod, b.namespace)
	case err != nil:
		return nil, fmt.Errorf("ask the API server for the pod %s of namespace %s: %w", b.pod, b.namespace, err)
	case string(pod.UID) != b.uid:
		return nil, attest.Refuse("the pod %s of namespace %s is another one than that of the token", b.pod, b.namespace)
	case pod.Spec.ServiceAccountName != b.account:
		return nil, attest.Refuse("the pod %s of namespace %s has the ServiceAccount %s, the token that of %s", b.pod, b.namespace, pod.Spec.ServiceAccountName, b.account)
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		return nil, attest.Refuse("the pod %s of namespace %s has ended", b.pod, b.namespace)
	}
	return pod, nil
}

// claims are those that are looked at before the API server is asked: what cannot hold costs it nothing.
type claims struct {
	Audience audience `json:"aud"`
	Expires  float64  `json:"exp"` // seconds since 1970
}

// audience is one text, or several.
type audience []string

// UnmarshalJSON implements [json.Unmarshaler].
func (a *audience) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}

// checkToken refuses what the API server would, or should. It proves nothing: nobody has looked at the signature.
func checkToken(token string, now time.Time) error {
	parts := strings.Split(token, ".")
	if len(token) > maxToken || len(parts) != 3 || parts[2] == "" {
		return attest.Refuse("this is no token of a ServiceAccount")
	}
	var c claims
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	switch {
	case err != nil:
		return attest.Refuse("this is no token of a ServiceAccount")
	case !slices.Contains(c.Audience, mesh.TokenAudience):
		return attest.Refuse("the token of a ServiceAccount is not for the audience %q", mesh.TokenAudience)
	case c.Expires <= float64(now.Unix()):
		return attest.Refuse("the token of a ServiceAccount has expired")
	}
	return nil
}

// hide takes a token out of an error.
func hide(err error, token string) error {
	if text := err.Error(); strings.Contains(text, token) {
		return errors.New(strings.ReplaceAll(text, token, "(the token)"))
	}
	return err
}
