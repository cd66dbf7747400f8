//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/testapp"
)

// injectedSpace makes a namespace whose pods get a sidecar by themselves.
func injectedSpace(t *testing.T) *space {
	t.Helper()
	needMesh(t)
	s := newSpace(t, "istio-injection=enabled")
	s.asked()
	return s
}

// asked returns when the API server asks the control plane about pods.
func (s *space) asked() {
	s.t.Helper()
	s.await("the API server asks about pods", func() error {
		out, err := s.try(s.t.Context(), strings.ReplaceAll(clientPod, "NAME", "probe"), "create", "--dry-run=server", "-o", "jsonpath={.spec.initContainers[*].name}", "-f", "-")
		if err == nil && !strings.Contains(out, "lateen-proxy") {
			err = fmt.Errorf("it has %q", out)
		}
		return err
	})
}

// withoutSidecar is a pod that is left out.
func withoutSidecar(name string) string {
	return strings.ReplaceAll(strings.Replace(clientPod, "labels:", `annotations: {sidecar.istio.io/inject: "false"}, labels:`, 1), "NAME", name)
}

// callers makes the pods client, with a sidecar, and stranger, without, in a namespace whose pods get one by themselves.
func (s *space) callers() {
	s.t.Helper()
	s.apply(strings.ReplaceAll(clientPod, "NAME", "client"))
	s.apply(withoutSidecar("stranger"))
	s.ready("client", "stranger")
}

// sidecars returns the pods of a selector, each with the version that its sidecar tells of; "": it has none.
func (s *space) sidecars(selector string) map[string]string {
	s.t.Helper()
	all := map[string]string{}
	out := s.kubectl("get", "pods", "--selector="+selector, "-o", `jsonpath={range .items[*]}{.metadata.name}={.metadata.annotations.sidecar\.istio\.io/status}{"\n"}{end}`)
	for line := range strings.FieldsSeq(out) {
		name, version, _ := strings.Cut(line, "=")
		all[name] = version
	}
	return all
}

// BookInfo gets its sidecars by the label of its namespace: manifests as they are. The log has a record for each pod, and a command says why.
func TestBookInfoByItself(t *testing.T) {
	t.Parallel()
	s := injectedSpace(t)
	s.applyFile("deploy/bookinfo/bookinfo.yaml")
	s.apply(strings.ReplaceAll(clientPod, "NAME", "client"))
	s.apply(serverOf("plain", `annotations: {sidecar.istio.io/inject: "false"}, `)) // as in 2017: on the object around the pods
	s.apply(withoutSidecar("stranger"))
	s.allRolledOut()
	s.ready("client", "stranger")
	pods := s.sidecars("app")
	if len(pods) < 9 {
		t.Errorf("the pods are %v", pods)
	}
	for name, version := range pods {
		without := name == "stranger" || strings.HasPrefix(name, "plain-")
		if strings.HasPrefix(version, "injected-version-") == without {
			t.Errorf("pod %s: %q", name, version)
		}
	}
	if seen := s.stars("", 10); len(seen) == 0 {
		t.Error("no page shows reviews")
	}
	logs := s.kubectl("logs", "--namespace="+lateenNamespace, "--selector=app.kubernetes.io/name=lateen", "--tail=-1")
	for _, want := range []string{"sidecar injection policy for " + s.name + "/client", "skipping " + s.name + "/plain-", "supported kinds"} {
		if !strings.Contains(logs, want) {
			t.Errorf("no log has %q", want)
		}
	}
	for pod, want := range map[string]string{
		"client":   "has a sidecar, injected-version-",
		"stranger": `has no sidecar: annotation sidecar.istio.io/inject is "false"`,
	} {
		if out := s.lateen("inject", "--explain", pod); !strings.Contains(out, want) {
			t.Errorf("%s is explained with\n%s", pod, out)
		}
	}
}

// serverOf returns a Deployment of the test application with a Service, and something more in its metadata.
func serverOf(name, metadata string) string {
	return strings.NewReplacer("NAME", name, "MORE", metadata).Replace(`
apiVersion: apps/v1
kind: Deployment
metadata: {MOREname: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  strategy: {rollingUpdate: {maxUnavailable: 0}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers:
      - name: app
        image: lateen-testapp:dev
        imagePullPolicy: IfNotPresent
        args: [serve, --name=NAME]
        readinessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{name: http, port: 8080}, {name: grpc, port: 9090}, {name: tcp, port: 7000}]}
`)
}

// workloads are one of each kind that has pods: servers with a Service each, and what calls once, in its first moment, and ends.
const workloads = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: daemon}
spec: {selector: {matchLabels: {app: daemon}}, template: {metadata: {labels: {app: daemon}}, spec: {containers: [{name: app, image: "lateen-testapp:dev", imagePullPolicy: IfNotPresent, args: [serve, --name=it]}]}}}
---
{apiVersion: v1, kind: Service, metadata: {name: daemon}, spec: {selector: {app: daemon}, ports: [{name: http, port: 8080}]}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: set}
spec: {serviceName: set, replicas: 2, podManagementPolicy: Parallel, selector: {matchLabels: {app: set}}, template: {metadata: {labels: {app: set}}, spec: {containers: [{name: app, image: "lateen-testapp:dev", imagePullPolicy: IfNotPresent, args: [serve, --name=it]}]}}}
---
{apiVersion: v1, kind: Service, metadata: {name: set}, spec: {clusterIP: None, selector: {app: set}, ports: [{name: http, port: 8080}]}}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: controller}
spec: {replicas: 1, selector: {app: controller}, template: {metadata: {labels: {app: controller}}, spec: {containers: [{name: app, image: "lateen-testapp:dev", imagePullPolicy: IfNotPresent, args: [serve, --name=it]}]}}}
---
{apiVersion: v1, kind: Service, metadata: {name: controller}, spec: {selector: {app: controller}, ports: [{name: http, port: 8080}]}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: cron}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate:
    spec:
      backoffLimit: 0
      template: {metadata: {labels: {app: cron}}, spec: {restartPolicy: Never, containers: [{name: app, image: "lateen-testapp:dev", imagePullPolicy: IfNotPresent, args: [client, --expect=it, "http://daemon:8080/"]}]}}
`

// job calls once, in its first moment, and ends.
const job = `
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec:
  backoffLimit: 0
  template: {metadata: {labels: {app: job}}, spec: {restartPolicy: Never, containers: [{name: app, image: "lateen-testapp:dev", imagePullPolicy: IfNotPresent, args: [client, --expect=it, "http://controller:8080/"]}]}}
`

// Every kind of workload has its sidecar and is reached, pods of a StatefulSet by name too. What ends ends, with its sidecar, and what calls out
// in its first moment is answered.
func TestEveryKindOfWorkload(t *testing.T) {
	t.Parallel()
	s := injectedSpace(t)
	s.apply(workloads)
	s.apply(strings.ReplaceAll(clientPod, "NAME", "client"))
	s.rolledOut("daemonset/daemon", "statefulset/set")
	s.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=1", "replicationcontroller/controller", "--timeout="+patience.String())
	s.ready("client")
	for _, host := range []string{"daemon", "set", "set-0.set", "set-1.set." + s.name, "controller"} {
		for _, r := range s.ask("pod/client", "--count=3", "--fresh", "--expect=it", "http://"+host+":8080/") {
			if r.Error != "" || r.Status != 200 {
				t.Errorf("%s: %+v", host, r)
			}
			if pod, _, ok := strings.Cut(host, ".set"); ok && r.Answer != nil && r.Answer.Instance != pod {
				t.Errorf("%s: it is %s that answers", host, r.Answer.Instance)
			}
		}
	}
	s.apply(job)
	s.kubectl("create", "job", "--from=cronjob/cron", "cron-now")
	for _, name := range []string{"job", "cron-now"} {
		s.kubectl("wait", "--for=condition=Complete", "job/"+name, "--timeout="+patience.String())
		got, err := decode[testapp.Result](s.kubectl("logs", "job/"+name, "-c", "app"))
		if err != nil || len(got) != 1 || got[0].Error != "" || got[0].Status != 200 {
			t.Errorf("%s: %v %+v", name, err, got)
		}
	}
	for name, version := range s.sidecars("app") {
		if version == "" {
			t.Errorf("pod %s has no sidecar", name)
		}
	}
}

// lateens scales the control plane.
func (s *space) lateens(replicas int) {
	s.t.Helper()
	s.kubectl("scale", "deployment/lateen", "--namespace="+lateenNamespace, fmt.Sprintf("--replicas=%d", replicas))
	if replicas == 0 {
		s.kubectl("wait", "--for=delete", "pod", "--namespace="+lateenNamespace, "--selector=app.kubernetes.io/name=lateen", "--timeout="+patience.String())
		return
	}
	s.kubectl("rollout", "status", "deployment/lateen", "--namespace="+lateenNamespace, "--timeout="+patience.String())
}

// While there is no control plane, what needs no sidecar starts, in namespaces of the system and of others, and objects can be written; what
// needs one waits, and starts when there is one. Requests go on.
func TestLoadNobodyInjects(t *testing.T) {
	s, table := injectedSpace(t), newLoadTable(t)
	s.apply(serverOf("server", "") + "---" + serverOf("other", ""))
	s.callers()
	s.allRolledOut()
	outside := newSpace(t)
	server := called{service: "server", port: 8080, path: "/"}
	s.open(server)
	s.ask("pod/client", "http://server:8080/") // what is called for the first time needs a control plane
	load := s.startLoads(table, server)
	s.lateens(0)
	s.kubectl("rollout", "restart", "deployment/server")
	s.apply(withoutSidecar("without"))
	outside.apply(strings.ReplaceAll(clientPod, "NAME", "stranger"))
	s.ready("without")
	outside.ready("stranger")
	s.kubectl("run", "system", "--namespace=kube-system", "--image="+withImages("lateen-testapp:dev"), "--image-pull-policy=IfNotPresent", "--restart=Never", "--", "client", "http://127.0.0.1:1/")
	s.kubectl("delete", "pod", "system", "--namespace=kube-system", "--wait=false")
	if out, err := s.try(t.Context(), strings.ReplaceAll(clientPod, "NAME", "wanting"), "apply", "-f", "-"); err == nil || !strings.Contains(err.Error(), "sidecar.lateen.dev") {
		t.Errorf("a pod that is to have a sidecar: %v: %s", err, out)
	}
	s.lateens(2)
	s.asked()
	s.allRolledOut()
	load.stop("the control plane is away while pods start")
	for name, version := range s.sidecars("app") {
		if (version == "") != (name == "without" || name == "stranger") {
			t.Errorf("pod %s: %q", name, version)
		}
	}
}

// An object that is wrong is refused in the words of `lateen validate`, whoever writes it, and a warning is one.
func TestObjectsAreLookedAt(t *testing.T) {
	t.Parallel()
	s := injectedSpace(t)
	const bad = `
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: bad}
spec: {destination: {name: reviews}, rout: [{labels: {version: v1}}]}
`
	s.await("it is refused", func() error {
		out, err := s.try(t.Context(), bad, "apply", "--dry-run=server", "-f", "-")
		if err == nil {
			return fmt.Errorf("it is taken: %s", out)
		}
		if !strings.Contains(err.Error(), `spec.rout: unknown field [unknown-field]`) || !strings.Contains(err.Error(), `did you mean "route"?`) {
			t.Fatal(err)
		}
		return nil
	})
	s.apply(strings.Replace(bad, "rout:", "route:", 1))
}
