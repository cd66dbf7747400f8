package meshtest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/netns"
)

// The control plane takes sidecars of the version before (decision 41). What these were is recorded in [pastFolder], and is not changed
// by changes of the code: a test that fails here says that sidecars which run somewhere would fail. At a release the folder is recorded
// anew, for the version that is released:
//
//	go test ./internal/meshtest -run '^TestPreviousVersion$' -record
var recording = flag.Bool("record", false, "record what sidecars of this version are and say, for later versions to be tried with")

// pastFolder has what sidecars of a version were: for each proxy what its Envoy began with, and what it and the control plane said.
const pastFolder = "testdata/previous/0.1"

// past is a proxy of the version before.
type past struct {
	Bootstrap json.RawMessage `json:"bootstrap"`
	Arguments []string        `json:"arguments"` // of its Envoy
	// Environment is what its agent has set for it.
	Environment []string      `json:"environment"`
	Messages    []pastMessage `json:"messages"` // on its stream with the control plane, in their order
}

// pastMessage is one of two things.
type pastMessage struct {
	Request  json.RawMessage `json:"request,omitempty"` // a DeltaDiscoveryRequest, without Envoy's extensions
	Response *pastResponse   `json:"response,omitempty"`
}

// pastResponse is what was in a response, without the bodies.
type pastResponse struct {
	Type    string   `json:"type"`
	Names   []string `json:"names,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

// places are the words in recordings for what differs from run to run.
func places(m *meshtest.Mesh) (hide, show *strings.Replacer) {
	prefix := m.Secure[:strings.LastIndexByte(m.Secure, '.')+1]
	return strings.NewReplacer(m.Dir, "/DIR", prefix, "SUBNET."), strings.NewReplacer("/DIR", m.Dir, "SUBNET.", prefix)
}

// scene is a mesh with everything that proxies ask for.
type scene struct {
	name string
	// play starts the mesh. If it is to, it sends requests, which must be answered.
	play func(t *testing.T, config meshtest.Config, requests bool) *meshtest.Mesh
}

var scenes = []scene{{"one-machine", oneMachine}, {"captured", capturedPods}}

const pastDoor = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: door}
spec:
  tls: [{hosts: [shop.example.com], secretName: shop-tls}]
  defaultBackend: {service: {name: reviews, port: {number: 9080}}}
`

// oneMachine is a mesh of sidecars that are HTTP proxies, and an ingress.
func oneMachine(t *testing.T, config meshtest.Config, requests bool) *meshtest.Mesh {
	m := meshtest.NewWith(t, config)
	a := newAuthority(t)
	secret, _ := secretOf(t, a, "shop-tls", "shop.example.com")
	m.TryApply(secret + "---\n" + pastDoor + "---\n" + toVersion("reviews", "v1")) // first, so that the order of what is sent depends on nothing else
	m.Start("reviews", "v1", meshtest.Named("v1"))
	m.StartSpec(meshtest.Spec{Service: "db", Version: "v1", Ports: []meshtest.SpecPort{{Name: "tcp", Number: 3306, Target: sayingDB(t)}}})
	caller := m.StartSpec(meshtest.Spec{
		Service: "caller", Version: "v1", Ports: []meshtest.SpecPort{{Name: "http", Number: meshtest.ServicePort, App: meshtest.Named("caller")}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("db"), Port: 3306}, {Host: meshtest.HostOf("reviews"), Port: meshtest.ServicePort}},
	})
	door := m.Door()
	if !requests {
		return m
	}
	wantBody(t, caller, "http://reviews:9080/", "v1")
	awaitEntry(t, caller, map[string]any{"source": string(caller.ID()), "authority": "reviews:9080"})
	if status, body := caller.Get("http://nowhere:9080/"); status != http.StatusBadGateway {
		t.Errorf("a name that nobody knows: %d %q", status, body)
	}
	if body, err := meshtest.Fetch(t.Context(), direct(), "http://"+caller.Upstream("reviews", meshtest.ServicePort)+"/"); err != nil || body != "v1" {
		t.Errorf("by its local address: %q %v", body, err)
	}
	wantBytes(t, caller.Upstream("db", 3306))
	wantBody(t, door, "http://any.example.com/", "v1")
	if _, body, err := printOf(t, door, a.pool, "https://shop.example.com/"); err != nil || body != "200 v1" {
		t.Errorf("by TLS: %q %v", body, err)
	}
	wantProven(t, m)
	return m
}

// capturedPods is a mesh of sidecars in pods, whose traffic is captured.
func capturedPods(t *testing.T, config meshtest.Config, requests bool) *meshtest.Mesh {
	m := meshtest.NewCaptured(t, config)
	m.TryApply(toVersion("reviews", "v1"))
	reviews := m.StartSpec(capturedSpec("reviews", "v1", meshtest.Named("v1")))
	db := m.StartSpec(bytesSpec("db", "v1"))
	sayWhoCalls(db.Pod().Listen(":9090"), "v1")
	caller := m.CapturedCaller("shop", nil)
	if !requests {
		return m
	}
	wantBody(t, caller, "http://reviews:9080/", "v1")
	wantBody(t, caller, "http://"+reviews.Address+":9080/", "v1")
	awaitEntry(t, caller, map[string]any{"source": string(caller.ID()), "authority": "reviews:9080"})
	if said := firstLine(t, caller.Pod(), m.ServiceAddress("db")+":9090"); !strings.HasPrefix(said, "v1 ") {
		t.Errorf("bytes: %q", said)
	}
	wantProven(t, m)
	return m
}

// wantProven fails unless all proxies are in sync and have proven who they are.
func wantProven(t *testing.T, m *meshtest.Mesh) {
	t.Helper()
	var left []api.Proxy
	meshtest.Await(t, "all proxies to be in sync", func() bool {
		proxies, err := m.API.Proxies(t.Context())
		left = slices.DeleteFunc(proxies, func(p api.Proxy) bool { return p.Connected && p.Current && len(p.Refused) == 0 && p.Identity != "" })
		return err == nil && len(left) == 0
	})
}

// Sidecars of the version before work with this version's control plane: their Envoys begin with what they were given, get everything,
// and requests pass. And the requests that they sent are answered with names that they know.
func TestPreviousVersion(t *testing.T) {
	t.Parallel()
	netns.Run(t, func(t *testing.T) {
		if *recording {
			record(t)
			return
		}
		for _, s := range scenes {
			t.Run(s.name+" sidecars", func(t *testing.T) {
				s.play(t, meshtest.Config{Agent: func(c agent.Config) func(context.Context) error { return newOldSidecar(t, s, c).run }}, true)
			})
			t.Run(s.name+" requests", func(t *testing.T) {
				r := &replays{t: t, scene: s}
				m := s.play(t, meshtest.Config{Agent: r.agent}, false)
				r.finish(m)
			})
		}
		t.Run("contract", func(t *testing.T) { keepContract(t) })
	})
}

// readPast reads what a proxy of the version before was.
func readPast(t *testing.T, s scene, proxy string) past {
	t.Helper()
	name, _, _ := strings.Cut(proxy, ".")
	var p past
	readRecorded(t, filepath.Join(s.name, name+".json"), &p)
	return p
}

// readRecorded reads a file of the recording.
func readRecorded(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(pastFolder, name))
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Errorf("what was recorded: %v", fmt.Errorf("%s: %w", name, err))
	}
}

// sayingDB runs a server for bytes, which says who it is.
func sayingDB(t *testing.T) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	sayWhoCalls(l, "db")
	return l.Addr().String()
}

// wantBytes fails unless the server for bytes answers at an address.
func wantBytes(t *testing.T, address string) {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	said, err := bufio.NewReader(c).ReadString(' ')
	if err != nil || said != "db " {
		t.Errorf("%s says %q %v", address, said, err)
	}
}
