package local

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// dependent is a mesh in which front waits for middle, which waits for back and for what runs elsewhere.
const dependent = `
apiVersion: lateen.dev/v1alpha1
kind: Mesh
metadata: {name: town}
spec:
  services:
    front:
      ports: [{name: http, port: 80}]
      workloads:
        v1: {command: [APP], dependsOn: [middle]}
    middle:
      ports: [{name: http, port: 80}]
      workloads:
        v1: {command: [APP], dependsOn: [back, db]}
    back:
      ports: [{name: http, port: 80}, {name: tcp-x, port: 81}]
      workloads:
        v1: {command: [BACK]}
    db:
      ports: [{name: mysql, port: 3306}]
      workloads:
        v1: {address: "ELSEWHERE"}
`

// firsts returns, for each workload of the mesh, the number of the first line in which the control plane was told of
// it, and the first in which it took requests.
func (w *town) firsts() (started, healthy map[string]int) {
	w.t.Helper()
	started, healthy = map[string]int{}, map[string]int{}
	for n, line := range w.told() {
		if line.Registry == nil {
			continue
		}
		for _, m := range line.Registry.Workloads {
			if _, seen := started[m.Name]; !seen {
				started[m.Name] = n
			}
		}
		for _, set := range line.Registry.Endpoints {
			for _, e := range set.Endpoints {
				if _, seen := healthy[e.Workload]; !seen {
					healthy[e.Workload] = n
				}
			}
		}
	}
	return started, healthy
}

// A workload starts when those of the services that it depends on are ready; the mesh is not said to run before.
func TestDependentsWait(t *testing.T) {
	t.Parallel()
	w := newTown(t, "")
	release := filepath.Join(w.dir(), "release")
	w.write(strings.Replace(dependent, "BACK", `sh, -c, "while [ ! -e `+release+` ]; do sleep 0.05; done; exec $0 app", `+os.Args[0], 1))
	w.start()
	if err := awaitFile(t.Context(), filepath.Join(w.config.StateDir, toldFile)); err != nil {
		t.Fatal(err)
	}
	w.awaitEndpoints("db", "db-v1-0 healthy")
	if started, _ := w.firsts(); len(started) != 1 {
		t.Errorf("started before the first is ready: %v", started)
	}
	if strings.Contains(w.out.String(), "the door is") {
		t.Error("the mesh is said to run while some wait")
	}
	if err := os.WriteFile(release, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w.awaitText(w.out, "the door is")
	started, healthy := w.firsts()
	for _, pair := range [][2]string{{"back-v1-0", "middle-v1-0"}, {"middle-v1-0", "front-v1-0"}} {
		if healthy[pair[0]] >= started[pair[1]] {
			t.Errorf("%s was ready in line %d, and %s started in line %d", pair[0], healthy[pair[0]], pair[1], started[pair[1]])
		}
	}
	if !strings.Contains(w.out.String(), "4 of 4 ready") {
		t.Error("not all are ready")
	}
	// An edit of one that is depended on starts nothing else again.
	pid := w.get(w.url("front", "front-v1-0", "/pid"))
	w.write(strings.Replace(dependent, "[BACK]", "[APP, other]", 1))
	w.awaitEndpoints("back", "back-v1-1 healthy")
	if again := w.get(w.url("front", "front-v1-0", "/pid")); again != pid {
		t.Error("the application was started again")
	}
}

// What never gets ready is waited for as long as it has time to get ready, and no longer.
func TestDependentsWaitNotForEver(t *testing.T) {
	t.Parallel()
	w := newTown(t, strings.Replace(dependent, "[BACK]", `[sleep, "1000"], ready: {timeout: 300ms}`, 1))
	w.running()
	w.awaitText(w.out, "middle-v1-0 is started, though back-v1 is not ready after 300ms")
	w.awaitEndpoints("front", "front-v1-0 healthy")
	if strings.Contains(w.out.String(), "front-v1-0 is started, though") {
		t.Error("front did not wait for middle")
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	const bound = time.Minute
	w := &Workload{Name: "back-v1", Type: mesh.Sidecar, Replicas: 2, Ready: Ready{Timeout: bound}}
	begin := time.Date(2017, 11, 6, 0, 0, 0, 0, time.UTC)
	first, second := begin, begin.Add(time.Second)
	for name, c := range map[string]struct {
		members []*member
		ready   bool
		until   time.Time
	}{
		"none":          {nil, false, time.Time{}},
		"one started":   {[]*member{{is: coming, began: first}}, false, time.Time{}},
		"both started":  {[]*member{{is: up, began: first}, {is: coming, began: second}}, false, second.Add(bound)},
		"one ready":     {[]*member{{is: failed, began: first}, {is: inForce, began: second}}, false, first.Add(bound)},
		"both ready":    {[]*member{{is: inForce, began: first}, {is: inForce, began: second}}, true, time.Time{}},
		"one leaves":    {[]*member{{is: inForce, leaving: true}, {is: inForce, began: second}}, false, time.Time{}},
		"one more":      {[]*member{{is: inForce}, {is: inForce}, {is: coming, began: second}}, true, time.Time{}},
		"of the old":    {[]*member{{is: inForce}, {is: inForce}, {is: coming}, {is: coming}}, true, time.Time{}},
		"of another":    {[]*member{{is: inForce}, {is: inForce, instance: &Instance{Workload: &Workload{Name: "other"}}}}, false, time.Time{}},
		"failed, later": {[]*member{{is: failed, began: second}, {is: failed, began: first}}, false, second.Add(bound)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crew := &crew{members: map[mesh.ProxyID]*member{}}
			for n, m := range c.members {
				if m.instance == nil {
					m.instance = &Instance{Workload: w}
				}
				crew.members[mesh.ProxyID(strconv.Itoa(n))] = m
			}
			if ready, until := crew.ready(w); ready != c.ready || !until.Equal(c.until) {
				t.Errorf("%v, until %v; want %v, until %v", ready, until, c.ready, c.until)
			}
		})
	}
}

// A workload knows its local addresses, which are those that the control plane is told, also when its application is
// started again. When a service that it names goes, that is told, and it runs on; other edits still count.
func TestLocalAddresses(t *testing.T) {
	t.Parallel()
	town := strings.Replace(dependent, "[APP], dependsOn: [back, db]", `[APP, "${UPSTREAM_BACK_TCP_X}"], env: {DB: "${UPSTREAM_DB_3306_PORT}"}`, 1)
	town = strings.Replace(town, "[BACK]", "[APP]", 1)
	w := newTown(t, town)
	w.running()
	middle := func() *mesh.Workload {
		for _, m := range w.last().Workloads {
			if m.Name == "middle-v1-0" {
				return m
			}
		}
		return nil
	}
	m := middle()
	if len(m.Upstreams) != 2 || m.Upstreams[0].Host != "back.default.svc.cluster.local" || m.Upstreams[0].Port != 81 || m.Upstreams[1].Port != 3306 {
		t.Fatalf("upstreams %+v", m.Upstreams)
	}
	address := func(n int) string { return m.Address + ":" + strconv.Itoa(m.Upstreams[n].Listen) }
	addresses := func() (list []string) {
		for line := range strings.Lines(w.get(w.url("middle", "middle-v1-0", "/env"))) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "UPSTREAM_") && !strings.Contains(line, "_HOST=") && !strings.Contains(line, "_PORT=") {
				list = append(list, line)
			}
		}
		slices.Sort(list)
		return list
	}
	want := []string{
		"UPSTREAM_BACK_81=" + address(0), "UPSTREAM_BACK_TCP_X=" + address(0),
		"UPSTREAM_DB_3306=" + address(1), "UPSTREAM_DB_MYSQL=" + address(1),
	}
	if diff := cmp.Diff(want, addresses()); diff != "" {
		t.Error(diff)
	}
	w.awaitText(w.out, "app "+address(0)+"\n")

	pid := w.get(w.url("middle", "middle-v1-0", "/pid"))
	number, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	url := w.url("middle", "middle-v1-0", "/pid")
	if err := syscall.Kill(number, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.await("the application to be back", func() bool {
		pid, err = get(url)
		return err == nil && pid != strconv.Itoa(number)
	})
	w.awaitEndpoints("middle", "middle-v1-0 healthy")
	if diff := cmp.Diff(want, addresses()); diff != "" {
		t.Error(diff)
	}

	withoutDB := town[:strings.Index(town, "    db:")]
	w.write(strings.Replace(withoutDB, "[APP], dependsOn: [middle]", "[APP, edited], dependsOn: [middle]", 1))
	w.awaitText(w.err, "spec.services.middle.workloads.v1.env.DB: there is no variable ${UPSTREAM_DB_3306_PORT}")
	w.awaitEndpoints("front", "front-v1-1 healthy")
	w.await("db to be gone", func() bool { return !known(w.last(), "db") })
	if again := w.get(w.url("middle", "middle-v1-0", "/pid")); again != pid {
		t.Error("the application was started again")
	}
	w.write(strings.Replace(town, "UPSTREAM_BACK_TCP_X", "UPSTREAM_BACK_80", 1))
	w.awaitEndpoints("middle", "middle-v1-1 healthy")
}

// Settings are told to the control plane, and nothing is started again for them.
func TestSettingsAreEdited(t *testing.T) {
	t.Parallel()
	w := newTown(t, twoServices)
	bundle, _ := pair(t)
	if err := os.WriteFile(filepath.Join(w.dir(), "ca.pem"), []byte(bundle), 0o600); err != nil {
		t.Fatal(err)
	}
	w.config.Environ = append(w.config.Environ, "SSL_CERT_FILE="+filepath.Join(w.dir(), "ca.pem"))
	w.running()
	want := &mesh.Settings{ConnectTimeout: mesh.Duration(time.Second), CABundle: filepath.Join(w.dir(), "ca.pem")}
	if diff := cmp.Diff(want, w.last().Settings); diff != "" {
		t.Error(diff)
	}
	var pids []string
	for _, s := range []string{"web", "shop"} {
		pids = append(pids, w.get(w.url(s, s+"-v1-0", "/pid")))
	}
	w.write(strings.Replace(twoServices, "spec:\n", `spec:
  settings: {connectTimeout: 3s, dnsResolvers: [192.0.2.1], accessLogFile: ""}
`, 1))
	want.ConnectTimeout, want.DNSResolvers, want.NoAccessLog = mesh.Duration(3*time.Second), []string{"192.0.2.1:53"}, true
	w.await("the settings", func() bool { return cmp.Equal(want, w.last().Settings) })
	for n, s := range []string{"web", "shop"} {
		if again := w.get(w.url(s, s+"-v1-0", "/pid")); again != pids[n] {
			t.Errorf("%s was started again", s)
		}
	}
}

// The control plane is told the certificates of the door and its port for TLS, which the flag decides.
func TestDoorWithTLS(t *testing.T) {
	t.Parallel()
	claims := newPorts()
	var doors [2]int
	for i := range doors {
		port, err := claims.take()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { claims.release(port) })
		doors[i] = port
	}
	w := newTown(t, strings.Replace(twoServices, "spec:\n", `spec:
  ingress: {port: 1, httpsPort: 2, certificates: {shop-tls: {cert: tls.crt, key: tls.key}}}
`, 1))
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(w.dir(), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	chain, key := pair(t)
	write("tls.crt", chain)
	write("tls.key", key)
	w.config.IngressPort, w.config.HTTPSPort = doors[0], doors[1]
	w.running()
	w.awaitText(w.out, "the door is "+strconv.Itoa(doors[0])+", with TLS "+strconv.Itoa(doors[1]))
	r := w.last()
	if m := r.Workloads[0]; m.Type != mesh.Ingress || m.Outbound != doors[0] || m.DoorTLS != doors[1] || m.Labels["istio"] != "ingress" {
		t.Errorf("the ingress is %+v", m)
	}
	if len(r.Certificates) != 1 {
		t.Fatalf("%d certificates", len(r.Certificates))
	}
	if c := r.Certificates[0]; c.Namespace != "default" || c.Name != "shop-tls" || c.Chain != chain || c.Key.Reveal() != key {
		t.Errorf("the certificate is %+v", c)
	}

	// The files are watched themselves. A certificate without its key changes nothing; with it, it is told.
	chain, key = pair(t)
	write("tls.crt", chain)
	w.awaitText(w.err, "this is no certificate with its key")
	if c := w.last().Certificates[0]; c.Chain == chain {
		t.Error("half a certificate was told")
	}
	write("tls.key", key)
	w.await("the new certificate", func() bool {
		c := w.last().Certificates[0]
		return c.Chain == chain && c.Key.Reveal() == key
	})
	w.awaitText(w.out, "Mesh default/town is good again")
	if n := strings.Count(w.err.String(), "no certificate with its key"); n != 1 {
		t.Errorf("it was told %d times", n)
	}
}
