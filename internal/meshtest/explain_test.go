package meshtest_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

const (
	explainSeed     = 4 // of what is generated; proxies draw by themselves
	explainRounds   = 100
	explainRequests = 90 // in each round
	explainRules    = 9  // likewise
)

// explainKinds must each occur 20 times at least in requests that meet a rule with it, or come that way.
var explainKinds = []string{
	"uri exact", "uri prefix", "uri regex", "header exact", "header prefix", "header regex", "header of one value", "method", "authority", "scheme", "source",
	"source subnet", "destination subnet", "weights", "subset", "redirect", "rewrite", "delay", "delay by header", "abort",
	"abort with gRPC", "abort by header", "append", "cors", "mirror", "preflight", "answer to gRPC", "share of delays",
	"share of aborts", "share by weight", "<default>", "<no-service>", "<no-egress>", "<no-path>", "exact.test", "outside.test",
	string(byA), string(byB), string(tunnel), string(byLocal), string(byDoor), string(byTLS),
}

// What explain says of a request is what a proxy does with it: which rule decides, who answers with what, what the
// application sees, and with which shares.
func TestExplainAgreesWithEnvoy(t *testing.T) {
	t.Parallel()
	w := newExplained(t)
	t.Logf("seed %d", explainSeed)
	number := 0
	for range explainRounds {
		current := map[string]ruled{}
		var some []ruled
		var yaml strings.Builder
		for i := range explainRules {
			name, destination := fmt.Sprintf("r%d", i), "destination: {name: reviews}"
			if i == 0 {
				destination = `destination: {service: "*.outside.test"}`
			}
			made := w.rule(name, destination)
			if i == 0 { // other hosts are reached on the same port, and there is none
				made.yaml = strings.ReplaceAll(made.yaml, "{destination: {name: ratings}, ", "{labels: {version: v2}, ")
			} else {
				some = append(some, made)
			}
			current["default/"+name] = made
			yaml.WriteString(made.yaml + "---\n")
		}
		w.apply(yaml.String())
		var cases []*explained
		for range explainRequests {
			cases = append(cases, &explained{ask: w.ask(number, some), rules: current})
			number++
		}
		w.run(cases)
	}
	w.judge()
}

// explained is a request with what was foretold and what was seen.
type explained struct {
	ask
	rules    map[string]ruled
	decision api.Decision
	answer   answer
}

// explainMesh is a mesh in which what explain says is compared with what proxies do.
type explainMesh struct {
	rules
	t       *testing.T
	mesh    *meshtest.Mesh
	from    map[way]*meshtest.Instance
	clients map[way]*http.Client
	all     []*explained
}

func newExplained(t *testing.T) *explainMesh {
	t.Helper()
	m := meshtest.New(t)
	o := newOutside(t, m)
	world := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(sight("outside", r))
	}))
	t.Cleanup(world.Close)
	m.Start("reviews", "v1", report("reviews v1"))
	m.Start("reviews", "v2", report("reviews v2"))
	m.Start("ratings", "v1", report("ratings v1"))
	a := m.StartSpec(meshtest.Spec{
		Service: "a", Version: "v1", Ports: []meshtest.SpecPort{{Name: "http", Number: meshtest.ServicePort, App: report("a v1")}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("reviews"), Port: meshtest.ServicePort}},
	})
	b, door := m.Caller("b", mesh.Labels{"app": "b"}), m.Door()
	w := &explainMesh{
		t: t, mesh: m, from: map[way]*meshtest.Instance{byA: a, byB: b, tunnel: a, byLocal: a, byDoor: door, byTLS: door},
		rules: rules{
			Rand: rand.New(rand.NewPCG(explainSeed, 0)), a: a.Address, local: a.Upstream("reviews", meshtest.ServicePort),
			outside: world.Listener.Addr().(*net.TCPAddr).Port,
		},
	}
	w.clients = map[way]*http.Client{byA: a.Client(), byB: b.Client()}
	for to, dial := range map[way]dialer{
		tunnel: through(a), byLocal: new(net.Dialer).DialContext, byDoor: from(stranger, door.Proxy()),
		byTLS: from(stranger, net.JoinHostPort(door.Address, strconv.Itoa(door.DoorTLS))),
	} {
		transport := &http.Transport{
			DialContext: dial, MaxIdleConnsPerHost: 64,
			TLSClientConfig: &tls.Config{RootCAs: o.authority.pool, MinVersion: tls.VersionTLS12},
		}
		t.Cleanup(transport.CloseIdleConnections)
		w.clients[to] = &http.Client{Transport: transport}
	}
	for _, c := range w.clients {
		c.Timeout = meshtest.Patience
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	secret, _ := secretOf(t, o.authority, "door", "shop.test", "*.wild.test", "a.b.wild.test", "any.where", "other.test", "secure.test")
	m.Apply(secret + "---\n" + w.outsideObjects())
	return w
}

// apply writes rules and waits until they are in force. Warnings do not matter here: generated rules get into each
// other's way.
func (w *explainMesh) apply(yaml string) {
	w.t.Helper()
	written := w.mesh.TryApply(yaml)
	for _, p := range written.Problems {
		if p.Severity == mesh.Error {
			w.t.Fatalf("%v\n%s", p, yaml)
		}
	}
	w.mesh.InForce(written.Revision)
}

// run asks what becomes of the requests, and sends them.
func (w *explainMesh) run(cases []*explained) {
	w.t.Helper()
	todo := make(chan *explained)
	failed := make(chan error, len(cases))
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for e := range todo {
				if err := w.send(e); err != nil {
					failed <- fmt.Errorf("%s: %w", e.ask, err)
				}
			}
		})
	}
	for _, e := range cases {
		todo <- e
	}
	close(todo)
	running.Wait()
	close(failed)
	for err := range failed {
		w.t.Error(err)
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
	w.all = append(w.all, cases...)
}

// String returns the request for people.
func (a ask) String() string {
	return fmt.Sprintf("%s: %s %s%s %v", a.way, a.method, a.host, a.path, a.header)
}

func (w *explainMesh) send(e *explained) error {
	asked := api.Decide{Proxy: w.from[e.way].ID(), Method: e.method, URL: "http://" + e.host + e.path, Headers: e.header}
	target := &url.URL{Scheme: "http", Host: e.host, Opaque: strings.SplitN(e.path, "?", 2)[0], RawQuery: strings.SplitN(e.path, "?", 2)[1]}
	switch e.way {
	case byTLS:
		target.Scheme = "https"
		asked.Source, asked.URL = stranger, "https://"+e.host+e.path
	case byDoor:
		asked.Source = stranger
	case byA, byB:
		target.Opaque = "//" + e.host + target.Opaque // in full, as to a proxy
	}
	var err error
	if e.decision, err = w.mesh.API.Decide(w.t.Context(), asked); err != nil {
		return err
	}
	req := (&http.Request{Method: e.method, URL: target, Host: e.host, Header: e.header.Clone()}).WithContext(w.t.Context())
	begun := time.Now()
	res, err := w.clients[e.way].Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	e.answer = answer{status: res.StatusCode, header: res.Header, body: string(body), took: time.Since(begun)}
	return err
}

// stranger is the address of the client at the door.
const stranger = "127.0.0.1"

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// from dials one address from another, whatever is asked for.
func from(source, address string) dialer {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		return d.DialContext(ctx, network, address)
	}
}

// through dials an authority through a tunnel of the proxy.
func through(i *meshtest.Instance) dialer {
	return func(ctx context.Context, _, authority string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", i.Proxy())
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", authority, authority)
		// The other side says nothing of itself behind the answer, so that nothing of it is lost with the reader.
		res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodConnect})
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
			return nil, errors.Join(fmt.Errorf("CONNECT %s: %s", authority, res.Status), err, conn.Close())
		}
		return conn, nil
	}
}
