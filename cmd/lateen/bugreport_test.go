package main

import (
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/netns"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

// plantedMesh has recognisable secrets wherever a mesh on one machine can hold one.
const plantedMesh = `apiVersion: lateen.dev/v1alpha1
kind: Mesh
metadata: {name: planted}
spec:
  ingress: {certificates: {shop-tls: {cert: shop.crt, key: shop.key}}}
  services:
    ratings:
      ports: [{name: http, port: 9080}]
      workloads:
        v1:
          command: [sh, -c, "echo PLANTED-output; exec lateen bookinfo ratings --port=${PORT}"]
          env: {DB: PLANTED-environment}
          ready: {http: /health}
    shouts:
      ports: [{name: http, port: 9080}]
      workloads:
        v1:
          command: [sh, -c, "exec lateen bookinfo ratings --port=${PORT}"]
          ready: {http: /health}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, annotations: {nginx.ingress.kubernetes.io/auth: PLANTED-annotation}}
spec:
  tls: [{hosts: [shop.example.com], secretName: shop-tls}]
  rules:
  - http:
      paths:
      - {path: /ratings, pathType: Prefix, backend: {service: {name: ratings, port: {name: http}}}}
`

// plantedRules are written with a command.
const plantedRules = `apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: adds}
spec:
  destination: {name: ratings}
  match: {request: {headers: {authorization: {exact: "Basic PLANTED-wanted"}}}}
  appendHeaders: {Authorization: "Bearer PLANTED-header", X-Api-Key: PLANTED-api-key}
---
# password: PLANTED-comment
apiVersion: v1
kind: Secret
metadata: {name: other-tls}
type: kubernetes.io/tls
data:
  tls.crt: CRT
  tls.key: KEY
`

// A bug report has what it is for, and none of the secrets that were planted, whoever reads the archive and however they are written.
func TestBugReport(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		dir := home(t)
		chain, key := certificate(t, "shop.example.com")
		otherChain, otherKey := certificate(t, "other.example.com")
		write(t, dir, "shop.crt", string(chain))
		write(t, dir, "shop.key", string(key))
		p := start(t, dir, "up", "--https-port", "8443", "-f", write(t, dir, "mesh.yaml", plantedMesh))
		p.prints(ready)
		encode := base64.StdEncoding.EncodeToString
		must(t, dir, "apply", "-f", write(t, dir, "rules.yaml", strings.NewReplacer("CRT", encode(otherChain), "KEY", encode(otherKey)).Replace(plantedRules)))
		must(t, dir, "apply", "--wait=false", "-f", write(t, dir, "tls.yaml", strings.Replace(secondDoor, "NAME", "other", 1)))
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost:8080/ratings/0?access=PLANTED-query", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Basic PLANTED-wanted")
		request.Header.Set("Cookie", "session=PLANTED-cookie")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()

		state := filepath.Join(dir, "lateen", "planted")
		token, err := os.ReadFile(filepath.Join(state, "admin.token"))
		if err != nil {
			t.Fatal(err)
		}
		root, err := os.ReadFile(filepath.Join(state, "ca", "root.pem"))
		if err != nil {
			t.Fatal(err)
		}
		// What an Envoy logs at level debug, and who writes the token into a log.
		agentLog := filepath.Join(state, "proxies", "ratings-v1-0.default", "agent.log")
		appendTo(t, agentLog, "':path', '/'\n'authorization', 'Basic PLANTED-debug'\nseen: "+string(token)+"\nagent-log-is-here\n"+string(key))

		stdout, stderr, code := run(t, dir, "bug-report", "--output", "report.tar.gz")
		if code != 0 || stdout != "report.tar.gz\n" || !strings.Contains(stderr, "lateen: proxies\n") {
			t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
		}
		if info, err := os.Stat(filepath.Join(dir, "report.tar.gz")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info, err)
		}
		packed, err := os.ReadFile(filepath.Join(dir, "report.tar.gz"))
		if err != nil {
			t.Fatal(err)
		}
		files := unpacked(t, packed)
		index := files["index.txt"]
		if strings.Contains(index, "missing ") {
			t.Errorf("something is missing:\n%s", index)
		}
		for file, want := range map[string]string{
			"versions.json":                              `"control-plane"`,
			"check.json":                                 `"verdict"`,
			"control-plane/problems.json":                "problems",
			"control-plane/proxies.json":                 "ratings-v1-0.default",
			"control-plane/metrics.txt":                  "lateen_proxies_pending 0",
			"control-plane/services.json":                "ratings.default",
			"control-plane/debug/goroutines.txt":         "goroutine profile",
			"objects/RouteRule.json":                     `"adds"`,
			"objects/Ingress.json":                       `"shop"`,
			"proxies/ratings-v1-0.default/config.json":   `"inbound|9080"`,
			"proxies/ratings-v1-0.default/stats.txt":     "envoy_server_live",
			"proxies/ratings-v1-0.default/identity.json": "spiffe://cluster.local/ns/default/sa/",
			"proxies/ratings-v1-0.default/agent.log":     "agent-log-is-here",
			"proxies/ingress.default/access.log":         "/ratings/0?[redacted]",
			"proxies/ingress.default/config.json":        "default/shop-tls",
			"proxies/shouts-v1-0.default/config.json":    `"same"`,
			"control-plane/debug/heap.txt":               "heap profile",
			"control-plane/authority.json":               "BEGIN CERTIFICATE",
			"control-plane/workloads.json":               "ratings-v1-0",
			"proxies/ratings-v1-0.default/access.log":    "/ratings/0",
			"control-plane/replicas.json":                "proxies",
		} {
			if !strings.Contains(files[file], want) {
				t.Errorf("%s lacks %q: %.300q", file, want, files[file])
			}
		}
		secrets := append(keyLines(t, key, otherKey, root), strings.TrimSpace(string(token)), "PLANTED")
		for name, text := range files {
			for _, secret := range secrets {
				if holds(text, secret) {
					t.Errorf("%s holds %q", name, secret)
				}
			}
		}
	})
}

// secondDoor has the ingress show the certificate of a Secret.
const secondDoor = `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: NAME}
spec:
  tls: [{hosts: [other.example.com], secretName: other-tls}]
  rules:
  - host: other.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: ratings, port: {name: http}}}}]}
`

// Where the control plane is away a report has what is in files, and says what is missing.
func TestBugReportOfWhatIsLeft(t *testing.T) {
	t.Parallel()
	dir := home(t)
	write(t, dir, "lateen/gone/proxies/web-v1-0.default/agent.log", "last words\npassword: PLANTED\n")
	write(t, dir, "lateen/gone/ca.made", "")
	ctx := t.Context()
	stdout, stderr, code := run(t, dir, "bug-report", "--mesh", "gone", "--output", "-")
	if code != 0 || ctx.Err() != nil {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	files := unpacked(t, []byte(stdout))
	for file, want := range map[string]string{
		"index.txt": "missing  control-plane/status.json: no control plane answers on ", "proxies/web-v1-0.default/agent.log": "last words\npassword: [redacted]\n",
		"check.json": "no-answer",
	} {
		if !strings.Contains(files[file], want) {
			t.Errorf("%s lacks %q: %q", file, want, files[file])
		}
	}
}

// keyLines returns the lines of private keys.
func keyLines(t *testing.T, keys ...[]byte) (all []string) {
	t.Helper()
	for _, key := range keys {
		inside := false
		for line := range strings.Lines(string(key)) {
			switch line = strings.TrimSpace(line); {
			case strings.Contains(line, "PRIVATE KEY-----"):
				inside = strings.Contains(line, "BEGIN")
			case inside && len(line) >= 16:
				all = append(all, line)
			}
		}
	}
	if len(all) < len(keys) {
		t.Fatalf("%d lines of %d keys", len(all), len(keys))
	}
	return all
}

// holds tells whether a text has a secret in it, plainly or in base64 wherever it begins there.
func holds(text, secret string) bool {
	if strings.Contains(text, secret) {
		return true
	}
	for before := range 3 {
		encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + secret))
		// The first and the last group hold bytes of others too.
		if inner := encoded[(before*8+5)/6 : len(encoded)-2]; len(inner) >= 6 && strings.Contains(text, inner) {
			return true
		}
	}
	return false
}

// unpacked returns the files of an archive, by their names below its folder.
func unpacked(t *testing.T, packed []byte) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, text := range testkit.Unpack(t, packed) {
		_, name, _ = strings.Cut(path.Clean(name), "/")
		all[name] = text
	}
	return all
}

func appendTo(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.WriteString(f, text); err != nil {
		t.Fatal(err)
	}
}
