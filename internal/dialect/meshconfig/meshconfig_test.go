package meshconfig

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

const domain = "cluster.local"

// object is the ConfigMap that the tests read.
func document(text string) Document {
	return Document{
		Name: "ConfigMap lateen-system/lateen, mesh", Text: []byte(text),
		Object: mesh.Ref{Kind: "ConfigMap", Namespace: "lateen-system", Name: "lateen"},
	}
}

// shipped is the ConfigMap of Istio 0.3's istio-auth.yaml.
const shipped = `# Uncomment the following line to enable mutual TLS between proxies
authPolicy: MUTUAL_TLS
mtlsExcludedServices: ["kubernetes.default.svc.cluster.local"]
# Set the following variable to true to disable policy checks by the Mixer.
disablePolicyChecks: false
enableTracing: true
mixerAddress: istio-mixer.istio-system:15004
ingressService: istio-ingress
rdsRefreshDelay: 1s
defaultConfig:
  discoveryRefreshDelay: 1s
  connectTimeout: 10s
  configPath: "/etc/istio/proxy"
  binaryPath: "/usr/local/bin/envoy"
  serviceCluster: istio-proxy
  drainDuration: 45s
  parentShutdownDuration: 1m0s
  proxyAdminPort: 15000
  discoveryAddress: istio-pilot.istio-system:15003
  zipkinAddress: zipkin.istio-system:9411
  statsdUdpAddress: istio-mixer.istio-system:9125
  controlPlaneAuthPolicy: MUTUAL_TLS
`

func TestSettings(t *testing.T) {
	t.Parallel()
	with := func(change func(*mesh.Settings)) mesh.Settings {
		s := mesh.DefaultSettings
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		text string
		want mesh.Settings
	}{
		"nothing":        {"", mesh.DefaultSettings},
		"only comments":  {"# authPolicy: MUTUAL_TLS\n", mesh.DefaultSettings},
		"an empty one":   {"{}", mesh.DefaultSettings},
		"nothing is set": {"authPolicy:\nconnectTimeout: null\ndefaultConfig:\n", mesh.DefaultSettings},
		"as shipped": {shipped, with(func(s *mesh.Settings) {
			s.AuthPolicy, s.MTLSExcluded = mesh.AuthMutualTLS, []mesh.Host{"kubernetes.default.svc.cluster.local"}
		})},
		"by number": {"authPolicy: 1\ningressControllerMode: 0\n", with(func(s *mesh.Settings) {
			s.AuthPolicy, s.Ingress.Mode = mesh.AuthMutualTLS, mesh.IngressOff
		})},
		"ingress": {"ingressControllerMode: DEFAULT\ningressClass: edge\ningressService: door\n", with(func(s *mesh.Settings) {
			s.Ingress = mesh.IngressSettings{Mode: mesh.IngressDefault, Class: "edge", Service: "door"}
		})},
		"ingress as Istio had it": {"ingressControllerMode: STRICT\ningressClass: istio\ningressService: istio-ingress\n", with(func(s *mesh.Settings) {
			s.Ingress = mesh.IngressSettings{Mode: mesh.IngressStrict, Class: "istio"}
		})},
		"no policy":     {"auth_policy: NONE", with(func(s *mesh.Settings) { s.AuthPolicy = mesh.AuthNone })},
		"both":          {"authPolicy: PERMISSIVE", with(func(s *mesh.Settings) { s.AuthPolicy = mesh.AuthPermissive })},
		"timeout":       {"connect_timeout: 30s", with(func(s *mesh.Settings) { s.ConnectTimeout = mesh.Duration(30 * time.Second) })},
		"no access log": {`accessLogFile: ""`, with(func(s *mesh.Settings) { s.NoAccessLog = true })},
		"access log":    {"accessLogFile: /dev/stdout", mesh.DefaultSettings},
		"resolvers":     {"dnsResolvers: [192.0.2.1]", with(func(s *mesh.Settings) { s.DNSResolvers = []string{"192.0.2.1:53"} })},
		"authorities":   {"caBundle: /etc/ssl/ca.pem", with(func(s *mesh.Settings) { s.CABundle = "/etc/ssl/ca.pem" })},
		"only known":    {"outboundTrafficPolicy: {mode: REGISTRY_ONLY}", with(func(s *mesh.Settings) { s.OnlyKnown = true })},
		"its number":    {"outboundTrafficPolicy: {mode: 0}", with(func(s *mesh.Settings) { s.OnlyKnown = true })},
		"all that goes": {"outboundTrafficPolicy: {mode: ALLOW_ANY}", mesh.DefaultSettings},
		"ranges": {"serviceRanges: [fd00::/108, 10.96.0.0/12, 10.96.0.0/12]", with(func(s *mesh.Settings) {
			s.ServiceRanges = []string{"10.96.0.0/12", "fd00::/108"}
		})},
		"excluded": {"mtlsExcludedServices: [B.x, a.x.svc, c.x.svc.cluster.local., b.x]", with(func(s *mesh.Settings) {
			s.MTLSExcluded = []mesh.Host{"a.x.svc.cluster.local", "b.x.svc.cluster.local", "c.x.svc.cluster.local"}
		})},
		"in JSON": {`{"authPolicy": "MUTUAL_TLS", "proxyHttpPort": "0"}`, with(func(s *mesh.Settings) { s.AuthPolicy = mesh.AuthMutualTLS })},
		"bounds": {"proxyListenPort: 0\nproxyHttpPort: 65535\nrdsRefreshDelay: 10m\negressProxyAddress: 10.0.0.1:80\nmixerAddress: \"[::1]:80\"\n" +
			"defaultConfig: {drainDuration: 59m59s, parentShutdownDuration: 1h, discoveryRefreshDelay: 1s, connectTimeout: 1ms, controlPlaneAuthPolicy: 1000}", mesh.DefaultSettings},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, problems := Read(document(c.text), domain)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestProblems wants what is wrong to be told where it stands, and nothing of such a document to be used.
func TestProblems(t *testing.T) {
	t.Parallel()
	const good = "authPolicy: MUTUAL_TLS\n"
	for text, want := range map[string][]string{
		"authPolcy: NONE":                                   {`2:1 authPolcy unknown-field did you mean "authPolicy"?`},
		"defaultConfig: {zipkin: x}":                        {"2:17 defaultConfig.zipkin unknown-field"},
		"authPolicy: NONE":                                  {"2:1 authPolicy duplicate-field"},
		"connectTimeout: 0s":                                {"2:17 connectTimeout invalid-duration"},
		"connectTimeout: 31s":                               {"2:17 connectTimeout out-of-range"},
		"connectTimeout: 1d":                                {`2:17 connectTimeout invalid-duration there are no days: write "24h"`},
		"connectTimeout: 10":                                {`2:17 connectTimeout invalid-duration did you mean "10s"?`},
		"rdsRefreshDelay: 999ms":                            {"2:18 rdsRefreshDelay out-of-range"},
		"rdsRefreshDelay: 10m1s":                            {"2:18 rdsRefreshDelay out-of-range"},
		"mixerAddress: mixer":                               {"2:15 mixerAddress invalid-value"},
		"mixerAddress: mixer:0":                             {"2:15 mixerAddress invalid-value"},
		"mixerAddress: ::1:80":                              {"2:15 mixerAddress invalid-value"},
		"egressProxyAddress: a_b:80":                        {"2:21 egressProxyAddress invalid-value"},
		"proxyListenPort: 65536":                            {"2:18 proxyListenPort out-of-range"},
		"proxyHttpPort: -1":                                 {"2:16 proxyHttpPort out-of-range"},
		"proxyHttpPort: http":                               {"2:16 proxyHttpPort wrong-type"},
		"ingressControllerMode: 3":                          {"2:24 ingressControllerMode invalid-value"},
		"ingressControllerMode: STRCT":                      {`2:24 ingressControllerMode invalid-value did you mean "STRICT"?`},
		"enableTracing: yes please":                         {"2:16 enableTracing wrong-type"},
		"mtlsExcludedServices: [a.b, web]":                  {"2:29 mtlsExcludedServices[1] invalid-name"},
		"mtlsExcludedServices: a.b":                         {"2:23 mtlsExcludedServices wrong-type"},
		"dnsResolvers: [dns]":                               {"2:16 dnsResolvers[0] invalid-value"},
		"caBundle: ca.pem":                                  {"2:11 caBundle invalid-value"},
		"serviceRanges: [10.96.0.1/12]":                     {"2:17 serviceRanges[0] invalid-value write it as 10.96.0.0/12"},
		"outboundTrafficPolicy: {mode: SOME}":               {"2:31 outboundTrafficPolicy.mode invalid-value"},
		"serviceRanges: [10.96.0.0]":                        {"2:17 serviceRanges[0] invalid-value"},
		`defaultConfig: {configPath: ""}`:                   {"2:29 defaultConfig.configPath invalid-value"},
		`defaultConfig: {discoveryAddress: ""}`:             {"2:35 defaultConfig.discoveryAddress invalid-value"},
		"defaultConfig: {proxyAdminPort: 0}":                {"2:33 defaultConfig.proxyAdminPort out-of-range"},
		"defaultConfig: {drainDuration: 1500ms}":            {"2:32 defaultConfig.drainDuration out-of-range"},
		"defaultConfig: {drainDuration: 3s}":                {"2:32 defaultConfig.drainDuration out-of-range"},
		"defaultConfig: {parentShutdownDuration: 2s}":       {"2:41 defaultConfig.parentShutdownDuration out-of-range"},
		"defaultConfig: {parentShutdownDuration: 61m}":      {"2:41 defaultConfig.parentShutdownDuration out-of-range"},
		"defaultConfig: {controlPlaneAuthPolicy: 2}":        {"2:41 defaultConfig.controlPlaneAuthPolicy invalid-value"},
		"defaultConfig: {discoveryRefreshDelay: 1h}":        {"2:40 defaultConfig.discoveryRefreshDelay out-of-range"},
		"defaultConfig: {statNameLength: -1}":               {"2:33 defaultConfig.statNameLength out-of-range"},
		"connectTimeout: 0s\nmixer: x\nproxyHttpPort: -1\n": {"2:17 connectTimeout invalid-duration", "3:1 mixer unknown-field", "4:16 proxyHttpPort out-of-range"},
		"\tx: y":                  {"2:2  syntax indent with spaces: YAML allows no tabs there"},
		"---\nauthPolicy: NONE\n": {"3:1  syntax"},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			got, problems := Read(document(good+text), domain)
			if diff := cmp.Diff(mesh.DefaultSettings, got); diff != "" {
				t.Errorf("something of it counts: %s", diff)
			}
			if len(problems) != len(want) {
				t.Fatalf("%d problems, want %q: %v", len(problems), want, problems)
			}
			for i, p := range problems {
				spelled := fmt.Sprintf("%d:%d %s %s %s", p.Position.Line, p.Position.Column, p.Field, p.Code, p.Hint)
				if !strings.HasPrefix(spelled, want[i]) || p.Severity != mesh.Error || p.Object != document("").Object {
					t.Errorf("%q of %v, want %q", spelled, p.Object, want[i])
				}
			}
		})
	}
}

func TestGarbage(t *testing.T) {
	t.Parallel()
	for text, code := range map[string]string{
		"[a]": "wrong-type", "a: &a [*a]": "too-large", strings.Repeat("#", 1<<20+1): "too-large",
		strings.Repeat("[", 100) + strings.Repeat("]", 100): "too-large", "\x00": "syntax",
	} {
		if _, problems := Read(document(text), domain); len(problems) != 1 || problems[0].Code != code {
			t.Errorf("%.20q: %v, want %s", text, problems, code)
		}
	}
}

func TestPositionNamesTheConfigMap(t *testing.T) {
	t.Parallel()
	_, problems := Read(document("\nauthPolicy: STRICT\n"), domain)
	const want = "ConfigMap lateen-system/lateen, mesh:2:13: error: ConfigMap lateen-system/lateen: authPolicy: \"STRICT\" is no policy [invalid-value]\n" +
		"  hint: policies: NONE, PERMISSIVE, MUTUAL_TLS"
	if len(problems) != 1 || problems[0].String() != want {
		t.Errorf("told %v, want %s", problems, want)
	}
}

// TestEveryFieldIsTold wants the table to have each field that is accepted, in its order, and no other.
func TestEveryFieldIsTold(t *testing.T) {
	t.Parallel()
	var accepted []string
	names := func(spec any, in string) []string {
		var all []string
		for f := range reflect.TypeOf(spec).Fields() {
			all = append(all, in+f.Tag.Get("yaml"))
		}
		return all
	}
	for _, name := range names(spec{}, "") {
		if name != "defaultConfig" && name != "outboundTrafficPolicy" {
			accepted = append(accepted, name)
		}
	}
	accepted = append(accepted, names(proxySpec{}, "defaultConfig.")...)
	accepted = append(accepted, names(outboundSpec{}, "outboundTrafficPolicy.")...)
	var told []string
	for _, f := range Fields() {
		told = append(told, f.Name)
		if f.Says == "" || f.InForce == strings.HasPrefix(f.Says, "Nothing") {
			t.Errorf("%s: says %q", f.Name, f.Says)
		}
	}
	slices.Sort(accepted)
	slices.Sort(told)
	if diff := cmp.Diff(accepted, told); diff != "" {
		t.Errorf("accepted (-) and told (+):\n%s", diff)
	}
	page, err := os.ReadFile(filepath.FromSlash("../../../docs/reference/meshconfig.md"))
	if err != nil || string(page) != Page() {
		t.Errorf("docs/reference/meshconfig.md is not current (%v): make generate writes it", err)
	}
}

// FuzzRead wants no text to bring the reader down, and every problem to have a place.
func FuzzRead(f *testing.F) {
	f.Add(shipped)
	f.Add("a: &a {b: *a}")
	f.Fuzz(func(t *testing.T, text string) {
		_, problems := Read(document(text), domain)
		for _, p := range problems {
			if p.Position.Line < 1 || p.Code == "" {
				t.Errorf("%v", p)
			}
		}
	})
}
