package admin_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
)

func (p *proxies) Moving() []handover.Moving { return p.moving }

func (p *proxies) Await(_ context.Context, revision int64, _ time.Duration) []handover.Moving {
	if revision == 4 {
		return p.moving
	}
	return nil
}

// moving is a host of which callers are to speak mutual TLS on one port and are to accept one more identity.
func moving(host mesh.Host) handover.Moving {
	return handover.Moving{
		Course: &handover.Course{
			Host: host, Last: 7, Since: time.Unix(9, 0), Ports: []int{0, 80},
			Now: &mesh.Stance{
				Host: host, Ports: []mesh.PortStance{{Port: 80, Policy: mesh.AuthMutualTLS, Accept: mesh.Both, Speak: mesh.Plain}},
				Identities: []string{"spiffe://a", "spiffe://b"}, Admitted: []string{"spiffe://a"},
			},
			Want: handover.Target{
				Host: host, Ports: []mesh.PortStance{{Port: 80, Policy: mesh.AuthMutualTLS, Accept: mesh.TLS, Speak: mesh.TLS}},
				Identities: []string{"spiffe://a", "spiffe://b"},
			},
		},
		Standing: handover.Standing{
			Reached: true, Proxies: 12, Waiting: []mesh.ProxyID{"p.default", "q.default"}, Away: []mesh.ProxyID{"r.default"},
			Refused: []handover.Refusal{
				{Proxy: "s.default", Hosts: []mesh.Host{"a.default"}, Reason: "no good"}, {Proxy: "t.default", Hosts: []mesh.Host{"other"}},
			},
		},
	}
}

func TestHandovers(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir())
	if list, err := s.client.Handovers(t.Context()); err != nil || list == nil || len(list) != 0 {
		t.Errorf("nothing moves, and still: %v, %v", list, err)
	}
	s.proxies.moving = []handover.Moving{moving("a.default")}
	const waits = "; waiting for 3 of 12 proxies, r.default away, refused by s.default"
	row := api.Handover{
		Host: "a.default", Waiting: 3, WaitingFor: []string{"p.default", "q.default"}, Away: []string{"r.default"},
		Refused: []string{"s.default: no good"}, Since: time.Unix(9, 0).UTC(), Revision: 7,
	}
	identities, port := row, row
	identities.Step = "callers accept spiffe://b, whose endpoints are not called yet" + waits
	port.Port, port.Policy, port.Accept, port.Speak, port.Step = 80, mesh.AuthMutualTLS, mesh.Both, mesh.Plain, "servers take both"+waits
	list, err := s.client.Handovers(t.Context())
	if diff := cmp.Diff([]api.Handover{identities, port}, list); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}

	// A revision that moves something is not in force before that is over.
	s.proxies.progress = push.Progress{Reached: true, Concerned: 1, Confirmed: 1}
	for revision, moves := range map[int64]int{4: 1, 5: 0} {
		p, err := s.client.Progress(t.Context(), revision, 0)
		if err != nil || len(p.Handovers) != moves || p.Done() != (moves == 0) {
			t.Errorf("revision %d: %+v, %v", revision, p, err)
		}
	}
	for i := range 30 {
		s.proxies.moving = append(s.proxies.moving, moving(mesh.Host(fmt.Sprint("h", i))))
	}
	if p, err := s.client.Progress(t.Context(), 4, 0); err != nil || len(p.Handovers) != 21 || p.Handovers[20] != "11 more hosts" {
		t.Errorf("of 31 hosts %q, %v", p.Handovers, err)
	}
}
