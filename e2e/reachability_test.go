//go:build e2e

package e2e

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/lateen-mesh/lateen/internal/testapp"
)

// authModes are what annotations of Services say of their ports: each mode has ports of its own.
var authModes = []string{"NONE", "PERMISSIVE", "MUTUAL_TLS"}

// wire is a protocol of the table, with the ports that speak it.
type wire struct {
	protocol, scheme, path string
	service                string // name of the ports
	port                   int    // of pods, for the first mode; the others follow
	tellsCaller            bool   // the application can say what was proven to it
}

var wires = []wire{
	{"HTTP/1.1", "http", "/", "http", 8080, true},
	{"HTTP/2", "h2c", "/", "http2", 8180, true},
	{"gRPC", "grpc", "", "grpc", 9080, true},
	{"TCP", "tcp", "", "tcp", 7080, false},
	{"WebSocket", "ws", "/ws", "http", 8080, false},
}

// behind is by how much the port of a Service with an address differs from that of its pods.
const behind = 80

// destination is who is called.
type destination struct {
	name   string            // in the table, and of the Service or pod in the DNS
	answer string            // the name in right answers
	vip    string            // by which it is called without a name
	port   func(pod int) int // to call, by the port of the pods
	proves bool              // its pods have sidecars
}

// hop is one row of the table.
type hop struct {
	from, to, protocol, name, mode string
	url                            string
	tellsCaller                    bool // as of its protocol
	expected, seen, by             string
}

// servedPorts writes a Service's ports, and the annotations that say how they are secured. A port of a Service is by so much less than that of its pods.
func servedPorts(less int, modes []string) (ports, annotations string) {
	known := map[string]bool{}
	for _, w := range wires {
		for i, mode := range modes {
			name := fmt.Sprintf("%s-%d", w.service, i)
			if known[name] {
				continue
			}
			known[name] = true
			ports += fmt.Sprintf("  - {name: %s, port: %d, targetPort: %d}\n", name, w.port+i-less, w.port+i)
			if mode != "" {
				annotations += fmt.Sprintf("    auth.istio.io/%d: %s\n", w.port+i-less, mode)
			}
		}
	}
	return ports, annotations
}

// reachService is a Service with all ports. Without an address its ports are those of the pods.
func reachService(name, app, extra string, less int, modes []string) string {
	ports, annotations := servedPorts(less, modes)
	return fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata:
  name: %s
  annotations:
%sspec:
  selector: {app: %s}
%s  ports:
%s`, name, annotations, app, extra, ports)
}

// reachPod is what a pod consists of, with all ports.
func reachPod(indent, name, version, account string) string {
	args := []string{"serve", "--name=" + name, "--version=" + version, "--first="}
	for flag, bases := range map[string][]int{"http": {8080, 8180}, "grpc": {9080}, "tcp": {7080}} {
		var all []string
		for _, base := range bases {
			for i := range authModes {
				all = append(all, fmt.Sprintf(":%d", base+i))
			}
		}
		args = append(args, "--"+flag+"="+strings.Join(all, ","))
	}
	text := fmt.Sprintf(`spec:
  serviceAccountName: %s
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: lateen-testapp:dev
    imagePullPolicy: IfNotPresent
    args: ["%s"]
    env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    readinessProbe: {httpGet: {path: /health, port: 8080}, periodSeconds: 1}
`, account, strings.Join(args, `", "`))
	return indent + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+indent) + "\n"
}

// reachManifest is who calls and is called: a and b, in two versions, have sidecars, and so have the pods of db; t has none. No pod has the name of a
// Service: in the pod itself that would mean its own address.
func reachManifest() string {
	var text strings.Builder
	for _, account := range []string{"a", "b"} {
		fmt.Fprintf(&text, "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s}\n", account)
	}
	headless := "  clusterIP: None\n"
	text.WriteString(reachService("a", "a", "", behind, authModes))
	text.WriteString(reachService("b", "b", "", behind, authModes))
	text.WriteString(reachService("t", "t", "", behind, []string{"NONE", "PERMISSIVE", ""}))
	text.WriteString(reachService("headless", "b", headless, 0, authModes))
	text.WriteString(reachService("db", "db", headless, 0, authModes))
	for _, pod := range []struct{ name, app, version, account, annotations string }{
		{"a-v1", "a", "v1", "a", ""},
		{"b-v1", "b", "v1", "b", ""},
		{"b-v2", "b", "v2", "b", ""},
		{"t-v1", "t", "v1", "default", `sidecar.istio.io/inject: "false"`},
	} {
		fmt.Fprintf(&text, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {app: %s, version: %s}, annotations: {%s}}\n%s",
			pod.name, pod.app, pod.version, pod.annotations, reachPod("", pod.app, pod.version, pod.account))
	}
	fmt.Fprintf(&text, `---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
%s`, reachPod("    ", "$(POD)", "v1", "default"))
	return text.String()
}

// address reads one from the status of an object.
func (s *space) address(object, path string) string {
	s.t.Helper()
	return strings.TrimSpace(s.kubectl("get", object, "-o", "jsonpath={"+path+"}"))
}

// hops lists the rows of one caller.
func (s *space) hops(from string, to []destination) []hop {
	account := strings.TrimSuffix(from, "-v1")
	proves := from != "t-v1"
	var all []hop
	for _, d := range to {
		for _, w := range wires {
			for i, mode := range authModes {
				expected := d.answer
				switch {
				case !d.proves && mode == "MUTUAL_TLS":
					mode = "left out" // nobody could prove anything there
				case d.proves && !proves && mode == "MUTUAL_TLS":
					expected = "no answer"
				}
				if w.tellsCaller && expected != "no answer" {
					expected += map[bool]string{true: ", called by " + account, false: ", called in plain text"}[proves && d.proves && mode != "NONE"]
				}
				for _, name := range []struct{ form, host string }{
					{"short", d.name},
					{"namespace", d.name + "." + s.name},
					{"full", d.name + "." + s.name + ".svc.cluster.local"},
					{"address", d.vip},
				} {
					url := fmt.Sprintf("%s://%s:%d%s", w.scheme, name.host, d.port(w.port+i), w.path)
					all = append(all, hop{from: from, to: d.name, protocol: w.protocol, name: name.form, mode: mode, url: url, tellsCaller: w.tellsCaller, expected: expected})
				}
			}
		}
	}
	return all
}

var provenAccount = regexp.MustCompile(`URI=spiffe://[^;,"]*/sa/([^;,"/]+)`)

// told says who has answered and who that has seen calling, as [hop.expected], and which version or pod it was.
func told(r testapp.Result, tellsCaller bool) (seen, by string) {
	peer := r.Header["seen-peer"] // over gRPC
	switch {
	case r.Error != "":
		return "no answer", r.Error
	case r.Answer != nil:
		seen, by, peer = r.Answer.Name, r.Answer.Version, r.Answer.Header["X-Forwarded-Client-Cert"]
	default:
		who, _, _ := strings.Cut(r.Body, ": ")
		seen, by, _ = strings.Cut(who, " ")
	}
	switch proven := provenAccount.FindStringSubmatch(peer); {
	case !tellsCaller:
	case proven != nil:
		seen += ", called by " + proven[1]
	default:
		seen += ", called in plain text"
	}
	return seen, by
}

const timesEach = 2 // that each URL is asked

// walk has one caller ask for all of its rows by one command, and notes what it has seen.
func (s *space) walk(rows []hop) error {
	args := []string{"exec", "pod/" + rows[0].from, "-c", "app", "--", "testapp", "client"}
	args = append(args, "--fresh", "--body=hello", "--timeout=10s", fmt.Sprintf("--count=%d", timesEach))
	for _, row := range rows {
		args = append(args, row.url)
	}
	out, err := s.try(s.t.Context(), "", args...)
	if err != nil {
		return err
	}
	results, err := decode[testapp.Result](out)
	if err != nil || len(results) != timesEach*len(rows) {
		return fmt.Errorf("%d answers for %d URLs: %w", len(results), len(rows), err)
	}
	for i := range rows {
		seen, by := map[string]bool{}, map[string]bool{}
		for _, r := range results[timesEach*i : timesEach*(i+1)] {
			what, who := told(r, rows[i].tellsCaller)
			seen[what], by[who] = true, true
		}
		rows[i].seen = strings.Join(slices.Sorted(maps.Keys(seen)), " | ")
		rows[i].by = strings.Join(slices.Sorted(maps.Keys(by)), " | ")
	}
	return nil
}

// table writes rows one below the other.
func table(rows []hop) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FROM\tTO\tPROTOCOL\tNAME\tMODE\tEXPECTED\tSEEN\tBY")
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join([]string{r.from, r.to, r.protocol, r.name, r.mode, r.expected, r.seen, r.by}, "\t"))
	}
	_ = w.Flush() // into a text nothing can fail
	return text.String()
}

// Workloads with and without a sidecar reach one another, in every protocol, by every name, in every mode of mutual TLS: only who can prove nothing is
// refused where proof is wanted. Requests are told who has called, and a service with two versions answers in both.
func TestReachability(t *testing.T) {
	t.Parallel()
	s := injectedSpace(t)
	s.apply(reachManifest())
	s.rolledOut("statefulset/db")
	s.ready("a-v1", "b-v1", "b-v2", "t-v1")

	less := func(pod int) int { return pod - behind }
	same := func(pod int) int { return pod }
	to := []destination{
		{"a", "a", s.address("service/a", ".spec.clusterIP"), less, true},
		{"b", "b", s.address("service/b", ".spec.clusterIP"), less, true},
		{"t", "t", s.address("service/t", ".spec.clusterIP"), less, false},
		{"headless", "b", s.address("pod/b-v2", ".status.podIP"), same, true},
		{"db-0.db", "db-0", s.address("pod/db-0", ".status.podIP"), same, true},
		{"db-1.db", "db-1", s.address("pod/db-1", ".status.podIP"), same, true},
	}
	callers := make([][]hop, 3)
	var walks sync.WaitGroup
	for i, from := range []string{"a-v1", "b-v1", "t-v1"} {
		callers[i] = s.hops(from, to)
		s.await("the DNS, the node and the proxies know of all", func() error { return s.known(from, to) })
		walks.Go(func() {
			if err := s.walk(callers[i]); err != nil {
				t.Error(err)
			}
		})
	}
	walks.Wait()

	rows := slices.Concat(callers...)
	t.Logf("%d rows\n%s", len(rows), table(rows))
	differs := slices.DeleteFunc(slices.Clone(rows), func(r hop) bool { return r.seen == r.expected })
	if len(differs) > 0 {
		t.Errorf("%d of %d rows are not as expected\n%s", len(differs), len(rows), table(differs))
	}
	versions := map[string]map[string]bool{}
	for _, r := range rows {
		if r.to != "b" || r.expected == "no answer" {
			continue
		}
		what := r.from + " by " + r.protocol
		if versions[what] == nil {
			versions[what] = map[string]bool{}
		}
		for by := range strings.SplitSeq(r.by, " | ") {
			versions[what][by] = true
		}
	}
	for what, seen := range versions {
		if len(seen) != 2 {
			t.Errorf("%s sees only %v of b", what, slices.Sorted(maps.Keys(seen)))
		}
	}
}

// known returns whether a caller reaches every destination in plain text, by name and by address.
func (s *space) known(from string, to []destination) error {
	var rows []hop
	for _, r := range s.hops(from, to) {
		if r.mode == "NONE" && r.protocol == "TCP" && r.name != "full" {
			rows = append(rows, r)
		}
	}
	if err := s.walk(rows); err != nil {
		return err
	}
	for _, r := range rows {
		if r.seen != r.expected {
			return fmt.Errorf("from %s to %s: %s", from, r.url, cmp.Or(r.by, r.seen))
		}
	}
	return nil
}
