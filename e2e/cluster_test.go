//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/testapp"
)

// A client as a pod, and a server with two replicas behind a Service with a ClusterIP and one without.
func serverManifest() string {
	return strings.ReplaceAll(clientPod, "NAME", "client") + `
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server}
spec:
  replicas: 2
  selector: {matchLabels: {app: server}}
  strategy: {rollingUpdate: {maxUnavailable: 0}}
  template:
    metadata: {labels: {app: server}}
    spec:
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: app
        image: lateen-testapp:dev
        imagePullPolicy: IfNotPresent
        args: [serve, --name=server]
        readinessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 5}}}
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec:
  selector: {app: server}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: grpc, port: 90, targetPort: 9090}, {name: tcp, port: 70, targetPort: 7000}, {name: tcp-first, port: 71, targetPort: 7001}]
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: server}, ports: [{name: http, port: 8080}]}
`
}

// Names lead to Services with and without a ClusterIP and to both pods, in every protocol; other names to nothing.
func TestServices(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(serverManifest())
	s.rolledOut("deployment/server")
	s.phase("client", "Running")
	for _, url := range []string{"http://server/", "h2c://server." + s.name + "/", "http://server." + s.name + ".svc.cluster.local/", "ws://server/ws", "grpc://server:90", "tcp://server:70", "first://server:71", "http://headless:8080/"} {
		// kube-proxy may learn of a Service a moment after its pods are ready.
		s.await(url, func() error {
			for _, r := range s.ask("pod/client", "--body=hello", url) {
				if r.Error != "" || !strings.Contains(r.Body, "server") || !strings.Contains(r.Body, "hello") {
					return fmt.Errorf("%+v", r)
				}
			}
			return nil
		})
	}
	instances := map[string]bool{}
	s.await("an answer of both pods", func() error {
		for _, r := range s.ask("pod/client", "--count=20", "--fresh", "http://server/") {
			if r.Answer != nil {
				instances[r.Answer.Instance] = true
			}
		}
		if len(instances) != 2 {
			return fmt.Errorf("only %v", instances)
		}
		return nil
	})
	for _, host := range []string{"nothing", "server.nowhere", "example.com"} {
		if r := s.ask("pod/client", "http://"+host+"/")[0]; !strings.Contains(r.Error, "no such host") {
			t.Errorf("%s: %+v", host, r)
		}
	}
}

// A native sidecar is ready before the application starts, and does not keep a Job from completing.
func TestNativeSidecar(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(`
apiVersion: batch/v1
kind: Job
metadata: {name: job}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      initContainers:
      - name: sidecar
        image: lateen-testapp:dev
        imagePullPolicy: IfNotPresent
        restartPolicy: Always
        args: [serve, --name=sidecar, --ready-after=1s]
        startupProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 1, failureThreshold: 60}
      containers:
      - name: app
        image: lateen-testapp:dev
        imagePullPolicy: IfNotPresent
        args: [client, "http://127.0.0.1:8080/health"]
`)
	s.await("the Job", func() error {
		text, err := s.try(t.Context(), "", "get", "job", "job", "-o", "jsonpath={.status}")
		if err != nil {
			return err
		}
		var status struct{ Succeeded, Failed int }
		if err := json.Unmarshal([]byte(text), &status); err != nil {
			return err
		}
		if status.Failed > 0 {
			t.Fatalf("the Job failed: %s", text)
		}
		if status.Succeeded != 1 {
			return fmt.Errorf("status %s", text)
		}
		return nil
	})
	got, err := decode[testapp.Result](s.kubectl("logs", "job/job", "-c", "app"))
	if err != nil || len(got) != 1 || got[0].Status != 200 {
		t.Errorf("the sidecar, asked as soon as the application ran: %v, %+v", err, got)
	}
}

// The token that a pod gets for an audience is taken for that audience only, and names the pod.
func TestTokenReview(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.apply(strings.ReplaceAll(clientPod, "NAME", "client") + `
    volumeMounts: [{name: token, mountPath: /var/run/lateen}]
  volumes: [{name: token, projected: {sources: [{serviceAccountToken: {path: token, audience: lateen, expirationSeconds: 3600}}]}}]
`)
	s.phase("client", "Running")
	token := s.kubectl("exec", "client", "-c", "app", "--", "testapp", "print", "/var/run/lateen/token")
	for audience, want := range map[string]bool{"lateen": true, "other": false} {
		review := fmt.Sprintf("{apiVersion: authentication.k8s.io/v1, kind: TokenReview, spec: {token: %q, audiences: [%s]}}", strings.TrimSpace(token), audience)
		text, err := s.try(t.Context(), review, "create", "-o", "json", "-f", "-")
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Status struct {
				Authenticated bool
				User          struct {
					Username string
					Extra    map[string][]string
				}
			}
		}
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if got.Status.Authenticated != want {
			t.Errorf("audience %s: authenticated %v", audience, got.Status.Authenticated)
		}
		pod := got.Status.User.Extra["authentication.kubernetes.io/pod-name"]
		if user := got.Status.User.Username; want && (user != "system:serviceaccount:"+s.name+":default" || len(pod) != 1 || pod[0] != "client") {
			t.Errorf("the token is of %s in pod %v", user, pod)
		}
	}
}

// Our images run where Pod Security allows nothing special: not as root, without capabilities, on a file system that nobody
// can write to.
func TestImagesAreRestricted(t *testing.T) {
	t.Parallel()
	s := newSpace(t, "pod-security.kubernetes.io/enforce=restricted")
	pods := map[string]string{
		"lateen": `image: lateen:dev, args: [version]`,
		"proxy":  `image: lateen-proxy:dev, args: [--help]`,
		"envoy":  `image: lateen-proxy:dev, command: [envoy, --version]`,
		"book":   `image: lateen-bookinfo:dev, args: [--help]`,
		"app":    `image: lateen-testapp:dev, args: [print, /etc/passwd]`,
	}
	for name, container := range pods {
		s.apply(fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %[1]s}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - {name: %[1]s, imagePullPolicy: IfNotPresent, %[2]s, securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}}
`, name, container))
	}
	for name := range pods {
		s.phase(name, "Succeeded")
	}
	if got := s.kubectl("logs", "envoy"); !strings.Contains(got, "/1.40.0/") {
		t.Errorf("envoy --version: %s", got)
	}
	if _, err := s.try(t.Context(), "", "run", "root", "--image="+withImages("lateen-testapp:dev"), "--restart=Never"); err == nil {
		t.Error("a pod that asks for nothing is let in: Pod Security is not in force, so this shows nothing")
	}
}

// An application that ends orderly is updated under load without a request that fails, with Kubernetes alone: what this
// shows of the mesh elsewhere is not the cluster's doing.
func TestRollingUpdateWithoutMesh(t *testing.T) {
	s := newSpace(t)
	s.apply(serverManifest())
	s.rolledOut("deployment/server")
	s.phase("client", "Running")
	s.await("the Service", func() error {
		if r := s.ask("pod/client", "http://server/")[0]; r.Error != "" {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	load := s.startLoad("pod/client", "http://server/", 50, "--fresh")
	for range 2 {
		s.kubectl("rollout", "restart", "deployment/server")
		s.rolledOut("deployment/server")
	}
	load.stop("two rolling updates", least(50))
}
