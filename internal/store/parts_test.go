package store_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// said is a kind whose spec is the meaning itself, in the words of package mesh.
var said = config.Kind{Name: "Said", APIVersions: []string{"test.dev/v1"}, Translate: translateSaid}

func translateSaid(o *config.Object) (config.Meaning, []mesh.Problem) {
	var spec yaml.Node
	var tree map[string]any
	var m config.Meaning
	problems := config.Decode(o, "spec", &spec)
	if err := spec.Decode(&tree); err != nil {
		panic(err)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		panic(err)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		panic(err)
	}
	for _, r := range m.Rules {
		r.Object = o.Ref
	}
	for _, p := range m.Policies {
		p.Object = o.Ref
	}
	for _, r := range m.Egress {
		r.Object = o.Ref
	}
	for i, d := range m.Doors {
		d.Object, d.Origin = o.Ref, o.At(config.Item("spec.doors", i))
	}
	for i, d := range m.DoorTLS {
		d.Object, d.Origin = o.Ref, o.At(config.Item("spec.doorTLS", i))
	}
	return m, problems
}

// says returns an object that means what stands in spec.
func says(name, spec string) string {
	return fmt.Sprintf("---\napiVersion: test.dev/v1\nkind: Said\nmetadata: {name: %s}\nspec: {%s}\n", name, spec)
}

// TestObjectsBecomeParts shows which parts objects make, and that a change makes anew only those that it concerns.
func TestObjectsBecomeParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "file")
		policy := func(name, balancer string) string {
			return says(name, "policies: [{destination: reviews, balancer: "+balancer+"}]")
		}
		allow := func(name, destination string) string {
			return says(name, "egress: [{destination: '"+destination+"'}]")
		}
		cert := func(chain string) string {
			return says("s", "certificates: [{namespace: default, name: tls, chain: "+chain+"}]")
		}
		tls := says("t", "doorTLS: [{secret: default/tls}]")
		for _, step := range []struct{ name, file, keys string }{
			{"policies", policy("b", "RANDOM") + policy("a", "LEAST_CONN") + says("c", "policies: [{destination: '*.foo.com'}]"), "policies *.foo.com, policies reviews"},
			{"one changed", policy("b", "RANDOM") + policy("a", "ROUND_ROBIN") + says("c", "policies: [{destination: '*.foo.com'}]"), "policies reviews"},
			{"exact hosts", allow("b", "b.org") + allow("a", "a.org"), "egress a.org, egress b.org, policies *.foo.com, policies reviews"},
			{"a later one of the same host", allow("b", "b.org") + allow("a", "a.org") + allow("c", "a.org"), ""},
			{"an earlier one of the same host", allow("b", "b.org") + allow("a", "a.org") + allow("aa", "b.org"), "egress b.org"},
			{"patterns", allow("a", "*.org") + allow("b", "10.0.0.0/8") + allow("c", "*.org"), "egress , egress a.org, egress b.org"},
			{"patterns again", allow("a", "*.org") + allow("b", "10.0.0.0/8"), ""},
			{"certificate", cert("x"), "egress , secret default/tls"},
			{"certificate changed", cert("y"), "secret default/tls"},
			{"door of certificates only", cert("y") + tls, "door "},
			{"nothing", "", "door , secret default/tls"},
		} {
			b.setYAML(t, "file", step.file)
			if keys := b.takeKeys(); keys != step.keys {
				t.Errorf("%s: changed %q, want %q", step.name, keys, step.keys)
			}
		}
	})
}

// TestFirstDestinationCounts shows which of several rules for one destination are in the snapshot, and what the others are
// told.
func TestFirstDestinationCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "file")
		b.setYAML(t, "file", says("b", "egress: [{destination: a.org}, {destination: '*.org'}]")+
			says("c", "egress: [{destination: '*.org'}, {destination: '*.www.org'}]")+
			says("a", "egress: [{destination: a.org, ports: [{number: 80}]}]")+
			says("p", "policies: [{destination: r, labels: {v: a}, source: {host: x}}, {destination: r, labels: {v: a}}]")+
			says("q", "policies: [{destination: r, labels: {v: a}, source: {host: x}}, {destination: r, labels: {v: b}}]"))
		s := b.Snapshot()
		if got := s.Egress("a.org").Object.Name; got != "a" {
			t.Errorf("a.org is decided by %s", got)
		}
		var patterns []string
		for _, r := range s.EgressPatterns().Rules {
			patterns = append(patterns, r.Object.Name+"="+string(r.Destination))
		}
		if got := strings.Join(patterns, " "); got != "c=*.www.org b=*.org" {
			t.Errorf("patterns: %s", got)
		}
		var policies []string
		for _, p := range s.Policies("r").Policies {
			policies = append(policies, p.Object.Name+"="+p.Labels.String())
		}
		if got := strings.Join(policies, ","); got != "p=v=a,p=v=a,q=v=b" {
			t.Errorf("policies: %s", got)
		}
		const hint = "\n  hint: of such objects the first by namespace and name counts: make one of them, or remove one\n"
		want := "file.yaml:5:1: error: Said default/b: spec.destination: is not applied: Said default/a has the same destination [duplicate-destination]" + hint +
			"file.yaml:10:1: error: Said default/c: spec.destination: is not applied: Said default/b has the same destination [duplicate-destination]" + hint +
			"file.yaml:25:1: error: Said default/q: spec.destination: is not applied: Said default/p is for the same destination, labels and source [duplicate-policy]" + hint
		if got := b.problems(); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
		if logged := strings.Count(b.log.String(), "duplicate-"); logged != 3 {
			t.Errorf("%d of 3 problems are logged", logged)
		}
	})
}

// TestRegistriesBecomeParts shows settings and certificates of registries: by rank, and after those of objects.
func TestRegistriesBecomeParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "first", "second", "file")
		certificate := func(name, key string) mesh.SealedCertificate {
			return mesh.SealedCertificate{Namespace: "default", Name: name, Chain: "chain", Key: mesh.Sealed{Secret: mesh.NewSecret(key)}}
		}
		registry := func(timeout mesh.Duration, certificates ...mesh.SealedCertificate) mesh.Registry {
			return mesh.Registry{Settings: &mesh.Settings{ConnectTimeout: timeout}, Certificates: certificates}
		}
		b.setRegistry(t, "first", mesh.Registry{})
		b.setRegistry(t, "second", registry(2, certificate("a", "second"), certificate("a", "twice"), certificate("b", "second")))
		b.setYAML(t, "file", "")
		check := func(keys string, timeout mesh.Duration, a, b2 string) {
			t.Helper()
			s := b.Snapshot()
			if got := b.takeKeys(); got != keys {
				t.Errorf("changed %q, want %q", got, keys)
			}
			if got := s.Settings().ConnectTimeout; got != timeout {
				t.Errorf("settings of %d, want %d", got, timeout)
			}
			for path, want := range map[string]string{"default/a": a, "default/b": b2} {
				if got := s.Certificate(path).Key; got != mesh.NewSecret(want) {
					t.Errorf("%s has the key %q, want %q", path, got.Reveal(), want)
				}
			}
		}
		check("secret default/a, secret default/b, settings ", 2, "second", "second")
		b.setRegistry(t, "second", registry(2, certificate("a", "second"), certificate("b", "second"))) // made anew, as from JSON
		check("", 2, "second", "second")
		b.setRegistry(t, "first", registry(1, certificate("a", "first")))
		check("secret default/a, settings ", 1, "first", "second")
		b.setYAML(t, "file", says("s", "certificates: [{namespace: default, name: b, chain: object}]"))
		if got := b.takeKeys(); got != "secret default/b" {
			t.Errorf("an object does not win over a registry: changed %q", got)
		}
		if c := b.Snapshot().Certificate("default/b"); c.Chain != "object" {
			t.Errorf("the certificate is that of %+v", c)
		}
		b.setYAML(t, "file", "")
		check("secret default/b", 1, "first", "second")
		b.setRegistry(t, "first", mesh.Registry{})
		check("secret default/a, settings ", 2, "second", "second")
		b.setRegistry(t, "second", mesh.Registry{})
		if got := b.takeKeys(); got != "secret default/a, secret default/b, settings " || b.Snapshot().Settings() != &mesh.DefaultSettings {
			t.Errorf("left behind after %q: %v", got, b.Snapshot().Settings())
		}
		if keys := b.Snapshot().Keys(mesh.KindSecret); !slices.Equal(keys, nil) {
			t.Errorf("left behind: %v", keys)
		}
	})
}

// Settings that do not say from which networks services have their addresses are completed by the next source that knows.
func TestNetworksOfServicesAreThoseOfWhoKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, "first", "second")
		set := func(source string, timeout mesh.Duration, ranges ...string) {
			t.Helper()
			b.setRegistry(t, source, mesh.Registry{Settings: &mesh.Settings{ConnectTimeout: timeout, ServiceRanges: ranges}})
		}
		check := func(timeout mesh.Duration, ranges ...string) {
			t.Helper()
			if s := b.Snapshot().Settings(); s.ConnectTimeout != timeout || !slices.Equal(s.ServiceRanges, ranges) {
				t.Errorf("%d, %v; want %d, %v", s.ConnectTimeout, s.ServiceRanges, timeout, ranges)
			}
		}
		set("first", 1)
		set("second", 2, "10.96.0.0/16")
		check(1, "10.96.0.0/16")
		set("second", 3, "10.97.0.0/16")
		check(1, "10.97.0.0/16")
		set("first", 1, "10.98.0.0/16")
		check(1, "10.98.0.0/16")
		set("second", 3)
		set("first", 1)
		check(1)
	})
}

// A workload whose connections are captured answers on one port for many services; one with a listener for each does not.
func TestCapturedWorkloadServesManyOnOnePort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		serves := []mesh.Serving{{Host: host("a"), Port: 80, Listen: 8080}, {Host: host("b"), Port: 80, Listen: 8080}}
		for capture, want := range map[bool]int{true: 2, false: 1} {
			b.setRegistry(t, "local", mesh.Registry{Workloads: []*mesh.Workload{{Name: "a", Namespace: "default", Serves: serves, Capture: capture}}})
			if got := len(b.Snapshot().Workload("a.default").Serves); got != want {
				t.Errorf("captured %v: serves %d, want %d; %s", capture, got, want, b.problems())
			}
		}
	})
}
