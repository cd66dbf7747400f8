package push

// toldVersion is the version of a resource since a revision.
type toldVersion struct {
	since   int64
	version string
}

// tell notes which version each resource of the proxy has now.
func (m *model) tell() {
	for id, s := range m.proxy.slots {
		m.tainted[id] = m.tainted[id] || m.isBad(s)
	}
	for key, group := range m.engine.groups {
		now := toldVersion{since: m.snapshot.Revision()}
		for _, en := range group.entries { // one: there is one proxy
			if en.made != nil {
				now.version = en.made.resource.Version
			}
		}
		if before := m.told[key.ID]; len(before) == 0 || before[len(before)-1].version != now.version {
			m.told[key.ID] = append(before, now)
		}
	}
}

// checkInForce looks whether the Envoy has all that is said to be in force.
func (m *model) checkInForce() {
	for id, told := range m.told {
		if _, has := m.proxy.slots[id]; !has || m.proxy.settled < told[0].since || m.tainted[id] {
			continue
		}
		held, ok := m.held[typeOf[id.Kind]][id.Name], false
		if held == "" {
			continue // it was just asked for, and nothing leads to it yet
		}
		for i, v := range told {
			ok = ok || (v.version == held && (i+1 == len(told) || told[i+1].since > m.proxy.settled))
		}
		if !ok {
			m.fail("%s is %q at revision %d, which is said to be in force; it was %v", id, held, m.proxy.settled, told)
		}
	}
}

// isBad tells whether some version of a resource was ever refused, or of a cluster that it leads to, so that nobody can say
// here which one is in force.
func (m *model) isBad(s *slot) bool {
	bad := m.bad[s.id.Name]
	for _, c := range s.versions {
		for _, id := range c.made.needs {
			bad = bad || m.bad[id.Name]
		}
	}
	for _, id := range m.proxy.aimed(s) {
		bad = bad || m.bad[id.Name]
	}
	return bad
}
