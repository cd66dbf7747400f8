package local

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// policies is how the ports of services are secured.
type policies map[mesh.Host]map[int]mesh.AuthPolicy

// policies returns those that hold when all of the Mesh is in force.
func (m *Mesh) policies() policies {
	all := policies{}
	for _, s := range m.Services {
		all[s.Host] = map[int]mesh.AuthPolicy{}
		for _, p := range s.Ports {
			policy := m.Settings.Policy(p)
			if m.Settings.Excludes(s.Host) {
				policy = mesh.AuthNone
			}
			all[s.Host][p.Number] = policy
		}
	}
	return all
}

// change says which services go over to which policy, and "" twice where none does. What is new, or gone, does not go over.
func (p policies) change(to policies) (who, what string) {
	var hosts []mesh.Host
	var words []mesh.AuthPolicy
	for host, ports := range to {
		before := len(words)
		for number, policy := range ports {
			if was, there := p[host][number]; there && was != policy {
				words = append(words, policy)
			}
		}
		if len(words) > before {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(words)
	switch words = slices.Compact(words); {
	case len(words) == 0:
		return "", ""
	case len(words) == 1:
		what = string(words[0])
	default:
		what = "other policies"
	}
	if len(hosts) == 1 {
		return string(hosts[0]), what
	}
	return fmt.Sprintf("%d services", len(hosts)), what
}

// follower tells when policies change, and when the change is in force, if no other one comes before.
type follower struct {
	console *console
	inForce func(ctx context.Context, number int64) bool

	known   policies // nil: of no Mesh yet
	cancel  context.CancelFunc
	waiting sync.WaitGroup
}

// follow takes up how it is to be from the change with this number on.
func (f *follower) follow(ctx context.Context, wanted policies, number int64) {
	before := f.known
	f.known = wanted
	who, what := before.change(wanted)
	if who == "" {
		return
	}
	f.stop()
	verb := "change"
	if len(before) > 0 && wanted[mesh.Host(who)] != nil {
		verb = "changes"
	}
	f.console.say("settings: %s %s to %s", who, verb, what)
	ctx, f.cancel = context.WithCancel(ctx)
	f.waiting.Go(func() {
		if f.inForce(ctx, number) {
			f.console.say("settings: the change of %s to %s is in force", who, what)
		}
	})
}

// stop waits for no change any more.
func (f *follower) stop() {
	if f.cancel != nil {
		f.cancel()
		f.cancel = nil
	}
	f.waiting.Wait()
}
