package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/bugreport"
	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/sidecar"
	"github.com/lateen-mesh/lateen/internal/testkit"
)

// plantedInCluster has recognisable secrets wherever a cluster can hold one that a report may come across.
const plantedInCluster = `
{apiVersion: v1, kind: Secret, metadata: {name: secret}, stringData: {tls.key: PLANTED-secret}}
---
apiVersion: v1
kind: Secret
type: kubernetes.io/dockerconfigjson
metadata: {name: registry}
stringData: {.dockerconfigjson: '{"auths":{"registry.example.com":{"auth":"PLANTED-registry"}}}'}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: of-somebody}, data: {x: PLANTED-config}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: lateen}, data: {mesh: "authPolicy: NONE\ntoken: |\n  PLANTED-settings\n"}}
---
apiVersion: v1
kind: Event
metadata: {name: event}
involvedObject: {kind: Pod, name: lateen-0, namespace: NS}
reason: visible-event
message: "cannot pull https://user:PLANTED-url@registry.example.com/x"
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: lateen, annotations: {example.com/key: PLANTED-annotation}}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}, annotations: {example.com/key: PLANTED-annotation}}
    spec: {containers: [{name: lateen, image: "lateen:1", args: [serve, --visible-flag], env: [{name: X, value: PLANTED-environment}]}]}
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: visible-rule}
spec:
  destination: {name: reviews}
  match: {request: {headers: {authorization: {exact: Basic PLANTED-wanted}, cookie: {exact: session=PLANTED}, x-access-key: {exact: PLANTED}, uri: {prefix: /visible-path}}}}
  appendHeaders: {x-api-key: PLANTED-header, cookie: a=PLANTED, x-access-key: PLANTED, x-auth-key: PLANTED}
---
apiVersion: config.istio.io/v1alpha2
kind: EgressRule
metadata: {name: visible-egress}
spec: {destination: {service: "user:PLANTED-egress@example.com"}, ports: [{port: 80, protocol: http}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: visible-ingress, annotations: {kubernetes.io/ingress.class: istio, nginx.example.com/snippet: PLANTED-snippet}}
spec: {defaultBackend: {service: {name: reviews, port: {number: 80}}}}
`

// plantedPod is one whose sidecar is looked at; what its application is given, and says, is nobody's business.
const plantedPod = `
apiVersion: v1
kind: Pod
metadata:
  name: POD
  annotations: {sidecar.istio.io/status: injected-version-1, example.com/key: PLANTED-annotation}
spec:
  nodeName: node-NS
  imagePullSecrets: [{name: registry}]
  containers:
  - {name: app, image: "app:1", args: [--password, PLANTED-argument], env: [{name: DB, value: PLANTED-environment}]}
  - {name: lateen-proxy, image: "lateen-proxy:1", args: [agent, --visible-flag], env: [{name: X, value: PLANTED-environment}]}
`

// A report of a cluster has what its user may see of it, and none of the secrets that were planted.
func TestBugReportOfCluster(t *testing.T) {
	t.Parallel()
	server := kubetest.Start(t)
	server.Define(t, definitions(t))
	s := newSecured(t)
	namespace := server.Namespace(t)
	node, stop, err := startKubelet(t.Context(), server, kubelet{
		target: filepath.Join(s.dir, api.SocketName), log: strings.Repeat("a long line\n", bugreport.MaxPart/12) + "visible-log\n':path'\n'authorization', 'Bearer PLANTED-log'\npassword=PLANTED-log",
		exec: func(ctx context.Context, _ string, command []string, out, errs io.Writer) error {
			if code := sidecar.Main(ctx, append(command[1:], "--dir", s.reviews.Dir), sidecar.Output{Out: out, Err: errs}); code != 0 {
				return errors.New("command terminated with exit code 1")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	runPod(t, server, node, podOf{namespace: namespace, name: "lateen-0", account: "lateen", container: "lateen"})
	server.Kubectl(t, "", "label", "pod", "lateen-0", "-n", namespace, "app.kubernetes.io/part-of=lateen")
	server.Kubectl(t, strings.ReplaceAll(plantedInCluster, "NS", namespace), "apply", "-n", namespace, "-f", "-")
	app, pod := "default", s.reviews.Name // as the control plane knows the proxy
	server.Kubectl(t, strings.NewReplacer("NS", namespace, "POD", pod).Replace(plantedPod), "apply", "-n", app, "-f", "-")
	said := `{"status":{"phase":"Running","containerStatuses":[` +
		`{"name":"app","image":"a","imageID":"a","ready":true,"restartCount":1,"lastState":{"terminated":{"exitCode":1,"message":"PLANTED-last-words"}}},` +
		`{"name":"lateen-proxy","image":"a","imageID":"a","ready":true,"restartCount":1}]}}`
	server.Kubectl(t, "", "patch", "pod", pod, "-n", app, "--subresource=status", "--type=merge", "-p", said)
	server.Kubectl(t, "", "patch", "pod", "lateen-0", "-n", namespace, "--subresource=status", "--type=merge", "-p",
		`{"status":{"containerStatuses":[{"name":"lateen","image":"a","imageID":"a","ready":true,"restartCount":0}]}}`)

	report := func(kubeconfig string) map[string]string {
		t.Helper()
		p := program{t, ""}
		stdout, stderr, code := p.at("bug-report", "-c", kubeconfig, "-i", namespace, "--pod", app+"/"+pod, "--output", "-")
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		return unpacked(t, stdout)
	}
	files := report(server.Kubeconfig)
	proxy := "pods/" + app + "/" + pod + "/"
	for file, want := range map[string]string{
		"versions.json":                        `"cluster": "v1.`,
		"check.json":                           `"verdict"`,
		"system/deployments.json":              "--visible-flag",
		"system/configmaps.json":               "of-somebody",
		"system/events.json":                   "visible-event",
		"system/pods.json":                     "lateen-0",
		"system/lateen-0/lateen.log":           "visible-log",
		"control-plane/lateen-0/status.json":   `"ready"`,
		"control-plane/lateen-0/metrics.txt":   "lateen_ready",
		"objects/routerules.json":              "visible-rule",
		"objects/egressrules.json":             "visible-egress",
		"objects/ingresses.json":               "visible-ingress",
		proxy + "pod.json":                     "--visible-flag",
		proxy + "config.json":                  `"state": "same"`,
		proxy + "identity.json":                "spiffe://",
		proxy + "lateen-proxy.log":             "visible-log",
		proxy + "lateen-proxy.previous.log":    "visible-log",
		proxy + "inject-explain.txt":           pod,
		"control-plane/lateen-0/problems.json": "problems",
		"index.txt":                            "missing  " + proxy + "stats.txt: ",
		"./index.txt":                          "cut      " + proxy + "lateen-proxy.log: ",
		"./objects/routerules.json":            "/visible-path",
	} {
		if file = strings.TrimPrefix(file, "./"); !strings.Contains(files[file], want) {
			t.Errorf("%s lacks %q: %.300q", file, want, files[file])
		}
	}
	for name, text := range files {
		for before := range 3 {
			encoded := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + "PLANTED-"))
			if strings.Contains(text, "PLANTED") || strings.Contains(text, encoded[2:len(encoded)-2]) {
				t.Errorf("%s holds a secret:\n%s", name, text)
				break
			}
		}
		if strings.Contains(name, "app.log") {
			t.Errorf("%s is the application's", name)
		}
	}

	// Who may do little gets the rest told, right by right.
	index := report(reader(t, server, namespace))["index.txt"]
	for _, want := range []string{
		`missing +system/pods.json: pods is forbidden: User "reader-`, `missing +objects/routerules.json: .* is forbidden`, `missing +control plane and ingress: pods is forbidden`,
		`missing +pods/default/reviews-v1-[0-9]+/pod.json: .* is forbidden`, `missing +pods/default/reviews-v1-[0-9]+/inject-explain.txt: .* is forbidden`, `(ok|missing) +versions.json`,
	} {
		if !regexp.MustCompile(want).MatchString(index) {
			t.Errorf("the index lacks %q:\n%s", want, index)
		}
	}
}

// at runs a command that is not about a mesh on this machine.
func (p program) at(args ...string) (stdout []byte, stderr string, code int) {
	p.Helper()
	var out, errs bytes.Buffer
	root := newRootCommand(nil)
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&errs)
	code = report(&errs, root.ExecuteContext(p.Context()))
	return out.Bytes(), errs.String(), code
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

func TestBugReportIsAskedRightly(t *testing.T) {
	t.Parallel()
	p := newProgram(t)
	p.refuses(`--pod "x" is no NAMESPACE/NAME`, "", "bug-report", "--pod", "x")
	p.refuses(`--pod is about a cluster`, "", "bug-report", "--pod", "x/y", "--output", filepath.Join(t.TempDir(), "x"))
	p.refuses("--timeout and --since are times above 0", "", "bug-report", "--timeout", "0s")
	p.refuses("no such file or directory\nlateen: hint: --output names another file", "", "bug-report", "--output", "/nonesuch/x.tar.gz")
}
