package kube

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/lateen-mesh/lateen/internal/golden"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// TestTranslate shows what objects of a cluster are in the mesh's words. Objects that are put again say nothing new, and when all
// of them go nothing is left.
func TestTranslate(t *testing.T) {
	t.Parallel()
	golden.Run(t, "testdata/translate", func(t *testing.T, c *golden.Case) {
		domain := "cluster.local"
		if text, ok := c.Lookup("in.domain"); ok {
			domain = strings.TrimSpace(text)
		}
		m := newModel(mesh.Realm{Domain: domain, TrustDomain: "cluster.local"})
		_, m.part = c.Lookup("in.part")
		objects := decode(t, c.In("in.yaml"))
		for _, o := range objects {
			m.putAny(t, o)
		}
		m.edit()
		all := m.whole()
		settings, classes := all.Settings.ServiceRanges, all.Settings.Ingress.Classes
		all.Generation, all.Settings = 0, nil
		problems := all.Problems
		all.Problems = nil
		text, err := json.MarshalIndent(all, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		c.Out("registry.json", string(text)+"\n")
		if len(settings) > 0 {
			c.Out("ranges", strings.Join(settings, "\n")+"\n")
		}
		if len(classes) > 1 {
			c.Out("classes", strings.Join(classes, "\n")+"\n")
		}
		var told strings.Builder
		for _, p := range problems {
			told.WriteString(p.String() + "\n")
		}
		if told.Len() > 0 {
			c.Out("problems", told.String())
		}
		for _, o := range objects {
			m.putAny(t, o)
		}
		if e := m.edit(); e != nil {
			t.Errorf("the same again differs: %+v", e)
		}
		for _, o := range objects {
			m.removeAny(t, o)
		}
		m.edit()
		if left := m.whole(); len(left.Services)+len(left.Endpoints)+len(left.Workloads)+len(left.Problems) > 0 {
			t.Errorf("left: %+v", left)
		}
		for what, n := range map[string]int{
			"slicesOf": len(m.slicesOf), "slicesOn": len(m.slicesOn), "slicesFor": len(m.slicesFor), "slicesAt": len(m.slicesAt),
			"podsAt": len(m.podsAt), "labels": len(m.selectors.pods), "selectors": len(m.selectors.services) + len(m.selectors.chosen), "addresses": len(m.span.all),
		} {
			if n > 0 {
				t.Errorf("%s: %d left", what, n)
			}
		}
	})
}

// decode reads Kubernetes objects.
func decode(t testing.TB, text string) []runtime.Object {
	t.Helper()
	var all []runtime.Object
	reader := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		var raw runtime.RawExtension
		if err := reader.Decode(&raw); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		o, _, err := scheme.Codecs.UniversalDeserializer().Decode(raw.Raw, nil, nil)
		if err != nil {
			t.Fatalf("%v: %s", err, raw.Raw)
		}
		all = append(all, o)
	}
}

func (m *model) putAny(t testing.TB, o runtime.Object) {
	t.Helper()
	m.changeAny(t, o, true)
}

func (m *model) removeAny(t testing.TB, o runtime.Object) {
	t.Helper()
	m.changeAny(t, o, false)
}

func (m *model) changeAny(t testing.TB, o runtime.Object, present bool) {
	t.Helper()
	switch o := o.(type) {
	case *corev1.Service:
		change(m.services, o, slimService, present)
	case *discoveryv1.EndpointSlice:
		change(m.slices, o, slimSlice, present)
	case *corev1.Pod:
		change(m.pods, o, slimPod, present)
	case *networkingv1.ServiceCIDR:
		change(m.ranges, o, slimNetworks, present)
	case *networkingv1.IngressClass:
		change(m.classes, o, slimClass, present)
	case *corev1.Node:
		change(m.nodes, &metav1.PartialObjectMetadata{ObjectMeta: o.ObjectMeta}, slimNode, present)
	default:
		t.Fatalf("%T is not read", o)
	}
}

func change[O metav1.Object, T any](table *table[T], o O, slim func(O) *T, present bool) {
	if present {
		table.put(nameOf(o), slim(o))
	} else {
		table.put(nameOf(o), nil)
	}
}
