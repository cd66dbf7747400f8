package api

import (
	"context"
	"net/http"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Handover tells how far a port of a host, or its identities, is from being secured in one way to being secured in another:
// GET /v1/handovers answers with a list of them, sorted by host and port. Each step waits until all proxies have confirmed
// the one before.
type Handover struct {
	Host       mesh.Host       `json:"host"`
	Port       int             `json:"port,omitempty"`       // missing: it is about which identities callers accept
	Policy     mesh.AuthPolicy `json:"policy,omitempty"`     // that is wanted; missing: the port goes
	Accept     mesh.Transport  `json:"accept,omitempty"`     // what servers are told to take
	Speak      mesh.Transport  `json:"speak,omitempty"`      // what callers are told to speak
	Step       string          `json:"step"`                 // the same in words, and what that waits for
	Waiting    int             `json:"waiting"`              // number of the proxies that are waited for
	WaitingFor []string        `json:"waitingFor,omitempty"` // IDs of those that have not confirmed it, at most 100
	Away       []string        `json:"away,omitempty"`       // IDs of those that run and have lost their stream, at most 100
	Refused    []string        `json:"refused,omitempty"`    // "PROXY: the proxy's own words", at most 100
	Since      time.Time       `json:"since"`
	Revision   int64           `json:"revision"` // that holds the step
}

// Handovers lists the ports and identities that are on their way.
func (c *Client) Handovers(ctx context.Context) ([]Handover, error) {
	return call[[]Handover](ctx, c, http.MethodGet, "/v1/handovers", nil)
}
