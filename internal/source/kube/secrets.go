package kube

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

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

// Bounds of what Ingress objects may have read: whoever may write one could else have the API server asked for ever.
const (
	maxSecretsOfOne = 100
	maxSecrets      = 5000
	secretLists     = 8 // at the same time
)

// secrets are the certificates that Ingress objects name. Each Secret is read by its name alone.
type secrets struct {
	settings *mesh.Settings // that say which Ingress objects count; nil: nobody has said so yet
	dirty    bool           // other Secrets may be named than before
	named    map[name][]use
	over     []mesh.Problem // of names that are over the bounds
	watched  map[name]*secret
	heard    time.Time     // when anything was last known of one that was waited for, or waiting began
	told     bool          // certificates were handed over: those of Secrets that are new are added when they are known
	lists    chan struct{} // has a value for each list under way
}

// use is where an Ingress names a Secret.
type use struct {
	object *config.Object
	secret name
	item   int // of its tls
}

func (u use) field() string { return config.Item("spec.tls", u.item) + ".secretName" }

// secret is what is known of a Secret.
type secret struct {
	stop        context.CancelFunc
	settled     bool                    // it was looked for, or it is known why it cannot be
	certificate *mesh.SealedCertificate // the last good one; nil: there is none
	wrong       string                  // what is wrong with it now
	why         string                  // it cannot be read; "": it can
	since       time.Time               // of answers that are not believed at once
}

// readable notes that the API server tells what there is.
func (w *secret) readable() { w.why, w.since = "", time.Time{} }

// unread notes why it cannot be read, and that it is not waited for.
func (w *secret) unread(why string) { w.settled, w.why = true, why }

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

// namesIn returns the Secrets that an object names, one for each item of its tls, up to the first that is one too many.
func (s *Source) namesIn(o *object) []name {
	kind := s.config.Kinds.Find(o.APIVersion, o.Kind)
	if !o.good || kind == nil || kind.Name != ingressKind {
		return nil
	}
	meaning, _ := kind.Translate(&o.Object)
	var all []name
	different := map[name]bool{}
	for _, tls := range meaning.DoorTLS {
		if len(different) > maxSecretsOfOne {
			break
		}
		namespace, secret, _ := strings.Cut(tls.Secret, "/")
		n := name{namespace, secret}
		different[n], all = true, append(all, n)
	}
	return all
}

// tellSecrets reads the Secrets that are named, and hands over the certificates in them, until ctx ends.
func (s *Source) tellSecrets(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	var told *mesh.Registry
	var logged map[mesh.Problem]bool
	var silent <-chan time.Time
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.secretsAwake:
		case <-silent:
		}
		s.mu.Lock()
		s.nameSecrets(ctx, func(ctx context.Context, f *feed) { running.Go(func() { f.run(ctx) }) })
		silent = nil
		if wait := s.giveUp(time.Now()); wait > 0 {
			silent = time.After(wait)
		}
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
	var all []use
	for ref, o := range s.objects.rows {
		if ref.Kind != ingressKind || len(o.secrets) == 0 {
			continue
		}
		if kind := s.config.Kinds.Find(o.APIVersion, o.Kind); kind.Counts != nil && !kind.Counts(&o.Object, &settings) {
			continue
		}
		for i, n := range o.secrets {
			if n.name != "" {
				all = append(all, use{&o.Object, n, i})
			}
		}
	}
	named, over := bounded(all, maxSecretsOfOne, maxSecrets)
	s.secrets.named, s.secrets.over = named, over
	for n, watched := range s.secrets.watched {
		if named[n] == nil {
			watched.stop()
			delete(s.secrets.watched, n)
		}
	}
	if !s.awaited() {
		s.secrets.heard = time.Now()
	}
	for n := range named {
		if s.secrets.watched[n] == nil {
			ctx, stop := context.WithCancel(ctx)
			watched := &secret{stop: stop}
			s.secrets.watched[n] = watched
			start(ctx, s.secretFeed(n, watched))
		}
	}
}

// bounded returns the Secrets that are read, at most so many of one Ingress and in all, and what is left out, told once at each
// Ingress. The first ones of each Ingress go before the second ones of any: one that names many takes little from others.
func bounded(all []use, ofOne, inAll int) (map[name][]use, []mesh.Problem) {
	slices.SortFunc(all, func(a, b use) int { return cmp.Or(cmp.Compare(a.item, b.item), a.object.Compare(b.object.Ref)) })
	named := map[name][]use{}
	own := map[mesh.Ref]map[name]bool{}
	out := map[mesh.Ref]bool{}
	var over []mesh.Problem
	leave := func(u use, format string, most int) {
		if ref := u.object.Ref; !out[ref] {
			out[ref] = true
			over = append(over, u.object.Problem(config.CodeTooLarge, u.field(), format+": this one is not read, nor are further ones", most))
		}
	}
	for _, u := range all {
		if own[u.object.Ref] == nil {
			own[u.object.Ref] = map[name]bool{}
		}
		mine := own[u.object.Ref]
		switch {
		case mine[u.secret]: // it is told once what is wrong with it
		case len(mine) == ofOne:
			leave(u, "more than %d secrets are named here", ofOne)
		case named[u.secret] == nil && len(named) == inAll:
			leave(u, "Ingress objects name more than %d secrets", inAll)
		default:
			mine[u.secret] = true
			named[u.secret] = append(named[u.secret], u)
		}
	}
	return named, over
}

// awaited tells whether Secrets are waited for. The lock is held.
func (s *Source) awaited() bool {
	for _, watched := range s.secrets.watched {
		if !watched.settled {
			return true
		}
	}
	return false
}

// giveUp waits no more for Secrets when for as long as is waited nothing was heard of any, though the API server answers, and
// returns how long to wait until then; 0: none is waited for. The lock is held.
func (s *Source) giveUp(now time.Time) time.Duration {
	if !s.awaited() {
		return 0
	}
	if !s.away.IsZero() { // what was known before counts
		s.secrets.heard = now
	}
	if left := s.config.Patience - now.Sub(s.secrets.heard); left > 0 {
		return left
	}
	for _, watched := range s.secrets.watched {
		if !watched.settled {
			watched.unread("the API server does not tell")
		}
	}
	return 0
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
		before := watched.settled
		if f(); watched.settled != before {
			s.secrets.heard = time.Now()
		}
		s.mu.Unlock()
		wake(s.secretsAwake)
	}
	return &feed{
		lister: lister{
			list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				select {
				case s.secrets.lists <- struct{}{}:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
				defer func() { <-s.secrets.lists }()
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
				watched.readable()
				if watched.wrong = wrong; wrong == "" {
					watched.certificate = certificate
				}
			})
		},
		remove: func(metav1.Object) { change(func() { watched.certificate, watched.wrong = nil, "" }) },
		only: func(seen map[name]bool) {
			change(func() {
				watched.readable()
				watched.settled = true
				if !seen[n] {
					watched.certificate, watched.wrong = nil, ""
				}
			})
		},
		answers: func(err error) { change(func() { s.secretAnswered(watched, err, time.Now()) }) },
	}
}

// secretAnswered notes what the API server said: nil, or why a Secret cannot be read. The lock is held.
func (s *Source) secretAnswered(watched *secret, err error, now time.Time) {
	switch {
	case err == nil:
		watched.readable()
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err),
		apierrors.ReasonForError(err) != metav1.StatusReasonUnknown && s.stands(&watched.since, now):
		watched.unread(fmt.Sprintf("%.300s", err.Error()))
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
		code, wrong := config.CodeInvalidValue, watched.wrong
		if watched.why != "" {
			code, wrong = CodeNotReadable, "it cannot be read: "+watched.why
		}
		if wrong == "" {
			continue
		}
		for _, u := range s.secrets.named[n] {
			p := u.object.Problem(code, u.field(), "the secret %s is not good: %s", n, wrong)
			if watched.certificate != nil {
				p.Message += "; what it held before is shown on"
			}
			r.Problems = append(r.Problems, p)
		}
	}
	r.Problems = append(r.Problems, s.secrets.over...)
	mesh.SortProblems(r.Problems)
	s.secrets.told = true
	return r
}
