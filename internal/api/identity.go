package api

import (
	"context"
	"net/http"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// NewToken asks for a join token, by which a workload proves once who it is: POST /v1/ca/tokens, answered with [JoinToken].
type NewToken struct {
	Workload  string        `json:"workload"` // the instance, "reviews-v2-0"
	Namespace string        `json:"namespace"`
	Account   string        `json:"account"`
	Address   string        `json:"address,omitempty"` // IP address of the instance; missing: its certificate says none
	Further   string        `json:"further,omitempty"` // its address of the other family
	TTL       mesh.Duration `json:"ttl,omitempty"`     // for how long the token can be used; missing: 10 minutes
}

// JoinToken is a secret for one workload. It is printed as what it is for.
type JoinToken struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// String keeps the secret out of logs.
func (t JoinToken) String() string {
	return "a join token that expires at " + t.Expires.UTC().Format(time.RFC3339)
}

// GoString does the same for %#v.
func (t JoinToken) GoString() string { return t.String() }

// NewToken asks for a join token.
func (c *Client) NewToken(ctx context.Context, n NewToken) (JoinToken, error) {
	return call[JoinToken](ctx, c, http.MethodPost, "/v1/ca/tokens", n)
}
