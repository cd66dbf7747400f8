package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// What is kept in the end is the newest, in whichever order it was handed in to be kept at once or later.
func TestNewestIsKept(t *testing.T) {
	t.Parallel()
	s := secure(t, t.TempDir())
	s.set(shop(1, mesh.AuthNone, "x"))
	s.set(shop(2, mesh.AuthNone, "x"))
	s.set(shop(2, mesh.AuthMutualTLS, "x"))
	s.stop()
	if got := strings.Count(string(s.disk()), `"accept":"both"`); got != 2 {
		t.Errorf("%d of 2 are as they were published: %s", got, s.disk())
	}
}

// A restart does not know who calls a host: its first identity waits like every other one.
func TestFirstIdentityAfterARestart(t *testing.T) {
	t.Parallel()
	s := secure(t, t.TempDir())
	s.set(shop(1, mesh.AuthPermissive, ""))
	s.stop()
	s = again(t, s.disk())
	s.set(shop(1, mesh.AuthPermissive, "", "x"))
	if got := stance(s.Snapshot(), "s0"); got != "both/mtls x>" {
		t.Errorf("after the restart: %s", got)
	}
	if s.advance(); stance(s.Snapshot(), "s0") != "both/mtls x>x" {
		t.Errorf("in the end: %s", stance(s.Snapshot(), "s0"))
	}
}

// understand tells whether proxies with either of two stances understand one another.
func understand(a, b *mesh.Stance) bool {
	for _, pair := range [][2]*mesh.Stance{{a, b}, {b, a}} {
		for _, p := range pair[0].Ports {
			if q := pair[1].Port(p.Port); q.Accept != mesh.Both && q.Accept != p.Speak {
				return false
			}
		}
		for _, id := range pair[0].Admitted {
			if !slices.Contains(pair[1].Identities, id) {
				return false
			}
		}
	}
	return true
}

// Whenever the control plane is killed, even together with a change of what is wanted: the next one goes on from what its
// proxies may have.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	s := secure(t, t.TempDir())
	s.set(shop(1, mesh.AuthNone, "x"))
	s.stop() // with which everything is kept
	s = again(t, s.disk())
	s.set(shop(1, mesh.AuthNone, "x"))
	s.advance()
	for _, next := range []mesh.Registry{shop(1, mesh.AuthMutualTLS, "x", "y"), shop(1, mesh.AuthNone, "y"), shop(1, mesh.AuthPermissive, "z")} {
		for s.set(next); s.advance(); {
		}
	}
	wants := []mesh.Registry{shop(1, mesh.AuthNone, "x"), shop(1, mesh.AuthMutualTLS, "x", "y"), shop(1, mesh.AuthPermissive, "z")}
	restarts := 0
	for i := range s.published {
		had := func(i int) *mesh.Stance { return s.published[max(i, 0)].snapshot.Stance(host("s0")) }
		check := func(disk []byte, had ...*mesh.Stance) {
			for _, want := range wants {
				after := again(t, disk)
				after.set(want)
				now := after.Snapshot().Stance(host("s0"))
				for _, h := range had {
					if !understand(now, h) {
						t.Errorf("publication %d: proxies have %+v, and after a restart %+v", i, h, now)
					}
				}
				for after.advance() {
				}
				if now := after.Snapshot().Stance(host("s0")); now.Ports[0] != (mesh.PortStance{Port: 80, Policy: want.Settings.AuthPolicy}).Settled(false) || after.moving() != "" {
					t.Errorf("publication %d: in the end %+v, want %s", i, now, want.Settings.AuthPolicy)
				}
				after.stop()
				restarts++
			}
		}
		check(s.onDisk[i], had(i), had(i-1)) // just published: some have it, some have the one before
		if i+1 < len(s.published) {
			check(s.onDisk[i+1], had(i)) // the next one was just to be published
		}
	}
	if restarts < 50 {
		t.Errorf("only %d restarts", restarts)
	}
}

// When what was kept is damaged ports take both, and callers speak as they are to; that is told, and over when it is confirmed.
func TestDamagedStances(t *testing.T) {
	t.Parallel()
	s := again(t, []byte(`{"format":"lateen-cache","version":1,"sha256":"00"}`+"\n{}\n"))
	r := shop(3, mesh.AuthMutualTLS, "x")
	r.Services[1].Ports[0].AuthPolicy, r.Services[2].Ports[0].AuthPolicy = mesh.AuthNone, mesh.AuthPermissive
	s.set(r)
	if got := fmt.Sprint(stance(s.Snapshot(), "s0"), ", ", stance(s.Snapshot(), "s1"), ", ", stance(s.Snapshot(), "s2")); got !=
		"both/mtls x>x, both/plain x>x, both/mtls x>x" || s.moving() != "s0 s1" {
		t.Errorf("%s, moving %q", got, s.moving())
	}
	if problems := fmt.Sprint(s.Problems()); !strings.Contains(problems, stancesFile) || !strings.Contains(problems, "ports take plain text and mutual TLS until") {
		t.Errorf("problems: %s", problems)
	}
	for s.advance() {
	}
	if got := fmt.Sprint(stance(s.Snapshot(), "s0"), ", ", stance(s.Snapshot(), "s1")); got != "mtls/mtls x>x, plain/plain x>x" {
		t.Errorf("in the end %s", got)
	}
	late := shop(4, mesh.AuthMutualTLS, "x")
	s.set(late)
	if got := stance(s.Snapshot(), "s3"); got != "mtls/mtls x>x" {
		t.Errorf("a service that is new later: %s", got)
	}
}

// A step that cannot be kept is not taken; what is only wider is.
func TestDiskThatDoesNotTakeStances(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := secure(t, dir)
	block := filepath.Join(dir, stancesFile)
	if err := os.MkdirAll(filepath.Join(block, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := shop(1, mesh.AuthNone)
	r.Endpoints = nil
	s.set(r)
	s.set(shop(1, mesh.AuthMutualTLS, "x"))
	if got := stance(s.Snapshot(), "s0"); got != "both/plain x>" {
		t.Errorf("%s: what cannot be kept may only be wider", got)
	}
	snapshot := s.Snapshot()
	confirmed := []handover.Confirmed{{Snapshot: snapshot, Hosts: []mesh.Host{host("s0")}}}
	if _, err := s.AdvanceStances(t.Context(), confirmed); err == nil || s.Snapshot() != snapshot {
		t.Errorf("a step that is not kept: %v, %s", err, stance(s.Snapshot(), "s0"))
	}
	if err := os.RemoveAll(block); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AdvanceStances(t.Context(), confirmed); err != nil || stance(s.Snapshot(), "s0") != "both/mtls x>x" {
		t.Errorf("the disk takes it again: %v, %s", err, stance(s.Snapshot(), "s0"))
	}
	s.stop()
	if said := s.log.String(); strings.Count(said, "not kept for a restart") != 1 || strings.Count(said, "kept for a restart again") != 1 {
		t.Errorf("said %s", said)
	}
}
