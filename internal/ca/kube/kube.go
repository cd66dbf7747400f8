// Package kube keeps the root of a certificate authority in a cluster, as one more [ca.Storage].
//
// The root is in the Secret lateen-ca of lateen-system, below the keys that authorities of others have always had there:
// ca-cert.pem, ca-key.pem, root-cert.pem and cert-chain.pem. What somebody else has put there is an authority that is plugged in.
// The mark is in the ConfigMap lateen-root of the same namespace. All replicas of the control plane share both: of those that
// start together the first makes the root and the others take it, since the API server creates an object once.
//
// When the Secret is gone, and the mark too, the root in that ConfigMap still tells that proxies trust one, and so does that of
// kube-system, into which only those who may command the cluster can write. Nothing is made then. What stands in other namespaces
// proves nothing: it is only told.
package kube

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/kubeapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// MarkKey is the key of the mark in the ConfigMap [mesh.RootConfigMap] of Lateen's own namespace.
const MarkKey = "authority.json"

// foundPrefix is how the names begin of Secrets with what stood in the place of the authority's.
const foundPrefix = mesh.AuthoritySecret + "-found-"

// Bounds.
const (
	callBound  = 10 * time.Second // of one question to the API server
	tries      = 3                // at one that gets no answer
	firstPause = 200 * time.Millisecond
	mostFound  = 9 // that one control plane sets aside
	mostTraces = 20
)

// Storage keeps the root in a cluster. It implements [ca.Storage], [ca.Pluggable] and [ca.Traced].
type Storage struct {
	client    *kubeapi.Client
	namespace string
	found     atomic.Int32 // set aside
}

// New returns the storage of a cluster. The client needs to get, create and update the Secret and the ConfigMap of Lateen's own
// namespace, to delete the latter, to create other Secrets there, and to list ConfigMaps of the name [mesh.RootConfigMap] everywhere.
func New(client *kubeapi.Client) *Storage {
	return &Storage{client: client, namespace: mesh.SystemNamespace}
}

// Where implements [ca.Storage].
func (s *Storage) Where(part ca.Part) string {
	if part == ca.RootPart {
		return fmt.Sprintf("the Secret %s of namespace %s", mesh.AuthoritySecret, s.namespace)
	}
	return fmt.Sprintf("the ConfigMap %s of namespace %s", mesh.RootConfigMap, s.namespace)
}

// Read implements [ca.Storage].
func (s *Storage) Read(ctx context.Context, part ca.Part) ([]byte, error) {
	if part == ca.MarkPart {
		return s.readMark(ctx)
	}
	secret, err := s.secret(ctx)
	if err != nil {
		return nil, err
	}
	return rootText(secret)
}

// Create implements [ca.Storage].
func (s *Storage) Create(ctx context.Context, part ca.Part, text []byte) error {
	if part == ca.MarkPart {
		_, err := s.writeMark(ctx, text, false)
		return err
	}
	data, err := rootData(text)
	if err != nil {
		return err
	}
	return s.create(ctx, mesh.AuthoritySecret, data)
}

// Replace implements [ca.Storage].
func (s *Storage) Replace(ctx context.Context, part ca.Part, text []byte) (ca.Aside, error) {
	if part == ca.MarkPart {
		return s.writeMark(ctx, text, true)
	}
	data, err := rootData(text)
	if err != nil {
		return ca.Aside{}, err
	}
	there, err := s.secret(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return ca.Aside{}, again(s.create(ctx, mesh.AuthoritySecret, data))
	}
	if err != nil {
		return ca.Aside{}, err
	}
	var aside ca.Aside
	if found, err := rootText(there); len(there.Data) > 0 && (err != nil || !bytes.Equal(found, text)) {
		if aside, err = s.setAside(ctx, there); err != nil {
			return ca.Aside{}, err
		}
	}
	next := there.DeepCopy() // with its version: somebody may be writing it too
	next.Data = data
	return aside, again(call(ctx, func(ctx context.Context) error {
		_, err := s.client.Secrets(s.namespace).Update(ctx, next, metav1.UpdateOptions{})
		return err
	}))
}

// setAside keeps a copy of the Secret that is not ours.
func (s *Storage) setAside(ctx context.Context, there *corev1.Secret) (ca.Aside, error) {
	hash := sha256.New()
	for _, key := range keys() {
		fmt.Fprintf(hash, "%s %d %s", key, len(there.Data[key]), there.Data[key])
	}
	name := foundPrefix + hex.EncodeToString(hash.Sum(nil)[:8])
	if s.found.Load() >= mostFound {
		return ca.Aside{Lost: true}, nil
	}
	err := s.create(ctx, name, there.Data)
	if err != nil && !errors.Is(err, fs.ErrExist) { // with that name it is the same
		return ca.Aside{}, err
	}
	s.found.Add(1)
	return ca.Aside{Where: fmt.Sprintf("the Secret %s of namespace %s", name, s.namespace)}, nil
}

func keys() []string {
	return []string{mesh.AuthorityCertificateKey, mesh.AuthorityPrivateKeyKey, mesh.AuthorityRootKey, mesh.AuthorityChainKey}
}

func (s *Storage) secret(ctx context.Context) (secret *corev1.Secret, err error) {
	err = call(ctx, func(ctx context.Context) error {
		secret, err = s.client.Secrets(s.namespace).Get(ctx, mesh.AuthoritySecret, metav1.GetOptions{})
		return err
	})
	return secret, err
}

func (s *Storage) create(ctx context.Context, name string, data map[string][]byte) error {
	return call(ctx, func(ctx context.Context) error {
		_, err := s.client.Secrets(s.namespace).Create(ctx, &corev1.Secret{ObjectMeta: meta(name), Data: data}, metav1.CreateOptions{})
		return err
	})
}

// meta is what our objects have.
func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: map[string]string{mesh.NameLabel: mesh.SystemName, mesh.PartLabel: mesh.SystemName}}
}

// rootData returns the root as it stands in the Secret.
func rootData(text []byte) (map[string][]byte, error) {
	block, rest := pem.Decode(text)
	if block == nil || len(rest) == 0 {
		return nil, errors.New("a root is a certificate and its key")
	}
	cert := text[:len(text)-len(rest)]
	return map[string][]byte{mesh.AuthorityCertificateKey: cert, mesh.AuthorityPrivateKeyKey: rest, mesh.AuthorityRootKey: cert}, nil
}

// rootText returns the root that is ours in the Secret.
func rootText(secret *corev1.Secret) ([]byte, error) {
	cert := secret.Data[mesh.AuthorityCertificateKey]
	if !bytes.Equal(cert, secret.Data[mesh.AuthorityRootKey]) || len(secret.Data[mesh.AuthorityChainKey]) > 0 {
		return nil, errors.New("what signs is not the root")
	}
	return bytes.Join([][]byte{cert, secret.Data[mesh.AuthorityPrivateKeyKey]}, nil), nil
}

// Plugged implements [ca.Pluggable]. What Lateen has made is a root that signs itself and is named for a trust domain;
// everything else is somebody's.
func (s *Storage) Plugged(ctx context.Context) (ca.PluggedTexts, error) {
	secret, err := s.secret(ctx)
	if err != nil {
		return ca.PluggedTexts{}, err
	}
	if _, err := rootText(secret); err == nil && !isSomebodys(secret.Data[mesh.AuthorityCertificateKey]) {
		return ca.PluggedTexts{}, fs.ErrNotExist
	}
	at := func(key string) ca.Text {
		return ca.Text{Where: fmt.Sprintf("%s of the Secret %s of namespace %s", key, mesh.AuthoritySecret, s.namespace), Text: secret.Data[key]}
	}
	return ca.PluggedTexts{
		Cert: at(mesh.AuthorityCertificateKey), Key: at(mesh.AuthorityPrivateKeyKey), Roots: at(mesh.AuthorityRootKey), Chain: at(mesh.AuthorityChainKey),
	}, nil
}

// isSomebodys tells whether a root is whole and Lateen has not made it.
func isSomebodys(text []byte) bool {
	block, _ := pem.Decode(text)
	if block == nil {
		return false
	}
	root, err := ca.ParseRoot(block.Bytes)
	return err == nil && (len(root.URIs) != 1 || root.URIs[0].Scheme != "spiffe")
}

// Trusted implements [ca.Traced]. What stands in Lateen's own namespace is proof, and what stands in that of the cluster, which is
// still there when somebody has deleted Lateen's with all that was in it. The ConfigMaps of other namespaces may be anybody's, whoever
// may write in one, and nobody can be kept from starting by them.
func (s *Storage) Trusted(ctx context.Context) (ca.Trace, error) {
	own, err := s.marked(ctx)
	if err == nil {
		if trace := traceIn(own); trace.Fingerprint != "" {
			trace.Proof = true
			return trace, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return ca.Trace{}, err
	}
	trace, err := s.traceOf(ctx, mesh.ClusterNamespace)
	if err != nil || trace.Fingerprint != "" {
		trace.Proof = true
		return trace, err
	}
	return s.traceOf(ctx, metav1.NamespaceAll)
}

// traceOf looks for a root that a namespace, or any of all, tells of.
func (s *Storage) traceOf(ctx context.Context, namespace string) (ca.Trace, error) {
	var list *corev1.ConfigMapList
	err := call(ctx, func(ctx context.Context) (err error) {
		list, err = s.client.ConfigMaps(namespace).List(ctx, metav1.ListOptions{
			FieldSelector: "metadata.name=" + mesh.RootConfigMap, Limit: mostTraces,
		})
		return err
	})
	if err != nil {
		return ca.Trace{}, err
	}
	for i := range list.Items {
		if trace := traceIn(&list.Items[i]); trace.Fingerprint != "" {
			return trace, nil
		}
	}
	return ca.Trace{}, nil
}

// traceIn returns the root that a ConfigMap holds.
func traceIn(c *corev1.ConfigMap) ca.Trace {
	block, _ := pem.Decode([]byte(c.Data[mesh.RootKey]))
	if block == nil {
		return ca.Trace{}
	}
	root, err := ca.ParseRoot(block.Bytes)
	if err != nil {
		return ca.Trace{}
	}
	return ca.Trace{Fingerprint: identity.Fingerprint(root), Where: fmt.Sprintf("the ConfigMap %s of namespace %s", mesh.RootConfigMap, c.Namespace)}
}

// call asks the API server, again when there is no answer, and turns its errors into those of a storage.
func call(ctx context.Context, ask func(context.Context) error) error {
	pause := firstPause
	for try := 1; ; try++ {
		err := once(ctx, ask)
		switch {
		case err == nil:
			return nil
		case apierrors.IsNotFound(err):
			return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
		case apierrors.IsAlreadyExists(err):
			return fmt.Errorf("%w: %w", fs.ErrExist, err)
		case try == tries || ctx.Err() != nil || apierrors.IsConflict(err) || apierrors.IsForbidden(err) || apierrors.IsInvalid(err):
			return fmt.Errorf("%w: %w", ca.ErrAway, err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		pause *= 2
	}
}

func once(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	return ask(ctx)
}

// again says that somebody else writes in the same moment, so that it is to be looked again later.
func again(err error) error {
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ca.ErrAway, err)
	}
	return err
}
