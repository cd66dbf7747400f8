package kube

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// The kinds of objects that name Secrets, and of Secrets.
const (
	ingressKind = "Ingress"
	secretKind  = "Secret"
)

// tlsSecrets selects the Secrets that hold certificates. Others are never read.
const tlsSecrets = "type=kubernetes.io/tls"

// secrets are the certificates that Ingress objects name. Each Secret is read by its name alone.
type secrets struct {
	settings *mesh.Settings // that say which Ingress objects count; nil: nobody has said so yet
	dirty    bool           // other Secrets may be named than before
	named    map[name][]use
	watched  map[name]*secret
	told     bool // certificates were handed over: those of Secrets that are new are added when they are known
}

// use is where an Ingress names a Secret.
type use struct {
	object *config.Object
	field  string
}

// secret is what is known of a Secret.
type secret struct {
	stop        context.CancelFunc
	settled     bool                    // it was looked for, or it is known why it cannot be
	certificate *mesh.SealedCertificate // the last good one; nil: there is none
	wrong       string                  // what is wrong with it now
	unreadable  bool                    // that is that it may not be read
}

// TakeSettings takes the settings of the mesh, by which Ingress objects count or not. Before, no Secret is read.
func (s *Source) TakeSettings(set mesh.Settings) {
	s.mu.Lock()
	s.secrets.settings = &set
	s.mu.Unlock()
	s.otherSecrets()
}

// otherSecrets notes that other Secrets may be named than before.
func (s *Source) otherSecrets() {
	s.mu.Lock()
	s.secrets.dirty = true
	s.mu.Unlock()
	wake(s.secretsAwake)
}

// namesIn returns the Secrets that an object names, one for each item of its tls.
func (s *Source) namesIn(o *object) []name {
	kind := s.config.Kinds.Find(o.APIVersion, o.Kind)
	if !o.good || kind == nil || kind.Name != ingressKind {
		return nil
	}
	meaning, _ := kind.Translate(&o.Object)
	var all []name
	for _, tls := range meaning.DoorTLS {
		namespace, secret, _ := strings.Cut(tls.Secret, "/")
		all = append(all, name{namespace, secret})
	}
	return all
}

// tellSecrets reads the Secrets that are named, and hands over the certificates in them, until ctx ends.
func (s *Source) tellSecrets(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	var told *mesh.Registry
	var logged map[mesh.Problem]bool
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.secretsAwake:
		}
		s.mu.Lock()
		s.nameSecrets(ctx, func(ctx context.Context, f *feed) { running.Go(func() { f.run(ctx) }) })
		now := s.certificates()
		s.mu.Unlock()
		if now == nil || (told != nil && reflect.DeepEqual(now, told)) {
			continue
		}
		logged = s.tellProblems(logged, now.Problems)
		if _, err := s.config.Sink.SetRegistry(ctx, SecretsName, *now); err != nil && ctx.Err() == nil {
			s.config.Log.Warn("certificates could not be handed over", "err", err)
			doze(ctx, &pause)
			wake(s.secretsAwake)
			continue
		}
		told, pause = now, firstPause
	}
}

// nameSecrets finds out which Secrets are named, and starts and stops reading them. The lock is held.
func (s *Source) nameSecrets(ctx context.Context, start func(context.Context, *feed)) {
	if !s.secrets.dirty || s.secrets.settings == nil || !s.looked(func(st *state) bool { return st.kind.object == ingressKind || st.kind.word == classesWord }) {
		return
	}
	s.secrets.dirty = false
	settings := *s.secrets.settings
	if len(settings.Ingress.Classes) == 0 {
		settings.Ingress.Classes = s.model.settings().Ingress.Classes
	}
	named := map[name][]use{}
	for ref, o := range s.objects.rows {
		if ref.Kind != ingressKind || len(o.secrets) == 0 {
			continue
		}
		if kind := s.config.Kinds.Find(o.APIVersion, o.Kind); kind.Counts != nil && !kind.Counts(&o.Object, &settings) {
			continue
		}
		for i, n := range o.secrets {
			named[n] = append(named[n], use{&o.Object, config.Item("spec.tls", i) + ".secretName"})
		}
	}
	s.secrets.named = named
	for n, watched := range s.secrets.watched {
		if named[n] == nil {
			watched.stop()
			delete(s.secrets.watched, n)
		}
	}
	for n := range named {
		if s.secrets.watched[n] == nil && n.name != "" {
			bounded, stop := context.WithCancel(ctx)
			watched := &secret{stop: stop}
			s.secrets.watched[n] = watched
			start(bounded, s.secretFeed(n, watched))
		}
	}
}

// looked tells whether nothing is to be waited for any more in some states. The lock is held.
func (s *Source) looked(which func(*state) bool) bool {
	return !slices.ContainsFunc(s.states, func(st *state) bool { return which(st) && st.phase == pending })
}

// secretFeed returns what keeps a Secret current.
func (s *Source) secretFeed(n name, watched *secret) *feed {
	resource := s.clients.dynamic.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace(n.namespace)
	own := "metadata.name=" + n.name + "," + tlsSecrets
	change := func(f func()) {
		s.mu.Lock()
		f()
		s.mu.Unlock()
		wake(s.secretsAwake)
	}
	return &feed{
		lister: lister{
			list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				o.FieldSelector = own
				list, err := resource.List(ctx, o)
				if err != nil {
					return nil, err
				}
				return list, nil
			},
			watch: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				o.FieldSelector = own
				return resource.Watch(ctx, o)
			},
		},
		put: func(o runtime.Object) {
			u, ok := o.(*unstructured.Unstructured)
			if !ok {
				return
			}
			certificate, wrong := s.readSecret(n, u)
			change(func() {
				if watched.wrong, watched.unreadable = wrong, false; wrong == "" {
					watched.certificate = certificate
				}
			})
		},
		remove: func(metav1.Object) { change(func() { watched.certificate, watched.wrong = nil, "" }) },
		only: func(seen map[name]bool) {
			change(func() {
				watched.settled = true
				if !seen[n] {
					watched.certificate, watched.wrong = nil, ""
				}
			})
		},
		answers: func(err error) {
			if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
				change(func() {
					watched.settled, watched.unreadable, watched.wrong = true, true, fmt.Sprintf("it cannot be read: %.300s", err.Error())
				})
			}
		},
	}
}

// readSecret returns the certificate in a Secret, or what is wrong with it, without anything of what it holds.
func (s *Source) readSecret(n name, u *unstructured.Unstructured) (*mesh.SealedCertificate, string) {
	text, err := textOf(u)
	o := readObject(refOf(secretKind, n), text)
	if err != nil || !o.good {
		return nil, "it cannot be read"
	}
	meaning, problems := s.config.Kinds.Read(&o.Object)
	for _, p := range problems {
		if p.Severity == mesh.Error {
			return nil, p.Field + ": " + p.Message
		}
	}
	for _, c := range meaning.Certificates {
		return &mesh.SealedCertificate{Namespace: c.Namespace, Name: c.Name, Chain: c.Chain, Key: mesh.Sealed{Secret: c.Key}}, ""
	}
	return nil, "there is no certificate in it"
}

// certificates returns those that are known, and what is wrong with Secrets; nil: nobody can tell yet. The lock is held.
func (s *Source) certificates() *mesh.Registry {
	r := &mesh.Registry{Certificates: []mesh.SealedCertificate{}, Problems: []mesh.Problem{}}
	if s.secrets.named == nil {
		return nil
	}
	for _, n := range slices.SortedFunc(maps.Keys(s.secrets.watched), compareNames) {
		watched := s.secrets.watched[n]
		if !watched.settled && !s.secrets.told {
			return nil
		}
		if watched.certificate != nil {
			r.Certificates = append(r.Certificates, *watched.certificate)
		}
		if watched.wrong == "" {
			continue
		}
		for _, u := range s.secrets.named[n] {
			code := config.CodeInvalidValue
			if watched.unreadable {
				code = CodeNotReadable
			}
			p := u.object.Problem(code, u.field, "the secret %s is not good: %s", n, watched.wrong)
			if watched.certificate != nil {
				p.Message += "; what it held before is shown on"
			}
			r.Problems = append(r.Problems, p)
		}
	}
	mesh.SortProblems(r.Problems)
	s.secrets.told = true
	return r
}
