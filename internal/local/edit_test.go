package local

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// A changed workload is replaced without a gap: the new instances take requests before the old ones are asked to
// finish, callers have confirmed that they send the old ones nothing, and a request under way is answered.
func TestReplace(t *testing.T) {
	t.Parallel()
	w := newTown(t, twoServices)
	w.running()
	shop := w.get(w.url("shop", "shop-v1-0", "/pid"))
	release := filepath.Join(w.dir(), "release")
	answer := w.hold("web", "web-v1-0", release)
	lines := len(w.told())

	w.write(strings.Replace(twoServices, "blue", "green", 1))
	w.awaitText(w.out, "web-v1-0 ends")
	w.awaitEndpoints("web", "web-v1-2 healthy", "web-v1-3 healthy")
	if err := os.WriteFile(release, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := <-answer; got != "released" {
		t.Errorf("the request under way got %s", got)
	}
	if env := w.get(w.url("web", "web-v1-2", "/env")); !strings.Contains(env, "COLOUR=green $") {
		t.Error("the new instance has the old environment")
	}
	if again := w.get(w.url("shop", "shop-v1-0", "/pid")); again != shop {
		t.Error("an application that was not changed was started again")
	}
	w.await("the old ones to be gone", func() bool { return len(w.last().Workloads) == 3 })

	draining, confirmed := int64(0), false
	for n, line := range w.told() {
		if n < lines {
			continue
		}
		if line.Registry == nil {
			confirmed = confirmed || draining > 0 && line.Reached >= draining
			continue
		}
		now := endpoints(*line.Registry, "web")
		healthy := strings.Count(strings.Join(now, " "), "healthy")
		if healthy < 2 {
			t.Errorf("at one time web had only %v", now)
		}
		switch there := slices.ContainsFunc(now, func(e string) bool { return strings.HasPrefix(e, "web-v1-0 ") }); {
		case slices.Contains(now, "web-v1-0 draining") && draining == 0:
			draining = line.Revision
			if !slices.Contains(now, "web-v1-2 healthy") || !slices.Contains(now, "web-v1-3 healthy") {
				t.Errorf("an old one was asked to finish while there were only %v", now)
			}
		case !there && !confirmed:
			t.Errorf("an old one was taken away before callers had confirmed: %v", now)
		}
	}
	if draining == 0 {
		t.Error("the old one was not drained")
	}
}

// Labels are told to the control plane, and nothing is started again for them.
func TestRelabel(t *testing.T) {
	t.Parallel()
	w := newTown(t, twoServices)
	w.running()
	pid := w.get(w.url("shop", "shop-v1-0", "/pid"))
	w.write(strings.Replace(twoServices, "tier: front", "tier: back", 1))
	w.await("the label", func() bool { return w.last().Workloads[0].Labels["tier"] == "back" })
	if again := w.get(w.url("shop", "shop-v1-0", "/pid")); again != pid {
		t.Error("the application was started again")
	}
}

// Replicas come and go; those that stay are left alone.
func TestScale(t *testing.T) {
	t.Parallel()
	w := newTown(t, twoServices)
	w.running()
	pid := w.get(w.url("web", "web-v1-0", "/pid"))
	w.write(strings.Replace(twoServices, "replicas: 2", "replicas: 3", 1))
	w.awaitEndpoints("web", "web-v1-0 healthy", "web-v1-1 healthy", "web-v1-2 healthy")
	w.write(strings.Replace(twoServices, "replicas: 2", "replicas: 1", 1))
	w.awaitEndpoints("web", "web-v1-0 healthy")
	if again := w.get(w.url("web", "web-v1-0", "/pid")); again != pid {
		t.Error("the application was started again")
	}
}

// A service that is taken out of the file stays known until its instances have ended, and is then forgotten.
func TestRemove(t *testing.T) {
	t.Parallel()
	w := newTown(t, twoServices)
	w.running()
	pid := w.get(w.url("shop", "shop-v1-0", "/pid"))
	shop, db := strings.Index(twoServices, "    shop:"), strings.Index(twoServices, "    db:")
	lines := len(w.told())
	w.write(twoServices[:shop] + twoServices[db:])
	w.await("shop to be gone", func() bool { return !known(w.last(), "shop") })
	if left := survivors(w.dir()); slices.ContainsFunc(left, func(p string) bool { return strings.HasPrefix(p, pid+" ") }) {
		t.Error("the application runs")
	}
	states := w.states(lines, "shop")
	if states[0] == "shop-v1-0 healthy" { // when nothing was to be told but this for a moment
		states = states[1:]
	}
	if want := []string{"shop-v1-0 draining", ""}; !slices.Equal(states, want) {
		t.Errorf("shop was %q, want %q", states, want)
	}
}

func known(r mesh.Registry, service string) bool {
	return slices.ContainsFunc(r.Services, func(s *mesh.Service) bool { return s.Name == service })
}

// A wrong edit is told with file and line and changes nothing; the next right one counts.
func TestWrongEdit(t *testing.T) {
	t.Parallel()
	w := newTown(t, twoServices)
	w.running()
	lines := len(w.told())
	for _, edit := range []struct{ from, to, want string }{
		{"replicas", "replica", "mesh.yaml:10:"},
		{"${PORT}", "${PROT}", "there is no variable ${PROT} [unknown-variable]\n  hint: did you mean ${PORT}?"},
		{"db:", "shop:", "duplicate-field"},
		{"replicas: 2", "replicas: 100, env: {A: b}", "env"},
	} {
		w.write(strings.Replace(twoServices, edit.from, edit.to, 1))
		w.awaitText(w.err, edit.want)
		w.await("the control plane to know it", func() bool {
			problems := w.last().Problems
			return len(problems) == 1 && strings.Contains(problems[0].String(), edit.want)
		})
	}
	for _, line := range w.told()[lines:] {
		if line.Registry != nil && len(line.Registry.Workloads) != 3 {
			t.Errorf("a wrong edit made it %d workloads", len(line.Registry.Workloads))
		}
	}
	w.write(strings.Replace(twoServices, "replicas: 2", "replicas: 1", 1))
	w.awaitEndpoints("web", "web-v1-0 healthy")
	if problems := w.last().Problems; len(problems) > 0 {
		t.Errorf("after all is mended there are %v", problems)
	}
}

// A new version that does not run takes nothing away: the old one goes on.
func TestWrongVersion(t *testing.T) {
	t.Parallel()
	w := newTown(t, twoServices)
	w.running()
	lines := len(w.told())
	w.write(strings.Replace(twoServices, "[APP], labels", "[sh, -c, exit 9], labels", 1))
	w.awaitText(w.err, "shop-v1-1 ended (exit status 9)")
	w.write(strings.Replace(twoServices, "[APP], labels", "[APP, better], labels", 1))
	w.awaitEndpoints("shop", "shop-v1-2 healthy")
	for _, state := range w.states(lines, "shop") {
		if !strings.Contains(state, "healthy") {
			t.Errorf("at one time shop had only %q", state)
		}
	}
}

// The door moves when its port is changed, unless the port is in use.
func TestMoveDoor(t *testing.T) {
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
	at := func(port int) string {
		return strings.Replace(twoServices, "spec:\n", "spec:\n  ingress: {port: "+strconv.Itoa(port)+"}\n", 1)
	}
	w := newTown(t, at(doors[0]))
	w.running()
	w.awaitText(w.out, "the door is "+strconv.Itoa(doors[0]))
	door := func() (ports []int) {
		for _, m := range w.last().Workloads {
			if m.Type == mesh.Ingress {
				ports = append(ports, m.Outbound)
			}
		}
		return ports
	}
	busy := w.last().Workloads[1].Serves[0].Target // any port in use
	number, err := strconv.Atoi(busy[strings.LastIndexByte(busy, ':')+1:])
	if err != nil {
		t.Fatal(err)
	}
	w.write(at(number))
	w.awaitText(w.err, "port "+strconv.Itoa(number)+" for the ingress is in use")
	w.write(at(doors[1]))
	w.await("the door to move", func() bool { return slices.Equal(door(), doors[1:]) })
}
