package push

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/view"
	"github.com/lateen-mesh/lateen/internal/xds"
)

// late notes that a slot has something to send.
func (p *Proxy) late(s *slot) {
	at := p.current()
	if !p.taking && (s.id.Kind == view.KindSecret || s.id.Kind == view.KindFilter || s.id.Kind == view.KindRoutes) {
		at = min(at, p.confirmed()+1) // a listener that it has just been sent asks for it, and is not confirmed yet
	}
	s.since = min(cmp.Or(s.since, settledForever), at)
	p.behind.add(s)
	p.open.add(s)
}

// current returns the revision that what is noted now belongs to: the first one that has just been taken; before the proxy
// is settled for the first time, the first of all.
func (p *Proxy) current() int64 {
	switch {
	case !p.begun:
		return 1
	case p.taking:
		return p.before + 1
	default:
		return p.taken + 1
	}
}

// confirmed returns the revision up to which the proxy has confirmed or refused everything that concerns it.
func (p *Proxy) confirmed() int64 {
	first := p.taken + 1
	looksUp := false
	for s := range p.open.slots {
		looksUp = looksUp || !s.foundBy().IsZero()
	}
	for s := range p.open.slots {
		nonce := int64(-1)
		if s.id.Kind == view.KindCluster && looksUp {
			// A proxy that looks up another cluster confirms none meanwhile; that it has taken the endpoints is as good.
			if e, asked := p.slots[view.ID{Kind: view.KindEndpoints, Name: s.id.Name}]; asked {
				nonce = e.confirmedAt
			}
		}
		_, stuck := p.stuck[s.id]
		switch at := s.open(nonce); {
		case at == settledForever:
			p.open.remove(s)
		case stuck || s.isRefused(): // what is set aside is not waited for, what was sent before it is
			first = min(first, s.travelling(nonce))
		default:
			first = min(first, at)
		}
	}
	for id := range p.bridges {
		first = min(first, p.slots[id].rare.afterSince)
	}
	for _, at := range p.leaving {
		first = min(first, at)
	}
	for _, at := range p.left {
		first = min(first, at)
	}
	return first - 1
}

// acked takes the confirmation of a response.
func (p *Proxy) acked(kind view.Kind, d *xds.Delivery) {
	if kind == view.KindScope {
		p.confirmedScopes(d.Nonce)
	}
	for name, version := range d.Sent {
		s, ok := p.slots[view.ID{Kind: kind, Name: name}]
		if !ok || !s.carried(d.Nonce) {
			continue
		}
		s.acked, s.ackedAt, s.confirmedAt, s.alone = version, d.Nonce, max(s.confirmedAt, d.Nonce), false
		delete(p.unknown, s.id)
		for len(s.versions) > 0 && s.versions[0].nonce < d.Nonce {
			p.letGo(p.leads(s.versions[0].made))
			s.versions = s.versions[1:]
		}
		if p.letsGo(s.id) {
			p.engine.letGo(s.good())
		}
		p.engine.counters.arrived(s, p.now())
		p.takes(s, version)
	}
	delete(p.left, d.Nonce)
}

// addressInUse is how Envoy says that a listener's port is taken. That passes: the one who has it may go away.
const addressInUse = "ddress already in use"

// refused takes the refusal of a response: nothing of it counts as sent. A resource that was refused alone, or by name, is
// set aside in this version; of those refused together without a name each is sent again alone, to find out which it was.
func (p *Proxy) refused(kind view.Kind, d *xds.Delivery, reason string) {
	if kind == view.KindScope {
		p.refusedScopes(d)
	}
	names := slices.Sorted(maps.Keys(d.Sent))
	named := func(name string) bool { return xds.Named(reason, name) }
	someNamed := slices.ContainsFunc(names, named)
	for _, name := range names {
		s, ok := p.slots[view.ID{Kind: kind, Name: name}]
		if !ok || !s.carried(d.Nonce) {
			continue
		}
		last := s.sentAt == d.Nonce          // else a later response carried another version
		s.again = kind == view.KindEndpoints // also in a version that the proxy has: a cluster may wait for them
		s.versions = slices.DeleteFunc(s.versions, func(c carried) bool {
			if c.nonce != d.Nonce {
				return false
			}
			p.letGo(p.leads(c.made))
			s.returned(c)
			return true
		})
		if last {
			s.unsent()
		}
		switch {
		case len(d.Sent) > 1 && !named(name):
			s.alone = !someNamed
		case strings.Contains(reason, addressInUse):
			s.own().retryAt = p.now().Add(time.Second)
		default:
			o := s.own()
			o.refused, o.reason, o.refusedAt = d.Sent[name], reason, p.now()
			o.owners = nil
			p.engine.noteRefusal(p, s)
			p.sore[s.id] = struct{}{}
			p.restore(s)
			p.engine.config.Log.Error("proxy refused a resource", "proxy", string(p.id), "resource", s.id.String(), "err", reason)
		}
		p.late(s)
	}
	for _, name := range d.Removed {
		if _, again := p.slots[view.ID{Kind: kind, Name: name}]; !again && len(d.Sent) > 0 {
			p.gone[kind] = append(p.gone[kind], name)
		}
	}
	delete(p.left, d.Nonce)
}

// restore makes a cluster that was refused what it was before. Envoy may keep what it refused as a cluster that warms for
// ever, and confirms no cluster meanwhile.
func (p *Proxy) restore(s *slot) {
	switch {
	case s.id.Kind != view.KindCluster || p.walks || s.have != s.acked: // a later version is on its way
	case s.acked == "":
		p.gone[s.id.Kind] = append(p.gone[s.id.Kind], s.id.Name)
	default:
		s.restore = s.good() != nil && s.rare.refused != s.acked
	}
}
