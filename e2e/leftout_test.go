//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// annotated is a pod with annotations that is a server too.
func annotated(name, annotations string) string {
	return strings.Replace(strings.ReplaceAll(clientPod, "NAME", name), "metadata: {", "metadata: {annotations: {"+annotations+"}, ", 1) + "---"
}

// Annotations of a pod say which of its connections the proxy takes: by them the application that is called sees who has called, or nothing. What is left
// out arrives all the same.
func TestLeftOut(t *testing.T) {
	t.Parallel()
	s := injectedSpace(t)
	s.apply(serverOf("server", ""))
	s.allRolledOut()
	network := s.address("service/server", ".spec.clusterIP") + "/32"
	const outbound, inbound = "traffic.sidecar.istio.io/%sOutbound%s: %q", "traffic.sidecar.istio.io/%sInboundPorts: %q"
	out := func(what, which, value string) string { return fmt.Sprintf(outbound, what, which, value) }
	in := func(what, value string) string { return fmt.Sprintf(inbound, what, value) }
	const proven, plain = "server, called by default", "server, called in plain text"
	callers := []struct {
		pod, annotations string
		http, grpc       string // what server sees of calls to its ports 8080 and 9090
	}{
		{"whole", "", proven, proven},
		{"no-network", out("exclude", "IPRanges", network), plain, plain},
		{"other-network", out("include", "IPRanges", "192.0.2.0/24"), plain, plain},
		{"its-network", out("include", "IPRanges", network), proven, proven},
		{"no-port", out("exclude", "Ports", "8080"), plain, proven},
		{"only-port", out("include", "IPRanges", "") + ", " + out("include", "Ports", "9090"), plain, proven},
	}
	servers := []struct {
		pod, annotations string
		http, grpc       string // what it sees of calls by whole
	}{
		{"not-http", in("exclude", "8080"), "in plain text", "by default"},
		{"only-http", in("include", "8080"), "by default", "in plain text"},
		{"nothing", in("include", ""), "in plain text", "in plain text"},
	}
	var manifests strings.Builder
	for _, c := range callers {
		manifests.WriteString(annotated(c.pod, c.annotations))
	}
	for _, c := range servers {
		manifests.WriteString(annotated(c.pod, c.annotations))
		fmt.Fprintf(&manifests, "\n{apiVersion: v1, kind: Service, metadata: {name: %[1]s}, spec: {selector: {app: %[1]s}, ports: [{name: http, port: 8080}, {name: grpc, port: 9090}]}}\n---", c.pod)
	}
	s.apply(manifests.String())
	for _, c := range callers {
		s.ready(c.pod)
	}
	for _, c := range servers {
		s.ready(c.pod)
	}
	sees := func(from, to, http, grpc string) {
		s.await("what "+to+" sees of "+from, func() error {
			for i, r := range s.ask("pod/"+from, "--fresh", "http://"+to+":8080/", "grpc://"+to+":9090") {
				if seen, by := told(r, true); seen != []string{http, grpc}[i] {
					return fmt.Errorf("%s: %s (%s), want %s", r.URL, seen, by, []string{http, grpc}[i])
				}
			}
			return nil
		})
	}
	for _, c := range callers {
		sees(c.pod, "server", c.http, c.grpc)
	}
	for _, c := range servers {
		sees("whole", c.pod, c.pod+", called "+c.http, c.pod+", called "+c.grpc)
	}
}

// Annotations of a pod say what its proxy asks for and may have, what it tells and how many threads it has: the running container is so.
func TestProxyAsAnnotated(t *testing.T) {
	t.Parallel()
	s := injectedSpace(t)
	s.apply(annotated("asked", `sidecar.istio.io/proxyCPU: 20m, sidecar.istio.io/proxyMemory: 80Mi, sidecar.istio.io/proxyCPULimit: "1", sidecar.istio.io/proxyMemoryLimit: 300Mi,
    sidecar.istio.io/logLevel: info, lateen.dev/proxy-concurrency: "3"`) + "\n" + annotated("usual", ""))
	s.ready("asked", "usual")
	const resources = `{.status.initContainerStatuses[?(@.name=="lateen-proxy")].resources}`
	for pod, want := range map[string]struct {
		resources, threads string
		tells              bool
	}{
		"asked": {`{"limits":{"cpu":"1","memory":"300Mi"},"requests":{"cpu":"20m","memory":"80Mi"}}`, "3", true},
		"usual": {`{"requests":{"cpu":"10m","memory":"64Mi"}}`, "1", false},
	} {
		if got := s.address("pod/"+pod, strings.Trim(resources, "{}")); got != want.resources {
			t.Errorf("%s: it has %s, want %s", pod, got, want.resources)
		}
		text := s.kubectl("get", "--raw", "/api/v1/namespaces/"+s.name+"/pods/"+pod+":15020/proxy/stats/prometheus")
		if !strings.Contains(text, "\nenvoy_server_concurrency{} "+want.threads+"\n") && !strings.Contains(text, "\nenvoy_server_concurrency "+want.threads+"\n") {
			t.Errorf("%s: Envoy has not %s threads", pod, want.threads)
		}
		if said := s.kubectl("logs", pod, "-c", "lateen-proxy"); strings.Contains(said, "initializing epoch") != want.tells {
			t.Errorf("%s: messages of level info: %v, want %v", pod, !want.tells, want.tells)
		}
	}
}
