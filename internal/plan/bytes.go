package plan

import (
	"net/netip"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

// LocalBytes says what happens to a connection to a local address whose bytes are not requests. Connections that are
// open stay as they are when it changes.
type LocalBytes struct {
	Name   string        `json:"name"`
	Host   mesh.Host     `json:"host"`
	Rule   string        `json:"rule"` // that decides
	Origin mesh.Position `json:"origin,omitzero"`
	Shares []Share       `json:"shares"`        // all of them above 0
	Idle   mesh.Duration `json:"idle"`          // without a byte in either direction
	End    mesh.Duration `json:"end,omitempty"` // after which the connection is ended; 0: never
	NoLog  bool          `json:"noLog,omitempty"`
}

// Needs returns the subsets that connections go to.
func (b LocalBytes) Needs() []mesh.Subset { return needs([]Route{{Shares: b.Shares}}) }

// localBytes takes the first rule that concerns connections from the caller's address to a local one.
func localBytes(v view.LocalBytes) LocalBytes {
	address, _ := netip.ParseAddr(v.Address)
	dialled := v
	dialled.Rules = dial(v.Rules, address)
	return steerBytes(dialled)
}

// steerBytes takes the first rule that concerns connections from the caller's address, whatever it has dialled.
func steerBytes(v view.LocalBytes) LocalBytes {
	r := router{host: v.Host, port: v.Port, raw: true, policies: v.Policies}
	p := LocalBytes{Name: v.Name, Host: v.Host, Rule: DefaultRoute, Shares: r.whole(), Idle: idleTimeout, NoLog: v.NoLog}
	address, _ := netip.ParseAddr(v.Address)
	for _, rule := range v.Rules {
		if !aboutBytes(rule) || (rule.TCP != nil && len(rule.TCP.Sources) > 0 && !within(address, rule.TCP.Sources)) {
			continue
		}
		p.Rule, p.Origin, p.Shares = rule.Object.Path(), rule.Origin, nil
		for _, s := range r.shares(rule) {
			if s.Weight > 0 {
				p.Shares = append(p.Shares, s)
			}
		}
		if rule.Fault != nil && rule.Fault.Terminate != nil {
			p.End = rule.Fault.Terminate.After
		}
		return p
	}
	return p
}
