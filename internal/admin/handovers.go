package admin

import (
	"fmt"
	"net/http"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/handover"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Bounds of what is told of handovers.
const (
	maxHandoverWords = 20  // hosts in the progress of a revision
	maxWaitingFor    = 100 // proxies of one host
)

// handovers lists the ports, and the identities, of hosts that are on their way.
func (s *Server) handovers(*http.Request) (any, error) {
	list := []api.Handover{}
	for _, m := range s.config.Handovers.Moving() {
		for _, port := range m.Ports {
			list = append(list, handoverOf(m, port))
		}
	}
	return list, nil
}

// handoverOf tells of one port of a host, or of its identities (0).
func handoverOf(m handover.Moving, port int) api.Handover {
	h := api.Handover{
		Host: m.Host, Port: port, Step: m.Step(port), Waiting: len(m.Standing.Waiting) + len(m.Standing.Away),
		WaitingFor: ids(m.Standing.Waiting), Away: ids(m.Standing.Away), Since: m.Since.UTC(), Revision: m.Last,
	}
	for _, r := range m.Refusing() {
		if len(h.Refused) < maxWaitingFor {
			h.Refused = append(h.Refused, string(r.Proxy)+": "+r.Reason)
		}
	}
	if port != 0 {
		p := m.Now.Port(port)
		h.Policy, h.Accept, h.Speak = p.Policy, p.Accept, p.Speak
	}
	return h
}

func ids(all []mesh.ProxyID) []string {
	var names []string
	for _, id := range all[:min(len(all), maxWaitingFor)] {
		names = append(names, string(id))
	}
	return names
}

// handoverWords says how far hosts are on their way.
func handoverWords(moving []handover.Moving) []string {
	var words []string
	for _, m := range moving[:min(len(moving), maxHandoverWords)] {
		words = append(words, fmt.Sprintf("%s: %s", m.Host, m.Words()))
	}
	if more := len(moving) - len(words); more > 0 {
		words = append(words, fmt.Sprintf("%d more hosts", more))
	}
	return words
}
