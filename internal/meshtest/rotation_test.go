package meshtest_test

import (
	"bufio"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// shortLife is the shortest that a certificate may have.
const shortLife = 10 * time.Second

// Certificates are renewed under load, all of them several times: no request and no connection fails, callers come to prove
// themselves by each new one, and the streams to the control plane, which end with the certificates that they began with, come
// back without anything being sent again.
func TestLoadRotation(t *testing.T) {
	rotations := 2
	if meshtest.FullLoad() {
		rotations = 10
	}
	r := newRotation(t)
	for range rotations {
		r.await()
	}
	r.reconnected(rotations)
	for _, l := range r.loads {
		l.Stop("certificates are renewed")
	}
	r.bytes.stop(t)
	if n := r.app.shown(); n <= rotations {
		t.Errorf("callers have shown %d certificates in %d rotations", n, rotations)
	}
	for _, i := range r.instances {
		for _, what := range []string{"fail_verify_error", "fail_verify_san", "fail_verify_no_cert"} {
			if text := string(i.Admin("/stats?filter=^listener\\..*\\.ssl\\." + what + "$&usedonly")); text != "" {
				t.Errorf("%s has refused good certificates: %s", i.Name, text)
			}
		}
	}
	r.mesh.Apply(policyFor("{name: reviews}", "lb", "loadBalancing: {name: RANDOM}")) // all are in touch
}

// rotation is a mesh of short-lived certificates, under load on every way.
type rotation struct {
	*testing.T
	mesh      *meshtest.Mesh
	instances []*meshtest.Instance
	app       *witness
	callee    *meshtest.Instance // that the witness runs in
	loads     []*meshtest.Load
	bytes     *chatter
	serials   map[string][]string // by instance, in their order
	certs     map[string]int64    // by instance: how many it has received
	sent      int64
	opened    int64
	shook     int64
}

func newRotation(t *testing.T) *rotation {
	t.Helper()
	m := meshtest.NewWith(t, meshtest.Config{Version: "test", CertTTL: shortLife})
	r := &rotation{T: t, mesh: m, app: &witness{certificates: map[string]bool{}}, serials: map[string][]string{}, certs: map[string]int64{}}
	m.Set(strict)
	// From proxy to proxy, connections to one service stay, and to the other each request has its own.
	r.callee = m.Start("reviews", "v1", r.app.named("reviews"))
	fresh := m.Start("fresh", "v1", r.app.named("fresh"))
	m.Apply(policyFor("{name: fresh}", "one", "circuitBreaker: {simpleCb: {httpMaxRequestsPerConnection: 1}}"))
	db := m.StartSpec(meshtest.Spec{Service: "db", Version: "v1", Ports: []meshtest.SpecPort{{Name: "mysql", Number: bytesPort, Target: greeter(t, "db")}}})
	caller := m.StartSpec(meshtest.Spec{
		Service: "caller", Version: "v1", Ports: []meshtest.SpecPort{{Name: "http", Number: meshtest.ServicePort, App: meshtest.Named("caller")}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("db"), Port: bytesPort}},
	})
	m.Apply(strings.Replace(reviewsDoor, "name: reviews", "name: fresh", 1))
	door := m.Door()
	r.instances = []*meshtest.Instance{r.callee, fresh, db, caller, door}
	r.loads = []*meshtest.Load{
		meshtest.StartLoad(t, caller, reviews),
		meshtest.StartLoad(t, door, "http://door/"),
	}
	r.bytes = startChatter(t, caller.Upstream("db", bytesPort))
	for _, l := range r.loads {
		l.More(requestsBetween)
	}
	for _, i := range r.instances {
		r.renewed(i)
	}
	r.sent, r.opened, r.shook = m.Sent(), m.Opened(), r.handshakes()
	return r
}

// await waits until every instance has another certificate than before, and its Envoy shows it, and until the way to a service
// whose connections stay was proven anew.
func (r *rotation) await() {
	r.Helper()
	for _, i := range r.instances {
		meshtest.Await(r, "another certificate of "+i.Name, func() bool { return r.renewed(i) })
	}
	before := r.shook
	meshtest.Await(r, "new handshakes", func() bool {
		r.shook = r.handshakes()
		return r.shook > before
	})
}

// reconnected waits until proxies have come back to the control plane, which had nothing new for them. A stream lasts for about
// two rotations.
func (r *rotation) reconnected(rotations int) {
	r.Helper()
	want := r.opened + int64(len(r.instances)*rotations/2)
	meshtest.Await(r, "new streams to the control plane", func() bool { return r.mesh.Opened() >= want })
	if now := r.mesh.Sent(); now != r.sent {
		r.Errorf("%d resources were sent, and nothing has changed", now-r.sent)
	}
}

// renewed tells whether an instance has received another certificate, and its Envoy has it.
func (r *rotation) renewed(i *meshtest.Instance) bool {
	r.Helper()
	status, err := agent.ReadStatus(i.Dir)
	if err != nil {
		r.Fatal(err)
	}
	if status.LastError != "" || status.Failures > 0 {
		r.Fatalf("%s: %d failures, the last: %s", i.Name, status.Failures, status.LastError)
	}
	serial := serialOf(r.T, status.Chain)
	if status.Renewals <= r.certs[i.Name] || !slices.Equal(serialsShownBy(r.T, i), []string{serial}) {
		return false
	}
	if slices.Contains(r.serials[i.Name], serial) {
		r.Errorf("%s shows the certificate %s again", i.Name, serial)
	}
	r.serials[i.Name], r.certs[i.Name] = append(r.serials[i.Name], serial), status.Renewals
	return true
}

// handshakes counts those that the service has done to which connections stay.
func (r *rotation) handshakes() int64 {
	r.Helper()
	return r.callee.Stat(fmt.Sprintf("listener.%s_%d.ssl.handshake", r.callee.Address, meshtest.ServicePort))
}

// serialOf returns the serial number of the first certificate in PEM.
func serialOf(t *testing.T, chain string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(chain))
	if block == nil {
		t.Fatalf("no certificate in %q", chain)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c.SerialNumber.Text(16)
}

// serialsShownBy returns the serial numbers of all certificates that an instance's Envoy shows.
func serialsShownBy(t *testing.T, i *meshtest.Instance) []string {
	t.Helper()
	var all struct {
		Certificates []struct {
			Chain []struct {
				Serial string `json:"serial_number"`
			} `json:"cert_chain"`
		} `json:"certificates"`
	}
	if err := json.Unmarshal(i.Admin("/certs"), &all); err != nil {
		t.Fatal(err)
	}
	var serials []string
	for _, c := range all.Certificates {
		for _, link := range c.Chain {
			serials = append(serials, strings.TrimLeft(link.Serial, "0"))
		}
	}
	slices.Sort(serials)
	return slices.Compact(serials)
}

// witness is an application that remembers which certificates its callers have shown.
type witness struct {
	mu           sync.Mutex
	certificates map[string]bool // by their hashes
}

func (w *witness) named(name string) meshtest.App {
	return meshtest.Handler(func(out http.ResponseWriter, req *http.Request) {
		for part := range strings.SplitSeq(req.Header.Get("X-Forwarded-Client-Cert"), ";") {
			if hash, ok := strings.CutPrefix(part, "Hash="); ok {
				w.mu.Lock()
				w.certificates[hash] = true
				w.mu.Unlock()
			}
		}
		fmt.Fprint(out, name)
	})
}

// shown counts the certificates.
func (w *witness) shown() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.certificates)
}

// chatter talks to a server that speaks first, over one connection after the other.
type chatter struct {
	address string
	quit    chan struct{}
	running sync.WaitGroup
	talks   atomic.Int64
	failed  atomic.Pointer[error] // the last one; nil: none
}

const (
	chats     = 4  // at the same time
	exchanges = 20 // on each connection, one every 50 ms
)

func startChatter(t *testing.T, address string) *chatter {
	c := &chatter{address: address, quit: make(chan struct{})}
	for range chats {
		c.running.Go(func() {
			for c.talk() {
			}
		})
	}
	t.Cleanup(func() {
		c.end()
		c.running.Wait()
	})
	return c
}

func (c *chatter) end() {
	select {
	case <-c.quit:
	default:
		close(c.quit)
	}
}

// talk uses one connection, and tells whether to use another one.
func (c *chatter) talk() bool {
	err := c.exchange()
	c.talks.Add(1)
	if err != nil {
		c.failed.Store(&err)
	}
	select {
	case <-c.quit:
		return false
	default:
		return true
	}
}

func (c *chatter) exchange() error {
	conn, err := net.DialTimeout("tcp", c.address, meshtest.Patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(meshtest.Patience)); err != nil {
		return err
	}
	reader := bufio.NewReader(conn)
	if line, err := reader.ReadString('\n'); line != "db\n" {
		return fmt.Errorf("greeted with %q: %w", line, err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for n := range exchanges {
		fmt.Fprintln(conn, n)
		if line, err := reader.ReadString('\n'); line != fmt.Sprintln(n) {
			return fmt.Errorf("exchange %d answered with %q: %w", n, line, err)
		}
		select {
		case <-tick.C:
		case <-c.quit:
			return nil
		}
	}
	return nil
}

// stop ends the talks. None may have failed.
func (c *chatter) stop(t *testing.T) {
	t.Helper()
	c.end()
	c.running.Wait()
	t.Logf("%d connections with bytes", c.talks.Load())
	if err := c.failed.Load(); err != nil {
		t.Errorf("a connection with bytes: %v", *err)
	}
}
