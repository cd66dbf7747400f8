package bugreport

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// planted is what must not be in any result; beside it stands what a report is for.
const planted = "hunter2-PLANTED"

func TestRedactText(t *testing.T) {
	t.Parallel()
	r := NewRedactor([]byte("known-only-by-its-bytes\n"))
	key := "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE" + planted + "\n-----END EC PRIVATE KEY-----"
	for name, text := range map[string]string{
		"yaml":                 "user: visible\npassword: " + planted,
		"json":                 `{"visible": 1, "apiKey": "a \"b` + planted + `"}`,
		"json in json":         `{"visible":"{\"password\":\"` + planted + `\"}"}`,
		"log":                  `level=INFO msg=visible token=` + planted + ` err="x"`,
		"header":               "visible: 1\r\nAuthorization: Bearer " + planted + "\r\n",
		"Envoy's debug log":    "':path', '/visible'\n'authorization', 'Basic " + planted + "'\n'cookie', 'session=" + planted + "'",
		"prose":                "visible: the caller sent Bearer " + planted,
		"flag":                 "visible --db-password " + planted,
		"flag with =":          "visible --db-password=" + planted,
		"environment":          "VISIBLE=1 MYSQL_ROOT_PASSWORD=" + planted,
		"URL":                  "visible https://user:" + planted + "@example.com/",
		"URL without a scheme": "visible user:" + planted + "@example.com:80",
		"query":                `{"path":"/visible?user=` + planted + `&x=1"}`,
		"PEM":                  "visible\n" + key,
		"PEM without an end":   "visible\n" + key[:40],
		"PEM in one line":      `{"visible":"` + strings.ReplaceAll(key, "\n", `\n`) + `"}`,
		"JWT":                  "visible eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJQTEFOVEVEIn0.c2lnbmF0dXJlUExBTlRFRA",
		"bytes":                "visible known-only-by-its-bytes",
		"base64 of a key":      "visible " + base64.StdEncoding.EncodeToString([]byte(key)),
		"base64 of words":      "visible " + base64.StdEncoding.EncodeToString([]byte("password: "+planted)),
		"base64 of bytes":      "visible " + base64.StdEncoding.EncodeToString([]byte("xknown-only-by-its-bytes")),
		"base64 without a gap": "visible x/" + base64.StdEncoding.EncodeToString([]byte("xx known-only-by-its-bytes")),
		"registry":             `visible {"auths":{"registry.example.com":{"username":"u","password":"` + planted + `"}}}`,
		"several words":        "visible\npassword: a " + planted,
		"several values":       "visible password=a&" + planted + ",b," + planted,
		"behind quotes":        `visible password="a"` + planted,
		"another scheme":       "visible authorization: Token " + planted,
		"a map of Go":          "visible map[Authorization:[Bearer " + planted + "]]",
		"cookies":              "visible\ncookie: a=1; b=" + planted,
		"a list of cookies":    `visible "Cookie": ["a=` + planted + `"]`,
		"a signature":          "visible Authorization: AWS4-HMAC-SHA256 Credential=x/y, Signature=" + planted,
		"a name behind":        "visible X-Signature: " + planted + "\nX-Session: " + planted + "\nX-Auth: " + planted + "\nOcp-Apim-Subscription-Key: " + planted,
		"lines of YAML":        "visible: 1\n  password: |\n    a\n\n    " + planted + "\n  user: b",
		"a list of YAML":       "visible: 1\npasswords:\n - " + planted,
		"lines of a log":       "2026-01-01T00:00:00.5Z visible\n2026-01-01T00:00:00.5Z password: |\n2026-01-01T00:00:00.5Z   " + planted,
		"a list of flags":      `visible ["--password","` + planted + `"]`,
		"flags of Python":      `visible ['--db-password', '` + planted + `']`,
		"a pair":               "- name: DB_PASSWORD\n  value: " + planted + "\n- name: visible",
		"a pair of JSON":       "visible\n{\n  \"name\": \"DB_PASSWORD\",\n  \"value\": \"" + planted + "\"\n}",
		"a pair in a line":     `visible {"name":"x-access-key","value":"` + planted + `"}`,
		"a pair of Envoy":      "visible\nkey: \"cookie\"\nvalue: \"" + planted + "\"",
		"HTML":                 `<b>visible</b> authorization&#34;: &#34;a ` + planted + `&#34;`,
		"escaped":              `visible authorization\u0022: \u0022a ` + planted + `\u0022`,
		"query of one word":    "visible /?" + planted + " x",
		"query in HTML":        "visible /?x=1&amp;c=" + planted,
		"query in JSON":        `"visible /?x=1\u0026c=` + planted + `"`,
		"query with quotes":    "visible /?a='" + planted + "'",
		"query with others":    `{"path":"/visible?a=\"` + planted + `\""}`,
		"token before a host":  "visible https://" + planted + "@example.com/",
		"slash in a password":  "visible https://u:p/" + planted + "@example.com/ u:p/" + planted + "@example.com a:b@" + planted + "@example.com",
		"with a digest":        "visible u:" + planted + "@r.example/a@sha256:0123",
		"base64 in lines":      "visible\n" + wrapped([]byte(key), 64, "  "),
		"base64 in YAML":       "visible:\n  tls.key: " + strings.TrimSpace(wrapped([]byte(key), 20, "    ")) + "\n",
		"base64 in a log":      "visible\n" + wrapped([]byte(key), 40, "2026-01-01T00:00:00Z "),
		"end of a key":         "MHcCAQEE" + planted[:7] + "AAAA\n-----END EC PRIVATE KEY-----\nvisible",
	} {
		shown := string(r.Text([]byte(text)))
		for _, bad := range []string{planted, planted[:7], "known-only", "UExBTlRFRA", "MHcCAQEE", "eyJhbGci", base64.RawStdEncoding.EncodeToString([]byte(planted))[:12]} {
			if strings.Contains(strings.NewReplacer("\n", "", " ", "", "2026-01-01T00:00:00Z", "").Replace(shown), bad) {
				t.Errorf("%s: %q is left of %q", name, shown, text)
			}
		}
		if !strings.Contains(shown, "visible") && !strings.Contains(shown, "VISIBLE") {
			t.Errorf("%s: of %q only %q is left", name, text, shown)
		}
	}
}

// wrapped is base64 in lines of some length, as `base64 key.pem` writes it.
func wrapped(text []byte, width int, before string) string {
	var b strings.Builder
	for part := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(text)), width) {
		b.WriteString(before + string(part) + "\n")
	}
	return b.String()
}

// What a report is for stays as it is.
func TestRedactNothing(t *testing.T) {
	t.Parallel()
	r := NewRedactor()
	for _, text := range []string{
		"image lateen:1.0@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		"outbound|9080|version=v1|reviews.default.svc.cluster.local",
		"sidecar~10.1.2.3~reviews-v1-0.default~default.svc.cluster.local",
		`{"time":"2026-01-01T00:00:00Z","path":"/reviews/0","code":200,"rule":"default/reviews"}`,
		"lateen_tokens_total{kind=\"join\"} 5",
		"-----BEGIN CERTIFICATE-----\nMIIBszCCAVqgAwIBAgIQ\n-----END CERTIFICATE-----",
		"spiffe://cluster.local/ns/default/sa/reviews",
		"kubernetes.io/config.seen: 10.0.0.1:15012 default/reviews-v1-0.default@4711",
		"#\t0x1\tmain.run+0x2\t/go/pkg/mod/google.golang.org/grpc@v1.70.0/token.go:12",
		"a question? and A & B; `x` && y",
		wrapped([]byte("-----BEGIN CERTIFICATE-----\nMIIBszCCAVqgAwIBAgIQMIIBszCCAVqgAwIBAgIQ\n-----END CERTIFICATE-----"), 32, "  "),
		"level=INFO msg=ready\n  indented\n\nend",
		"authPolicy: MUTUAL_TLS\n  x: y",
		"routerules.config.istio.io is forbidden: User \"x\" cannot list resource \"routerules\"",
	} {
		if shown := string(r.Text([]byte(text))); shown != text {
			t.Errorf("%q became %q", text, shown)
		}
	}
}

func TestRedactObjects(t *testing.T) {
	t.Parallel()
	r := NewRedactor()
	read := func(text string) map[string]any {
		var o map[string]any
		if err := json.Unmarshal([]byte(strings.ReplaceAll(text, "PLANTED", planted)), &o); err != nil {
			t.Fatal(err)
		}
		return o
	}
	for name, text := range map[string]string{
		"a Secret":           `{"kind":"Secret","metadata":{"name":"visible"},"data":{"tls.key":"PLANTED"},"stringData":{"x":"PLANTED"}}`,
		"what was applied":   `{"kind":"RouteRule","metadata":{"name":"visible","annotations":{"kubectl.kubernetes.io/last-applied-configuration":"PLANTED","x.example.com/y":"PLANTED"}}}`,
		"others' ConfigMaps": `{"kind":"ConfigMap","metadata":{"name":"visible"},"data":{"x":"PLANTED"},"binaryData":{"y":"PLANTED"}}`,
		"settings":           `{"kind":"ConfigMap","metadata":{"name":"lateen"},"data":{"mesh":"visible: 1\npassword: PLANTED\n"}}`,
		"settings in lines":  `{"kind":"ConfigMap","metadata":{"name":"lateen"},"data":{"mesh":"visible: 1\npassword: |\n  PLANTED\n  x\n"}}`,
		"settings in flow":   `{"kind":"ConfigMap","metadata":{"name":"lateen"},"data":{"mesh":"visible: 1\nauthorization: {exact: \"x PLANTED\"}\n"}}`,
		"an added header":    `{"kind":"RouteRule","metadata":{"name":"visible"},"spec":{"appendHeaders":{"X-Auth-Token-V2":"PLANTED"}}}`,
		"a wanted header":    `{"kind":"RouteRule","metadata":{"name":"visible"},"spec":{"match":{"request":{"headers":{"authorization":{"exact":"x PLANTED"}}}}}}`,
		"headers by other names": `{"kind":"RouteRule","metadata":{"name":"visible"},"spec":{"appendHeaders":{"X-Auth-Key":"PLANTED","name":"PLANTED","x":"PLANTED"},` +
			`"match":{"request":{"headers":{"x-anything":{"regex":"PLANTED"},"cookie":{"regex":"a=PLANTED"},"uri":{"prefix":"/visible?PLANTED"}}}}}}`,
		"other fields":             `{"kind":"RouteRule","metadata":{"name":"visible"},"spec":{"passwordHash":"PLANTED","x":{"tokenOfUser":["PLANTED"]}}}`,
		"a pair":                   `{"kind":"RouteRule","metadata":{"name":"visible"},"spec":{"x":[{"key":"x-access-key","value":"PLANTED"},{"name":"cookie","stringMatch":{"exact":"PLANTED"}}]}}`,
		"a flag in a list":         `{"kind":"RouteRule","metadata":{"name":"visible"},"spec":{"x":["--password","PLANTED"]}}`,
		"a URL":                    `{"kind":"EgressRule","metadata":{"name":"visible"},"spec":{"destination":{"service":"http://u:PLANTED@example.com"}}}`,
		"an environment":           `{"kind":"Pod","metadata":{"name":"visible","namespace":"lateen-system"},"spec":{"containers":[{"name":"lateen","env":[{"name":"X","value":"PLANTED"}]}]}}`,
		"an application":           `{"kind":"Pod","metadata":{"name":"visible"},"spec":{"containers":[{"name":"lateen","args":["PLANTED"],"command":["PLANTED"],"env":[{"name":"X","value":"PLANTED"}]}]}}`,
		"a template":               `{"kind":"Deployment","metadata":{"name":"visible"},"spec":{"template":{"metadata":{"annotations":{"a/b":"PLANTED"}},"spec":{"initContainers":[{"name":"app","args":["PLANTED"]}]}}}}`,
		"a header of a probe":      `{"kind":"Pod","metadata":{"name":"visible"},"spec":{"containers":[{"name":"lateen-proxy","readinessProbe":{"httpGet":{"httpHeaders":[{"name":"X","value":"PLANTED"}]}}}]}}`,
		"last words":               `{"kind":"Pod","metadata":{"name":"visible"},"status":{"containerStatuses":[{"name":"app","lastState":{"terminated":{"message":"PLANTED"}}}]}}`,
		"a volume":                 `{"kind":"Pod","metadata":{"name":"visible"},"spec":{"volumes":[{"name":"v","csi":{"volumeAttributes":{"x":"PLANTED"}}}]}}`,
		"managed fields":           `{"kind":"Pod","metadata":{"name":"visible","managedFields":[{"x":"PLANTED"}]}}`,
		"a pair in a debug header": `{"kind":"RouteRule","metadata":{"name":"visible"},"status":{"problems":[{"message":"user:PLANTED@example.com is no host"}]}}`,
	} {
		shown, err := Document(r.Object(read(text)))
		if err != nil || strings.Contains(string(shown), planted) {
			t.Errorf("%s: %v %s", name, err, shown)
		}
		if !strings.Contains(string(shown), "visible") {
			t.Errorf("%s: nothing is left: %s", name, shown)
		}
	}
	shown, err := Document(r.Object(read(`{"kind":"Pod","metadata":{"name":"p","labels":{"app":"a"}},"spec":{"containers":[{"name":"lateen-proxy","args":["--node=x"],"env":[{"name":"POD_IP"}]},{"name":"app","image":"i:1"}]}}`)))
	for _, want := range []string{"--node=x", `"app": "a"`, `"i:1"`, "POD_IP"} {
		if err != nil || !strings.Contains(string(shown), want) {
			t.Errorf("%s is not shown: %s %v", want, shown, err)
		}
	}
}

// What an Envoy has of rules: of headers the names, and the values of those that every request has.
func TestRedactEnvoy(t *testing.T) {
	t.Parallel()
	const config = `[{"kind":"routes","name":"visible-token","sent":{"virtualHosts":[{"name":"visible-host",
		"requestHeadersToAdd":[{"header":{"key":"visible-key","value":"PLANTED"},"appendAction":"VISIBLE_ACTION"},{"header":{"key":"name","rawValue":"PLANTED"}}],
		"routes":[{"match":{"prefix":"/visible-path","headers":[
			{"name":":method","stringMatch":{"exact":"VISIBLE"}},{"name":":path","stringMatch":{"exact":"/visible-uri?PLANTED"}},
			{"name":"cookie","stringMatch":{"safeRegex":{"regex":"PLANTED"}}},{"name":"visible-header","stringMatch":{"exact":"PLANTED"},"invertMatch":true},
			{"name":"visible-presence","presentMatch":true}],
			"queryParameters":[{"name":"visible-parameter","stringMatch":{"exact":"PLANTED"}}]},
			"route":{"cluster":"visible-cluster","hashPolicy":[{"header":{"headerName":"visible-hash"}}]}}]}]}},
		{"tls":{"tlsCertificateSdsSecretConfigs":[{"name":"visible-certificate"}]},"filter":{"header":{"name":"x","stringMatch":{"prefix":"PLANTED"}}}}]`
	shown := string(NewRedactor().JSON([]byte(strings.ReplaceAll(config, "PLANTED", planted))))
	if strings.Contains(shown, planted) {
		t.Errorf("a value is left: %s", shown)
	}
	for _, want := range []string{
		"visible-token", "visible-host", "visible-key", "VISIBLE_ACTION", "/visible-path", "VISIBLE", "/visible-uri", "visible-header", "visible-presence",
		"visible-parameter", "visible-cluster", "visible-hash", "visible-certificate",
	} {
		if !strings.Contains(shown, `"`+want) {
			t.Errorf("%s is not shown: %s", want, shown)
		}
	}
}
