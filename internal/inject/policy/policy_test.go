package policy

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

const (
	annotation = "sidecar.istio.io/inject"
	status     = "sidecar.istio.io/status"
	label      = "lateen.dev/inject"
	injection  = "istio-injection"
)

// texts makes a map of "key=value" and the like.
func texts(pairs ...string) map[string]string {
	all := map[string]string{}
	for _, p := range pairs {
		key, value, _ := strings.Cut(p, "=")
		all[key] = value
	}
	return all
}

func pod(change func(*Pod)) Pod {
	p := Pod{Object: mesh.Ref{Kind: "Pod", Namespace: "shop", Name: "cart"}, Containers: []string{"cart"}}
	change(&p)
	return p
}

// TestDecide has a row for each thing that decides. The number in its name is the section of the behaviour of 2017, a step of
// injectRequired: 1 system, 2 excludeNamespaces, 3 namespaces, 4 annotation, 5 policy, 6 status, 7 hostNetwork; "new" is what
// was not there then.
func TestDecide(t *testing.T) {
	t.Parallel()
	only := func(names ...string) Config { return Config{Mode: Enabled, Namespaces: names} }
	without := func(names ...string) Config {
		c := Default()
		c.Excluded = names
		return c
	}
	disabled := Default()
	disabled.Mode = Disabled
	annotated := func(value string) Pod { return pod(func(p *Pod) { p.Annotations = texts(annotation + "=" + value) }) }
	nothing := pod(func(*Pod) {})
	in := func(namespace string) Pod {
		return pod(func(p *Pod) { p.Object.Namespace, p.Annotations = namespace, texts(annotation+"=true") })
	}
	for _, test := range []struct {
		section, name string
		config        Config
		pod           Pod
		sidecar       bool
		why           string
		overruled     []string
	}{
		{"1", "kube-system", Default(), in("kube-system"), false, "namespace kube-system belongs to the system", []string{`annotation sidecar.istio.io/inject is "true"`}},
		{"1", "kube-public", Default(), in("kube-public"), false, "namespace kube-public belongs to the system", []string{`annotation sidecar.istio.io/inject is "true"`}},
		{"1", "istio-system", Default(), in("istio-system"), false, "namespace istio-system belongs to the system", []string{`annotation sidecar.istio.io/inject is "true"`}},
		{"1 new", "kube-node-lease", Default(), in("kube-node-lease"), false, "namespace kube-node-lease belongs to the system", []string{`annotation sidecar.istio.io/inject is "true"`}},
		{"1 new", "lateen-system", only("lateen-system"), in("lateen-system"), false, "namespace lateen-system belongs to the system", []string{`annotation sidecar.istio.io/inject is "true"`}},
		{"2", "excluded", without("a", "shop"), annotated("true"), false, "namespace shop is one of excludeNamespaces", []string{`annotation sidecar.istio.io/inject is "true"`}},
		{"2", "another one excluded", without("a", "b"), nothing, true, "the policy is enabled, and nothing says otherwise", nil},
		{"3", "included", only("a", "shop"), nothing, true, "the policy is enabled, and nothing says otherwise", nil},
		{"3", "others included", only("a", "b"), annotated("true"), false, "namespace shop is none of namespaces", []string{`annotation sidecar.istio.io/inject is "true"`}},
		{"3", "all included", only("", "b"), nothing, true, "the policy is enabled, and nothing says otherwise", nil},
		{"3", "none included", only(), nothing, false, "namespace shop is none of namespaces", nil},
		{"4", "on", disabled, annotated("ON"), true, `annotation sidecar.istio.io/inject is "ON"`, nil},
		{"4", "y", disabled, annotated("y"), true, `annotation sidecar.istio.io/inject is "y"`, nil},
		{"4", "yes", disabled, annotated("Yes"), true, `annotation sidecar.istio.io/inject is "Yes"`, nil},
		{"4", "true", disabled, annotated("true"), true, `annotation sidecar.istio.io/inject is "true"`, nil},
		{"4", "false", Default(), annotated("false"), false, `annotation sidecar.istio.io/inject is "false"`, nil},
		{"4", "another word", Default(), annotated("enabled"), false, `annotation sidecar.istio.io/inject is "enabled"`, nil},
		{"4", "an empty word", Default(), annotated(""), false, `annotation sidecar.istio.io/inject is ""`, nil},
		{"4", "of the owner", disabled, pod(func(p *Pod) { p.Owner = texts(annotation + "=true") }), true, `annotation sidecar.istio.io/inject of its owner is "true"`, nil},
		{"4", "of the object around a template", Default(), pod(func(p *Pod) { p.Object.Kind, p.Owner = "Deployment", texts(annotation+"=no") }), false, `annotation sidecar.istio.io/inject is "no"`, nil},
		{
			"4 new", "the pod's before the owner's", Default(), pod(func(p *Pod) { p.Annotations, p.Owner = texts(annotation+"=no"), texts(annotation+"=yes") }), false,
			`annotation sidecar.istio.io/inject is "no"`,
			[]string{`annotation sidecar.istio.io/inject of its owner is "yes"`},
		},
		{"4 new", "a label", disabled, pod(func(p *Pod) { p.Labels = texts(label + "=enabled") }), true, `label lateen.dev/inject is "enabled"`, nil},
		{
			"4 new", "the annotation before a label", Default(), pod(func(p *Pod) { p.Annotations, p.Labels = texts(annotation+"=no"), texts(label+"=true") }), false,
			`annotation sidecar.istio.io/inject is "no"`,
			[]string{`label lateen.dev/inject is "true"`},
		},
		{
			"4 new", "a label before the owner's annotation", Default(), pod(func(p *Pod) { p.Labels, p.Owner = texts(label+"=false"), texts(annotation+"=yes") }), false,
			`label lateen.dev/inject is "false"`,
			[]string{`annotation sidecar.istio.io/inject of its owner is "yes"`},
		},
		{
			"4 new", "Lateen's label before the other", Default(), pod(func(p *Pod) { p.Labels = texts(label+"=true", injection+"=disabled") }), true,
			`label lateen.dev/inject is "true"`,
			[]string{`label istio-injection is "disabled"`},
		},
		{"5", "enabled", Default(), nothing, true, "the policy is enabled, and nothing says otherwise", nil},
		{"5", "disabled", disabled, nothing, false, "the policy is disabled, and nothing asks for a sidecar", nil},
		{"5", "unknown", Config{Namespaces: []string{""}, Mode: "off"}, annotated("true"), false, `the policy "off" is unknown`, []string{`annotation sidecar.istio.io/inject is "true"`}},
		{"5 new", "a namespace that is enabled", disabled, pod(func(p *Pod) { p.NamespaceLabels = texts(injection + "=enabled") }), true, `label istio-injection of namespace shop is "enabled"`, nil},
		{"5 new", "a namespace that is disabled", Default(), pod(func(p *Pod) { p.NamespaceLabels = texts(injection + "=disabled") }), false, `label istio-injection of namespace shop is "disabled"`, nil},
		{"5 new", "a namespace with another word", Default(), pod(func(p *Pod) { p.NamespaceLabels = texts(injection + "=perhaps") }), false, `label istio-injection of namespace shop is "perhaps"`, nil},
		{"5 new", "a pod in a namespace that is disabled", Default(), pod(func(p *Pod) {
			p.Annotations, p.NamespaceLabels = texts(annotation+"=true"), texts(injection+"=disabled")
		}), true, `annotation sidecar.istio.io/inject is "true"`, []string{`label istio-injection of namespace shop is "disabled"`}},
		{
			"5 new", "a namespace with both labels", Default(), pod(func(p *Pod) { p.NamespaceLabels = texts(label+"=false", injection+"=enabled") }), false,
			`label lateen.dev/inject of namespace shop is "false"`,
			[]string{`label istio-injection of namespace shop is "enabled"`},
		},
		{
			"6", "status", Default(), pod(func(p *Pod) { p.Annotations = texts(status+"=injected-version-1", annotation+"=true") }), false,
			`annotation sidecar.istio.io/status says that it was injected, "injected-version-1"`, nil,
		},
		{"6", "any status", Default(), pod(func(p *Pod) { p.Owner = texts(status + "=") }), false, `annotation sidecar.istio.io/status says that it was injected, ""`, nil},
		{"6 new", "a sidecar without a status", Default(), pod(func(p *Pod) { p.Containers = []string{"cart", "lateen-proxy"} }), false, "it has a container lateen-proxy already", nil},
		{
			"6 new", "a sidecar with its status", Default(), pod(func(p *Pod) {
				p.Containers, p.Annotations = []string{"lateen-proxy"}, texts(status+"=injected-version-1")
			}), false,
			`it has a sidecar already, "injected-version-1"`, nil,
		},
		{"6 new", "a sidecar of Istio", Default(), pod(func(p *Pod) { p.Containers = []string{"istio-proxy"} }), false, "it has a sidecar of Istio, container istio-proxy", nil},
		{"7", "hostNetwork", Default(), pod(func(p *Pod) { p.HostNetwork = true }), false, "it uses the network of its node (hostNetwork)", nil},
		{
			"7", "hostNetwork that wants one", Default(), pod(func(p *Pod) { p.HostNetwork, p.Annotations = true, texts(annotation+"=true") }), false,
			"it uses the network of its node (hostNetwork)",
			[]string{`annotation sidecar.istio.io/inject is "true"`},
		},
		{"7 new", "Windows", Default(), pod(func(p *Pod) { p.Windows = true }), false, "it runs on Windows", nil},
	} {
		t.Run(test.section+" "+test.name, func(t *testing.T) {
			t.Parallel()
			d := Decide(test.config, test.pod)
			if d.Sidecar != test.sidecar || d.Why != test.why {
				t.Errorf("%v: %s\nwant %v: %s", d.Sidecar, d.Why, test.sidecar, test.why)
			}
			if diff := cmp.Diff(test.overruled, d.Overruled); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// injectRequired decides as the initializer of 2017 did, in its own order. It knew no labels and no annotations of templates.
func injectRequired(c Config, p Pod) (useDefault, inject, required, reached bool) {
	if slices.Contains([]string{"kube-system", "kube-public", "istio-system"}, p.Object.Namespace) || slices.Contains(c.Excluded, p.Object.Namespace) {
		return false, false, false, false
	}
	if !slices.Contains(c.Namespaces, "") && !slices.Contains(c.Namespaces, p.Object.Namespace) {
		return false, false, false, false
	}
	value, there := p.Owner[annotation]
	if useDefault = !there; there {
		inject = slices.Contains([]string{"y", "yes", "true", "on"}, strings.ToLower(value))
	}
	switch c.Mode {
	case Enabled:
		required = useDefault || inject
	case Disabled:
		required = !useDefault && inject
	}
	if _, there := p.Owner[status]; there {
		required = false
	}
	return useDefault, inject, required, true
}

// TestAllCombinations holds every combination of what decides against the order that is promised: the old one where only the
// annotation of the object, the policy and the lists say something, and the first word that is there where others do.
func TestAllCombinations(t *testing.T) {
	t.Parallel()
	words := []string{"-", "true", "no"} // "-": not there
	lists := []Config{
		{Namespaces: []string{""}},
		{Namespaces: []string{"a", "shop"}},
		{Namespaces: []string{"a"}},
		{},
		{Namespaces: []string{""}, Excluded: []string{"shop"}},
	}
	set := func(m *map[string]string, key, value string) {
		if value != "-" {
			if *m == nil {
				*m = map[string]string{}
			}
			(*m)[key] = value
		}
	}
	tried, old := 0, 0
	each := func(f func(values []string)) { // of six words
		var next func(values []string)
		next = func(values []string) {
			if len(values) == 6 {
				f(values)
				return
			}
			for _, w := range words {
				next(append(slices.Clone(values), w))
			}
		}
		next(nil)
	}
	each(func(v []string) {
		for _, c := range lists {
			for _, c.Mode = range []Mode{Enabled, Disabled, "unknown"} {
				for _, namespace := range []string{"shop", "kube-system"} {
					for bits := range 4 {
						p := pod(func(p *Pod) { p.Object.Namespace, p.HostNetwork = namespace, bits&1 != 0 })
						set(&p.Annotations, annotation, v[0])
						set(&p.Labels, label, v[1])
						set(&p.Labels, injection, v[2])
						set(&p.Owner, annotation, v[3])
						set(&p.NamespaceLabels, label, v[4])
						set(&p.NamespaceLabels, injection, v[5])
						if bits&2 != 0 {
							set(&p.Owner, status, "injected-version-1")
						}
						tried++
						old += combination(t, c, p, v)
					}
				}
			}
		}
	})
	if tried != 729*5*3*2*4 || old != 3*5*3*2*4 {
		t.Errorf("%d combinations, %d of them of 2017", tried, old)
	}
}

// combination checks one, and returns 1 if it is one that there was in 2017.
func combination(t *testing.T, c Config, p Pod, v []string) (old int) {
	d := Decide(c, p)
	told := func() string { return fmt.Sprintf("%+v\n%+v\n%+v", c, p, d) }
	if !slices.ContainsFunc(slices.Concat(v[:3], v[4:]), func(w string) bool { return w != "-" }) {
		old = 1
		useDefault, inject, required, reached := injectRequired(c, p)
		if d.Required != required || d.Sidecar != (required && !p.HostNetwork) ||
			reached && (d.UseDefault != useDefault || d.Inject != inject || d.NamespacePolicy != c.Mode || d.Status != p.Owner[status]) {
			t.Fatalf("not as in 2017: %s", told())
		}
	}
	wanted := c.Mode == Enabled // the last word
	for _, i := range []int{5, 4, 3, 2, 1, 0} {
		if v[i] != "-" {
			wanted = v[i] == "true"
		}
	}
	_, injected := p.Owner[status]
	open := c.Mode != "unknown" && p.Object.Namespace == "shop" && len(c.Excluded) == 0 && len(c.Namespaces) > 0 && !slices.Equal(c.Namespaces, []string{"a"})
	if want := open && wanted && !injected && !p.HostNetwork; d.Sidecar != want {
		t.Fatalf("want %v: %s", want, told())
	}
	if d.Why == "" || d.Sidecar && !d.Required || slices.Contains(d.Overruled, d.Why) {
		t.Fatal(told())
	}
	return old
}

// TestLog shows the lines of a log, with the names that they had in 2017.
func TestLog(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pod  Pod
		want string
	}{
		{pod(func(*Pod) {}), `msg="sidecar injection policy for shop/cart" kind=Pod namespace=shop name=cart namespacePolicy=enabled useDefault=true inject=false status="" required=true ` +
			`reason="the policy is enabled, and nothing says otherwise"`},
		{pod(func(p *Pod) { p.Annotations = texts(annotation+"=off", status+"=x") }), `msg="skipping shop/cart due to policy check" kind=Pod namespace=shop name=cart ` +
			`namespacePolicy=enabled useDefault=false inject=false status=x required=false reason="annotation sidecar.istio.io/inject is \"off\""`},
		{pod(func(p *Pod) { p.HostNetwork, p.NamespaceLabels = true, texts(label+"=true") }), `msg="skipping shop/cart" kind=Pod namespace=shop name=cart ` +
			`namespacePolicy=enabled useDefault=true inject=false status="" required=true reason="it uses the network of its node (hostNetwork)"`},
	} {
		var b bytes.Buffer
		log := slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		}}))
		d := Decide(Default(), test.pod)
		log.LogAttrs(t.Context(), slog.LevelInfo, d.Message(), d.Attrs()...) //nolint:sloglint // the message of old has a name in it
		if got := strings.TrimSpace(b.String()); got != test.want {
			t.Errorf("got\n%s\nwant\n%s", got, test.want)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	d := Decide(Default(), pod(func(p *Pod) {
		p.Annotations, p.NamespaceLabels = texts(annotation+"=true"), texts(injection+"=disabled")
	}))
	const yes = "Pod shop/cart gets a sidecar: annotation sidecar.istio.io/inject is \"true\"\n  does not count: label istio-injection of namespace shop is \"disabled\""
	if got := d.Explain(); got != yes {
		t.Error(got)
	}
	d = Decide(Default(), pod(func(p *Pod) { p.HostNetwork = true }))
	if got := d.Explain(); got != "Pod shop/cart gets no sidecar: it uses the network of its node (hostNetwork)" {
		t.Error(got)
	}
	d = Decide(Default(), pod(func(p *Pod) { p.Annotations = texts(annotation + "=" + strings.Repeat("x", 1<<18)) }))
	if len(d.Explain()) > 300 {
		t.Errorf("%d bytes", len(d.Explain()))
	}
}

func TestSystemNamespaces(t *testing.T) {
	t.Parallel()
	list := SystemNamespaces()
	list[0] = "mine"
	if again := SystemNamespaces(); again[0] != "kube-system" || !slices.Contains(again, mesh.SystemNamespace) {
		t.Error(again)
	}
}
