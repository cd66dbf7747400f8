package mesh_test

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Which Ingress objects are for the door: by the mode, their class, and what a cluster says of classes.
func TestIngressClasses(t *testing.T) {
	t.Parallel()
	annotated := func(name string) mesh.IngressClass { return mesh.IngressClass{Name: name, Annotated: true} }
	named := func(name string) mesh.IngressClass { return mesh.IngressClass{Name: name} }
	all := []mesh.IngressClass{
		{}, annotated("lateen"), annotated("istio"), annotated("edge"), annotated("nginx"), named("lateen"), named("istio"), named("edge"), named("nginx"),
	}
	cluster := []string{"edge", "lateen"}
	for _, c := range []struct {
		name     string
		settings mesh.IngressSettings
		want     []mesh.IngressClass
	}{
		{"without a cluster", mesh.IngressSettings{}, []mesh.IngressClass{{}, annotated("lateen"), annotated("istio"), named("lateen"), named("istio")}},
		{
			"without a cluster, strict",
			mesh.IngressSettings{Mode: mesh.IngressStrict},
			[]mesh.IngressClass{annotated("lateen"), annotated("istio"), named("lateen"), named("istio")},
		},
		{"off", mesh.IngressSettings{Mode: mesh.IngressOff, Classes: cluster}, nil},
		{
			"a cluster",
			mesh.IngressSettings{Classes: cluster},
			[]mesh.IngressClass{annotated("lateen"), annotated("istio"), annotated("edge"), named("lateen"), named("edge")},
		},
		{
			"strict",
			mesh.IngressSettings{Mode: mesh.IngressStrict, Classes: cluster},
			[]mesh.IngressClass{annotated("lateen"), annotated("istio"), annotated("edge"), named("lateen"), named("edge")},
		},
		{
			"default",
			mesh.IngressSettings{Mode: mesh.IngressDefault, Classes: []string{"lateen"}},
			[]mesh.IngressClass{{}, annotated("lateen"), annotated("istio"), named("lateen")},
		},
		{
			"another annotation",
			mesh.IngressSettings{Class: "nginx", Classes: []string{"lateen"}},
			[]mesh.IngressClass{annotated("lateen"), annotated("nginx"), named("lateen")},
		},
	} {
		want := map[mesh.IngressClass]bool{}
		for _, class := range c.want {
			want[class] = true
		}
		for _, class := range all {
			if got := c.settings.Takes(class); got != want[class] {
				t.Errorf("%s: %+v is taken: %v", c.name, class, got)
			}
		}
	}
}
