package kube

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Origin is the file that stands in the positions of objects: there is none. Lines are those of [config.Object.Text].
const Origin = "kubernetes"

// lastApplied is where kubectl notes what it was given. It is nobody else's business.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// object is one object as it was read.
type object struct {
	config.Object
	good     bool // else it is nothing but problems
	problems []mesh.Problem
	sight    mesh.Sight
	secrets  []name // that it names
}

// objects are those that were read, and what was handed over of them.
type objects struct {
	rows    map[mesh.Ref]*object
	bad     map[mesh.Ref]bool // those that have problems
	touched map[mesh.Ref]bool
	kept    kept
	whole   bool              // everything is to be handed over
	doubt   bool              // everything is to be handed over if the problems differ
	waited  bool              // the API server has had its time
	moved   map[mesh.Ref]bool // in whatever way, since somebody asked

	taken map[mesh.Ref]config.Object // what the sink has
	told  []mesh.Problem             // with which problems
}

func newObjects() *objects {
	return &objects{
		rows: map[mesh.Ref]*object{}, bad: map[mesh.Ref]bool{}, touched: map[mesh.Ref]bool{}, moved: map[mesh.Ref]bool{},
		taken: map[mesh.Ref]config.Object{}, whole: true,
	}
}

// objectKinds are the kinds of the dialects, but for those that hold secrets.
func (s *Source) objectKinds() []*kind {
	var all []*kind
	for _, k := range s.config.Kinds {
		version, err := schema.ParseGroupVersion(k.APIVersions[0])
		if err != nil || k.Confidential {
			continue
		}
		resource := s.clients.dynamic.Resource(version.WithResource(k.Plural))
		all = append(all, &kind{
			word: k.Plural, object: k.Name, namespaced: true,
			lister: func(namespace string) lister { return listerOf(resource.Namespace(namespace)) },
			put: func(o runtime.Object) {
				if u, ok := o.(*unstructured.Unstructured); ok {
					s.putObject(refOf(k.Name, nameOf(u)), u, k.Spec != nil)
				}
			},
			remove: func(n name) { s.removeObject(refOf(k.Name, n)) },
			only: func(namespace string, seen map[name]bool) {
				for _, ref := range s.refs(k.Name, namespace) {
					if !seen[name{ref.Namespace, ref.Name}] {
						s.removeObject(ref)
					}
				}
			},
		})
	}
	return all
}

func refOf(kind string, n name) mesh.Ref {
	return mesh.Ref{Kind: kind, Namespace: n.namespace, Name: n.name}
}

func (s *Source) refs(kind, namespace string) []mesh.Ref {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []mesh.Ref
	for ref := range s.objects.rows {
		if ref.Kind == kind && (namespace == metav1.NamespaceAll || ref.Namespace == namespace) {
			all = append(all, ref)
		}
	}
	return all
}

// putObject takes an object as it is now. Of a kind of ours its status is kept too.
func (s *Source) putObject(ref mesh.Ref, u *unstructured.Unstructured, ours bool) {
	text, err := textOf(u)
	s.mu.Lock()
	before := s.objects.rows[ref]
	s.mu.Unlock()
	o := &object{}
	switch {
	case err != nil:
		o.problems = []mesh.Problem{{Object: ref, Code: config.CodeSyntax, Severity: mesh.Error, Message: "it cannot be written as YAML: " + err.Error()}}
	case before != nil && before.good && before.Text == text:
		*o = *before // what it means is known
	default:
		o = readObject(ref, text)
		o.secrets = s.namesIn(o)
	}
	o.ResourceVersion = u.GetResourceVersion()
	o.sight = sightOf(u, ours)
	s.mu.Lock()
	s.objects.put(ref, o)
	s.mu.Unlock()
	wake(s.objectsAwake)
	if ref.Kind == ingressKind {
		s.otherSecrets()
	}
}

func (s *Source) removeObject(ref mesh.Ref) {
	s.mu.Lock()
	s.objects.put(ref, nil)
	s.mu.Unlock()
	wake(s.objectsAwake)
	if ref.Kind == ingressKind {
		s.otherSecrets()
	}
}

// put puts an object, or removes the one of this name.
func (o *objects) put(ref mesh.Ref, now *object) {
	before, had := o.rows[ref]
	o.touched[ref], o.moved[ref] = true, true
	if now == nil {
		delete(o.rows, ref)
		now = &object{}
	} else {
		o.rows[ref] = now
	}
	if !had {
		before = &object{}
	}
	o.doubt = o.doubt || !slices.Equal(before.problems, now.problems)
	if delete(o.bad, ref); len(now.problems) > 0 {
		o.bad[ref] = true
	}
}

// textOf writes what an object says, without what the cluster itself writes into it.
func textOf(u *unstructured.Unstructured) (string, error) {
	metadata := map[string]any{"name": u.GetName(), "namespace": u.GetNamespace()}
	if labels := u.GetLabels(); len(labels) > 0 {
		metadata["labels"] = labels
	}
	annotations := u.GetAnnotations()
	delete(annotations, lastApplied) // it is a copy
	if len(annotations) > 0 {
		metadata["annotations"] = annotations
	}
	all := maps.Clone(u.Object)
	delete(all, "status")
	all["metadata"] = metadata
	var text strings.Builder
	e := yaml.NewEncoder(&text)
	e.SetIndent(2)
	e.CompactSeqIndent() // as kubectl writes lists
	err := errors.Join(e.Encode(all), e.Close())
	return text.String(), err
}

// Check says what is wrong with an object, by the kinds that are known.
func Check(kinds config.Kinds, u *unstructured.Unstructured) []mesh.Problem {
	ref := refOf(u.GetKind(), name{u.GetNamespace(), u.GetName()})
	text, err := textOf(u)
	if err != nil {
		return []mesh.Problem{{Object: ref, Code: config.CodeSyntax, Severity: mesh.Error, Message: "it cannot be written as YAML: " + err.Error()}}
	}
	o := readObject(ref, text)
	if !o.good {
		return o.problems
	}
	_, problems := kinds.Read(&o.Object)
	return append(o.problems, problems...)
}

// readObject reads an object again from what it says, with the places of its fields.
func readObject(ref mesh.Ref, text string) *object {
	all, problems := config.Parse(Origin, []byte(text), ref.Namespace)
	o := &object{problems: problems}
	for i := range problems {
		problems[i].Object = ref
	}
	if len(all) == 1 && all[0].Ref == ref {
		o.Object, o.good = all[0], true
	}
	return o
}
