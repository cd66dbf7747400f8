//go:build e2e

package e2e

import (
	"encoding/base64"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/testkit"
)

// plantedPods have recognisable secrets where a pod can hold one, and one that is said.
const plantedPods = `
{apiVersion: v1, kind: Secret, metadata: {name: planted}, stringData: {key: PLANTED-secret}}
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: planted}
spec: {destination: {name: client}, match: {request: {headers: {cookie: {exact: session=PLANTED}}}}, appendHeaders: {authorization: "Bearer PLANTED-header", x-access-key: PLANTED}}
`

// A report of a real cluster has what it is for, of all replicas and of a pod that is named, and no secret.
func TestBugReport(t *testing.T) {
	s := injectedSpace(t)
	planted := strings.NewReplacer("labels:", "annotations: {example.com/planted: PLANTED-annotation}, labels:", "    args:", "    env: [{name: DB, value: PLANTED-environment}]\n    args:",
		"NAME", "client").Replace(clientPod)
	s.apply(planted + "\n---\n" + plantedPods)
	s.ready("client")
	key, err := base64.StdEncoding.DecodeString((&space{t, "lateen-system"}).kubectl("get", "secret", "lateen-ca", "-o", `jsonpath={.data.ca-key\.pem}`))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.tar.gz")
	s.program("bug-report", "--pod", s.name+"/client", "--output", file)
	files := archived(t, file)
	pod := "pods/" + s.name + "/client/"
	want := map[string]string{
		"versions.json": `"cluster": "v1.`, "check.json": `"verdict"`, "system/deployments.json": `"lateen-ingress"`, "cluster/mutatingwebhooks.json": "caBundle",
		"objects/routerules.json": `"planted"`, pod + "config.json": `"state": "same"`, pod + "stats.txt": "envoy_server_live", pod + "agent-metrics.txt": "lateen_agent_ready 1",
		pod + "identity.json": "spiffe://cluster.local/ns/" + s.name, pod + "inject-explain.txt": "has a sidecar", pod + "lateen-proxy.log": "info: ",
	}
	replicas := strings.FieldsSeq((&space{t, "lateen-system"}).kubectl("get", "pods", "-l", "app.kubernetes.io/name=lateen", "-o", "jsonpath={.items[*].metadata.name}"))
	for name := range replicas {
		want["control-plane/"+name+"/metrics.txt"] = "lateen_ready 1"
		want["control-plane/"+name+"/services.json"] = `"host"`
		want["system/"+name+"/lateen.log"] = "info: "
	}
	for name, text := range want {
		if !strings.Contains(files[name], text) {
			t.Errorf("%s lacks %q: %.200q", name, text, files[name])
		}
	}
	lines := strings.Split(string(key), "\n")
	for name, text := range files {
		for _, secret := range []string{"PLANTED", "UExBTlRFR", "BMQU5URU", "QTEFOVEVE", lines[1]} { // the word in base64, too
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %q", name, secret)
			}
		}
	}
	if strings.Contains(files["index.txt"], "missing ") {
		t.Errorf("an administrator lacks something:\n%s", files["index.txt"])
	}
}

// archived returns the files of an archive, by their names below its folder.
func archived(t *testing.T, file string) map[string]string {
	t.Helper()
	packed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for name, text := range testkit.Unpack(t, packed) {
		_, name, _ = strings.Cut(path.Clean(name), "/")
		all[name] = text
	}
	return all
}
