package handover_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const host = mesh.Host("a.default.svc.cluster.local")

var realm = mesh.Realm{Domain: "cluster.local", TrustDomain: "mesh.example", CertTTL: mesh.DefaultCertTTL}

func service(policy mesh.AuthPolicy) *mesh.Service {
	return &mesh.Service{Host: host, Name: "a", Namespace: "default", Ports: []mesh.Port{{Name: "http", Number: 80, AuthPolicy: policy}}}
}

func endpoints(accounts ...string) *mesh.EndpointSet {
	set := &mesh.EndpointSet{Host: host}
	for _, account := range accounts {
		set.Endpoints = append(set.Endpoints, mesh.Endpoint{Account: account})
	}
	return set
}

func want(policy mesh.AuthPolicy, accounts ...string) handover.Target {
	return handover.Want(host, service(policy), endpoints(accounts...), &mesh.DefaultSettings, realm)
}

// follow goes from a stance to a target, each step after the one before was confirmed, and tells how.
func follow(t *testing.T, now *mesh.Stance, to handover.Target) (end *mesh.Stance, story string) {
	t.Helper()
	lines := []string{show(now)}
	note := func(s *mesh.Stance) *mesh.Stance {
		if s != now {
			lines = append(lines, show(s))
		}
		return s
	}
	now = note(handover.Begin(now, to, false))
	for range 10 {
		next := note(handover.Step(now, now, to))
		if next == now {
			return now, strings.Join(lines, "\n")
		}
		now = next
	}
	t.Fatalf("no end:\n%s", strings.Join(lines, "\n"))
	return nil, ""
}

// The way from each policy to each other one.
func TestWays(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, from := range mesh.AuthPolicies() {
		for _, to := range mesh.AuthPolicies() {
			if from != to {
				_, story := follow(t, handover.Begin(nil, want(from, "x"), false), want(to, "x"))
				fmt.Fprintf(&all, "%s\n\n", strings.ReplaceAll(story, "; accepts x, calls x", ""))
			}
		}
	}
	const ways = `80 NONE plain/plain
80 PERMISSIVE both/plain
80 PERMISSIVE both/mtls

80 NONE plain/plain
80 MUTUAL_TLS both/plain
80 MUTUAL_TLS both/mtls
80 MUTUAL_TLS mtls/mtls

80 PERMISSIVE both/mtls
80 NONE both/mtls
80 NONE both/plain
80 NONE plain/plain

80 PERMISSIVE both/mtls
80 MUTUAL_TLS both/mtls
80 MUTUAL_TLS mtls/mtls

80 MUTUAL_TLS mtls/mtls
80 NONE both/mtls
80 NONE both/plain
80 NONE plain/plain

80 MUTUAL_TLS mtls/mtls
80 PERMISSIVE both/mtls

`
	if diff := cmp.Diff(ways, all.String()); diff != "" {
		t.Error(diff)
	}
}

// An endpoint with a new identity is called when all callers accept that, and the old identity goes last. A host that loses
// all its endpoints for a while keeps what it had.
func TestIdentities(t *testing.T) {
	t.Parallel()
	now := handover.Begin(nil, want("", "x"), false)
	var all strings.Builder
	for _, accounts := range [][]string{{"x", "y"}, {"y"}, {}, {""}, {"y", "y"}, {"z"}} {
		var story string
		now, story = follow(t, now, want("", accounts...))
		fmt.Fprintf(&all, "%q\n%s\n", accounts, strings.ReplaceAll(story, "80 PERMISSIVE both/mtls; ", ""))
	}
	const wanted = `["x" "y"]
accepts x, calls x
accepts x y, calls x
accepts x y, calls x y
["y"]
accepts x y, calls x y
accepts x y, calls y
accepts y, calls y
[]
accepts y, calls y
[""]
accepts y, calls y
["y" "y"]
accepts y, calls y
["z"]
accepts y, calls y
accepts y z, calls y
accepts y z, calls z
accepts z, calls z
`
	if diff := cmp.Diff(wanted, all.String()); diff != "" {
		t.Error(diff)
	}
}

// Identities come from the endpoints' accounts in the service's namespace, and from the service.
func TestWant(t *testing.T) {
	t.Parallel()
	svc := service("")
	svc.Identities = []string{"spiffe://other/ns/a/sa/b"}
	svc.Ports = append(svc.Ports, mesh.Port{Name: "other", Number: 80, AuthPolicy: mesh.AuthNone}, mesh.Port{Name: "x", Number: 81, AuthPolicy: mesh.AuthNone})
	got := handover.Want(host, svc, endpoints("x", "", "x"), &mesh.Settings{AuthPolicy: mesh.AuthMutualTLS, MTLSExcluded: []mesh.Host{host}}, realm)
	if diff := cmp.Diff(handover.Target{
		Host: host, Identities: []string{"spiffe://mesh.example/ns/default/sa/x", "spiffe://other/ns/a/sa/b"},
		Ports: []mesh.PortStance{{Port: 80, Policy: mesh.AuthMutualTLS, Accept: mesh.Both, Speak: mesh.Plain}, {Port: 81, Policy: mesh.AuthNone, Accept: mesh.Plain, Speak: mesh.Plain}},
	}, got); diff != "" {
		t.Error(diff)
	}
	if !slices.Equal(svc.Identities, []string{"spiffe://other/ns/a/sa/b"}) {
		t.Errorf("the service names %v now", svc.Identities)
	}
}

// Who always has something new does not wait for ever: what was confirmed is gone on from, whatever has come since.
func TestNewerChangesDoNotStarve(t *testing.T) {
	t.Parallel()
	now := handover.Begin(nil, want(mesh.AuthNone, "x"), false)
	var confirmed *mesh.Stance
	accounts := []string{"x"}
	for i := range 6 {
		accounts = append(accounts, fmt.Sprint("y", i))
		before := now
		now = handover.Begin(now, want(mesh.AuthMutualTLS, accounts...), false) // while everybody confirms the one before
		if confirmed = before; i > 0 {
			now = handover.Step(confirmed, now, want(mesh.AuthMutualTLS, accounts...))
		}
	}
	if p := now.Port(80); p.Accept != mesh.TLS || p.Speak != mesh.TLS || len(now.Admitted) != len(accounts)-1 {
		t.Errorf("after six rounds with something new in each: %s", show(now))
	}
}
