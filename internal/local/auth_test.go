package local

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// secured is a mesh of two namespaces; web is the service under test.
func secured(settings, web string) string {
	return document("  settings: {"+settings+"}\n  services:\n"+
		"    web:\n      ports: [{name: http, port: 80}, {name: grpc, port: 70}]\n"+web+
		"    db: {ports: [{name: mysql, port: 3306}]}") +
		"---\n" + strings.Replace(document("  services: {db: {ports: [{name: tcp, port: 5432}]}}"), "east", "west", 1)
}

func web(m *Mesh, realm mesh.Realm) *mesh.Service {
	for _, s := range m.services(realm) {
		if s.Name == "web" {
			return s
		}
	}
	return nil
}

func TestAuthSettings(t *testing.T) {
	t.Parallel()
	const suffix = ".svc.cluster.local"
	for name, c := range map[string]struct {
		settings string
		policy   mesh.AuthPolicy // of a port that says nothing
		excluded []mesh.Host
	}{
		"nothing is said":      {"", mesh.AuthPermissive, nil},
		"permissive":           {"authPolicy: PERMISSIVE", mesh.AuthPermissive, nil},
		"none":                 {"authPolicy: NONE", mesh.AuthNone, nil},
		"mutual TLS":           {"auth_policy: MUTUAL_TLS", mesh.AuthMutualTLS, nil},
		"of the control plane": {"controlPlaneAuthPolicy: MUTUAL_TLS", mesh.AuthPermissive, nil},
		"excluded": {
			"mtlsExcludedServices: [WEB, db.west, db.east.svc.cluster.local, web.east]", mesh.AuthPermissive,
			[]mesh.Host{"db.east" + suffix, "db.west" + suffix, "web.east" + suffix},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, problems := parse(t, secured(c.settings, ""))
			if m == nil || len(problems) > 0 {
				t.Fatal(problems)
			}
			if got := m.Settings.Policy(mesh.Port{}); got != c.policy {
				t.Errorf("policy %s, want %s", got, c.policy)
			}
			if diff := cmp.Diff(c.excluded, m.Settings.MTLSExcluded); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAuthAnnotations(t *testing.T) {
	t.Parallel()
	realm := mesh.Realm{Domain: domain, TrustDomain: "town.example"}
	const accounts = "spiffe://town.example/ns/east/sa/"
	for name, c := range map[string]struct {
		web        string
		policies   []mesh.AuthPolicy // of ports 70 and 80
		identities []string
	}{
		"nothing is said": {"", []mesh.AuthPolicy{"", ""}, nil},
		"policies": {
			"      annotations: {auth.istio.io/80: NONE, auth.istio.io/70: MUTUAL_TLS}\n", []mesh.AuthPolicy{mesh.AuthMutualTLS, mesh.AuthNone}, nil,
		},
		"inherits":   {"      annotations: {auth.istio.io/80: INHERIT, auth.istio.io/70: PERMISSIVE}\n", []mesh.AuthPolicy{mesh.AuthPermissive, ""}, nil},
		"of a proxy": {"      workloads: {v1: {command: [x]}}\n", []mesh.AuthPolicy{"", ""}, []string{accounts + "default"}},
		"of nobody": {
			"      serviceAccount: w\n      workloads: {v1: {address: 10.0.0.1}, v2: {command: [x], proxyless: true}}\n", []mesh.AuthPolicy{"", ""}, nil,
		},
		"all of them": {
			"      serviceAccount: web\n      workloads: {v1: {command: [x]}, v2: {command: [x], replicas: 0}}\n      annotations:\n" +
				"        alpha.istio.io/kubernetes-serviceaccounts: z.y, web,a\n" +
				"        alpha.istio.io/canonical-serviceaccounts: spiffe://else/ns/a/sa/B, else/ns/a/sa/A\n" +
				"        sidecar.istio.io/inject: \"true\"\n        prometheus.io/port: \"80\"\n        alpha.istio.io/sidecar: ignore\n",
			[]mesh.AuthPolicy{"", ""},
			[]string{"spiffe://else/ns/a/sa/A", "spiffe://else/ns/a/sa/B", accounts + "a", accounts + "web", accounts + "z.y"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, problems := parse(t, secured("", c.web))
			if m == nil || len(problems) > 0 {
				t.Fatal(problems)
			}
			s := web(m, realm)
			if got := []mesh.AuthPolicy{s.Ports[0].AuthPolicy, s.Ports[1].AuthPolicy}; !cmp.Equal(got, c.policies) {
				t.Errorf("policies %q, want %q", got, c.policies)
			}
			if diff := cmp.Diff(c.identities, s.Identities); diff != "" {
				t.Error(diff)
			}
			for _, w := range m.Workloads {
				for _, p := range w.Ports {
					if p.AuthPolicy != "" {
						t.Errorf("a change of the policy would start %s again", w.Name)
					}
				}
			}
		})
	}
}

// What is wrong is told where it stands; a mistake in what secures a service keeps the Mesh from counting, a doubt does not.
func TestAuthProblems(t *testing.T) {
	t.Parallel()
	annotation := func(text string) [2]string { return [2]string{"", "      annotations: {" + text + "}\n"} }
	setting := func(text string) [2]string { return [2]string{text, ""} }
	for name, c := range map[string]struct {
		text           [2]string // settings, and what web says
		severity       mesh.Severity
		want, sentence string // position, field and code; part of the text
	}{
		"no policy":        {setting("authPolicy: mutual_tls"), mesh.Error, "5:26 spec.settings.authPolicy invalid-value", `did you mean "MUTUAL_TLS"?`},
		"another policy":   {setting("authPolicy: STRICT"), mesh.Error, "5:26 spec.settings.authPolicy invalid-value", "policies: NONE, PERMISSIVE, MUTUAL_TLS"},
		"empty policy":     {setting(`authPolicy: ""`), mesh.Error, "5:26 spec.settings.authPolicy invalid-value", `"" is no policy`},
		"inherits nothing": {setting("authPolicy: INHERIT"), mesh.Error, "5:26 spec.settings.authPolicy invalid-value", `"INHERIT" is no policy`},
		"control plane":    {setting("controlPlaneAuthPolicy: NONE"), mesh.Warning, "5:38 spec.settings.controlPlaneAuthPolicy no-effect", "serve --plain-xds"},
		"control plane?":   {setting("controlPlaneAuthPolicy: PERMISSIVE"), mesh.Error, "5:38 spec.settings.controlPlaneAuthPolicy invalid-value", "write MUTUAL_TLS"},
		"excluded misspelt": {
			setting("mtlsExcludedServices: [db, wbe]"), mesh.Warning, "5:41 spec.settings.mtlsExcludedServices[1] unknown-host", `did you mean "web"?`,
		},
		"excluded elsewhere": {
			setting("mtlsExcludedServices: [web.west.svc.cluster.local]"), mesh.Warning, "5:37 spec.settings.mtlsExcludedServices[0] unknown-host", "nothing is excluded",
		},
		"excluded no name": {setting(`mtlsExcludedServices: ["web:80"]`), mesh.Error, "5:37 spec.settings.mtlsExcludedServices[0] invalid-name", "NAME.NAMESPACE"},
		"excluded one":     {setting("mtlsExcludedServices: web"), mesh.Error, "5:36 spec.settings.mtlsExcludedServices wrong-type", "a list"},

		"unknown port":      {annotation("auth.istio.io/81: NONE"), mesh.Error, `9:39 spec.services.web.annotations["auth.istio.io/81"] unknown-port`, "by their numbers: 70, 80"},
		"port by name":      {annotation("auth.istio.io/http: NONE"), mesh.Error, `9:41 spec.services.web.annotations["auth.istio.io/http"] unknown-port`, "here ports go by number, and http is the name of one"},
		"port with a zero":  {annotation("auth.istio.io/080: NONE"), mesh.Error, `9:40 spec.services.web.annotations["auth.istio.io/080"] unknown-port`, "write auth.istio.io/80"},
		"port with a sign":  {annotation("auth.istio.io/+80: NONE"), mesh.Error, `9:40 spec.services.web.annotations["auth.istio.io/+80"] unknown-port`, "write auth.istio.io/80"},
		"unknown word":      {annotation("auth.istio.io/80: none"), mesh.Error, `9:39 spec.services.web.annotations["auth.istio.io/80"] invalid-value`, `did you mean "NONE"?`},
		"word is no text":   {annotation("auth.istio.io/80: [NONE]"), mesh.Error, `9:39 spec.services.web.annotations["auth.istio.io/80"] wrong-type`, "text"},
		"account":           {annotation("alpha.istio.io/kubernetes-serviceaccounts: 'a,b@west'"), mesh.Error, `9:64 spec.services.web.annotations["alpha.istio.io/kubernetes-serviceaccounts"] invalid-name`, "accounts of namespace east"},
		"no account":        {annotation("alpha.istio.io/kubernetes-serviceaccounts: ''"), mesh.Error, `9:64 spec.services.web.annotations["alpha.istio.io/kubernetes-serviceaccounts"] invalid-name`, `""`},
		"identity":          {annotation("alpha.istio.io/canonical-serviceaccounts: 'spiffe://x/ns/a/sa/b, https://x/ns/a/sa/b'"), mesh.Error, `9:63 spec.services.web.annotations["alpha.istio.io/canonical-serviceaccounts"] invalid-value`, `"https://x/ns/a/sa/b" is not of the form`},
		"identity's domain": {annotation("alpha.istio.io/canonical-serviceaccounts: 'spiffe://X/ns/a/sa/b'"), mesh.Error, `9:63 spec.services.web.annotations["alpha.istio.io/canonical-serviceaccounts"] invalid-value`, "trust domain"},
		"misspelt prefix":   {annotation("auth.itsio.io/80: NONE"), mesh.Warning, `9:39 spec.services.web.annotations["auth.itsio.io/80"] no-effect`, `did you mean "auth.istio.io/80"?`},
		"other prefix":      {annotation("alpha.istio.io/http: NONE"), mesh.Warning, `9:42 spec.services.web.annotations["alpha.istio.io/http"] no-effect`, `did you mean "auth.istio.io/80"?`},
		"no port at all":    {annotation("auth.istio.io: NONE"), mesh.Warning, `9:36 spec.services.web.annotations["auth.istio.io"] no-effect`, `"auth.istio.io/PORT"`},
		"misspelt accounts": {annotation("alpha.istio.io/kubernetes-service-account: a"), mesh.Warning, `9:64 spec.services.web.annotations["alpha.istio.io/kubernetes-service-account"] no-effect`, `"alpha.istio.io/kubernetes-serviceaccounts"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, problems := parse(t, secured(c.text[0], c.text[1]))
			if got := spelled(problems); !cmp.Equal(got, []string{c.want}) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			if p := problems[0]; p.Severity != c.severity || (m == nil) != (c.severity == mesh.Error) || !strings.Contains(p.String(), c.sentence) {
				t.Errorf("%s; the mesh is read: %t", p, m != nil)
			}
		})
	}
}

// A workload without an identity is told where its callers ask it to, and nowhere else.
func TestNoIdentity(t *testing.T) {
	t.Parallel()
	const external, proxyless = "      workloads: {v1: {address: 10.0.0.1}}\n", "      workloads: {v1: {command: [x], proxyless: true}}\n"
	for name, c := range map[string]struct {
		settings, web string
		want          string // what is told, "" for nothing
	}{
		"permissive":         {"", external, ""},
		"sidecar":            {"authPolicy: MUTUAL_TLS", "      workloads: {v1: {command: [x]}}\n", ""},
		"external":           {"authPolicy: MUTUAL_TLS", external, "calls to web:70, web:80 are refused"},
		"proxyless":          {"authPolicy: MUTUAL_TLS", proxyless, "calls to web:70, web:80 are refused"},
		"one port":           {"authPolicy: MUTUAL_TLS", "      annotations: {auth.istio.io/70: PERMISSIVE}\n" + external, "calls to web:80 are refused"},
		"only by annotation": {"", "      annotations: {auth.istio.io/80: MUTUAL_TLS}\n" + external, "calls to web:80 are refused"},
		"both are annotated": {"authPolicy: MUTUAL_TLS", "      annotations: {auth.istio.io/70: PERMISSIVE, auth.istio.io/80: NONE}\n" + external, ""},
		"excluded":           {"authPolicy: MUTUAL_TLS, mtlsExcludedServices: [web]", external, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, problems := parse(t, secured(c.settings, c.web))
			if m == nil || mesh.HasErrors(problems) || len(problems) > 1 || (len(problems) == 1) != (c.want != "") {
				t.Fatalf("problems %v, want %q", problems, c.want)
			}
			if c.want == "" {
				return
			}
			line := 9 + strings.Count(c.web, "\n") - 1
			p := problems[0]
			if p.Code != CodeNoIdentity || p.Position.Line != line || p.Field != "spec.services.web.workloads.v1" || !strings.Contains(p.Message, c.want) ||
				!strings.Contains(p.Hint, "auth.istio.io/") || !strings.Contains(p.Hint, "mtlsExcludedServices") {
				t.Errorf("%+v, want line %d and %q", p, line, c.want)
			}
		})
	}
}

// Only what has a proxy has an identity; a workload without one has an account all the same, which it proves to Lateen.
func TestEndpointAccounts(t *testing.T) {
	t.Parallel()
	m, problems := parse(t, secured("", "      serviceAccount: w\n"+
		"      workloads: {v1: {command: [x]}, v2: {command: [x], proxyless: true}, v3: {address: 10.0.0.1}}\n"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for name, want := range map[string]string{"web-v1": "w", "web-v2": "", "web-v3": ""} {
		i := &Instance{Name: name + "-0", Workload: m.named(t, name), Address: loopback}
		if e := i.Endpoint(mesh.Healthy); e.Account != want {
			t.Errorf("the endpoint of %s has account %q, want %q", name, e.Account, want)
		}
		if w := i.MeshWorkload(); w.Account != "w" {
			t.Errorf("workload %s has account %q", name, w.Account)
		}
	}
}

// Every name of an account that a Mesh file may give can stand in a SPIFFE ID.
func TestAccountsAreSegments(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"default", "a.b-c", "0", strings.Repeat("a", 63) + "." + strings.Repeat("b", 63)} {
		id := identity.ID{TrustDomain: domain, Namespace: "east", Account: name}
		if err := id.Check(); !config.IsDomain(name) || err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"a/b", ".", "..", "a@b", "ä", "a b", "*", "a:b"} {
		_, problems := parse(t, secured("", "      serviceAccount: '"+name+"'\n"))
		if got := spelled(problems); !cmp.Equal(got, []string{"9:23 spec.services.web.serviceAccount invalid-name"}) || problems[0].Hint == "" {
			t.Errorf("%s: %q", name, problems)
		}
	}
}

// Nobody is to be the control plane, and who has the identity of the door is told.
func TestTakenAccounts(t *testing.T) {
	t.Parallel()
	web := func(line string) string { return secured("", "      "+line+"\n") }
	door := func(text string) string {
		return strings.Replace(text, "  services:\n", "  ingress: {}\n  services:\n", 1)
	}
	plane := func(text string) string { return strings.Replace(text, "east", "lateen-system", 1) }
	const annotated = "annotations: {alpha.istio.io/kubernetes-serviceaccounts: 'a, lateen'}"
	for name, c := range map[string]struct {
		text, want, says string
	}{
		"the control plane's":            {plane(web("serviceAccount: lateen")), "9:23 spec.services.web.serviceAccount invalid-value", "Lateen itself"},
		"its name elsewhere":             {web("serviceAccount: lateen"), "", ""},
		"its namespace":                  {plane(web("serviceAccount: ingress")), "", ""},
		"callers are to accept it":       {plane(web(annotated)), `9:64 spec.services.web.annotations["alpha.istio.io/kubernetes-serviceaccounts"] invalid-value`, "Lateen itself"},
		"callers are to accept its ID":   {web("annotations: {alpha.istio.io/canonical-serviceaccounts: town/ns/lateen-system/sa/lateen}"), `9:63 spec.services.web.annotations["alpha.istio.io/canonical-serviceaccounts"] invalid-value`, "Lateen itself"},
		"the door's":                     {door(web("serviceAccount: ingress")), "10:23 spec.services.web.serviceAccount conflicting-fields", "identity of the door"},
		"the door's, without a door":     {web("serviceAccount: ingress"), "", ""},
		"the door's name elsewhere":      {door(web("workloads: {}")) + "---\n" + strings.ReplaceAll(document("  services: {x: {serviceAccount: ingress, ports: [{name: http, port: 1}]}}"), "east", "west"), "", ""},
		"the door stands in another one": {web("serviceAccount: ingress") + "---\n" + document("  ingress: {}"), "9:23 spec.services.web.serviceAccount conflicting-fields", "identity of the door"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := parse(t, c.text)
			if c.want == "" && len(problems) == 0 {
				return
			}
			got := spelled(problems)
			warning := strings.HasSuffix(c.want, "conflicting-fields")
			if !cmp.Equal(got, []string{c.want}) || !strings.Contains(problems[0].Message, c.says) || problems[0].Hint == "" ||
				mesh.HasErrors(problems) == warning {
				t.Errorf("got %v, want %q", problems, c.want)
			}
		})
	}
}

// Identities of another trust domain are told as soon as it is known which is that of the mesh.
func TestForeignIdentities(t *testing.T) {
	t.Parallel()
	m, problems := parse(t, secured("", "      annotations: {alpha.istio.io/canonical-serviceaccounts: 'town/ns/a/sa/b, spiffe://cluster.local/ns/a/sa/b'}\n"))
	if m == nil || len(problems) > 0 {
		t.Fatal(problems)
	}
	for domain, foreign := range map[string]string{"cluster.local": "spiffe://town/ns/a/sa/b", "town": "spiffe://cluster.local/ns/a/sa/b"} {
		got := m.foreign(domain)
		want := []string{`9:63 spec.services.web.annotations["alpha.istio.io/canonical-serviceaccounts"] no-effect`}
		if !cmp.Equal(spelled(got), want) || got[0].Severity != mesh.Warning || !strings.Contains(got[0].Message, foreign) || !strings.Contains(got[0].Hint, "spiffe://"+domain+"/ns/a/sa/b") {
			t.Errorf("in %s: %v", domain, got)
		}
	}
}
