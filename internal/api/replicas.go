package api

import (
	"context"
	"net/http"
)

// Replica is one replica of the control plane: GET /v1/replicas answers with a list of them, sorted by name. One whose Lease has
// expired is in it no more.
type Replica struct {
	Name    string `json:"name,omitempty"` // missing: there is one, which has no name
	Self    bool   `json:"self,omitempty"` // it is the one that answers
	Address string `json:"address,omitempty"`
	Proxies int    `json:"proxies"`           // that are connected to it
	Problem string `json:"problem,omitempty"` // why it cannot be asked: its proxies are in no answer, and handovers wait for it
}

// Replicas lists the replicas of the control plane.
func (c *Client) Replicas(ctx context.Context) ([]Replica, error) {
	return call[[]Replica](ctx, c, http.MethodGet, "/v1/replicas", nil)
}
