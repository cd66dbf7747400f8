package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Proxy is one proxy that is connected, or that runs and is not: GET /v1/proxies answers with a list of them, sorted.
type Proxy struct {
	ID                mesh.ProxyID   `json:"id"`
	Type              mesh.ProxyType `json:"type"`
	Replica           string         `json:"replica,omitempty"` // of the control plane, that it is connected to; missing: there is one
	Connected         bool           `json:"connected"`
	Since             time.Time      `json:"since,omitzero"`              // when it connected, or since when it is missed
	Identity          string         `json:"identity,omitempty"`          // SPIFFE ID that it has proven on its stream; missing: none
	Scope             string         `json:"scope,omitempty"`             // short name for the facts about it that steer what it gets
	Revision          int64          `json:"revision"`                    // up to which it has confirmed everything; -1: none yet
	Current           bool           `json:"current"`                     // everything that concerns it is in force
	UnansweredSeconds int            `json:"unansweredSeconds,omitempty"` // for which it has left the oldest of what it was sent unanswered
	Holds             map[string]int `json:"holds"`                       // number of resources by kind: "cluster", "virtual-host"
	Pending           []Pending      `json:"pending,omitempty"`           // what it has not confirmed; the first ones
	Behind            int            `json:"behind,omitempty"`            // number of all of them
	Silent            bool           `json:"silent,omitempty"`            // it takes no messages at the moment, so nobody knows what is pending
	Refused           []string       `json:"refused,omitempty"`           // "RESOURCE: the proxy's own words"
	LastRefusal       *Refusal       `json:"lastRefusal,omitempty"`       // on this connection, also when it is mended
}

// Pending is a resource that a proxy has not confirmed as it should be.
type Pending struct {
	Resource string `json:"resource"` // "cluster outbound|9080||reviews.default.svc.cluster.local"
	Sent     bool   `json:"sent"`     // it was sent, else something else goes before it
}

// Refusal is what a proxy refused, and why.
type Refusal struct {
	Resource string    `json:"resource"`
	Reason   string    `json:"reason"` // in the proxy's own words
	Time     time.Time `json:"time"`
}

// ProxyDetail is one proxy with all that it is to hold: GET /v1/proxies/NAME. NAME is an ID, or another spelling that means
// one proxy: "reviews-v1-0", "deploy/reviews-v1", "svc/reviews.default".
type ProxyDetail struct {
	Proxy
	Names    map[string][]string `json:"names,omitempty"` // of the resources, by kind, sorted
	Refusals []Refusal           `json:"refusals,omitempty"`
	// NextIsGiven are the hosts that the next replica of its workload is given before it asks.
	NextIsGiven []string `json:"nextIsGiven,omitempty"`
}

// Watch asks for a change: GET /v1/watch/proxies?after=CURSOR&revision=N&wait=DURATION answers with [Watched] as soon as
// something is different from what was told with the cursor, or when the time is over.
type Watch struct {
	After    string // "": at once
	Revision int64  // travels of later ones are told; -1: of those that are waited for
	Wait     time.Duration
}

// Watched is how the proxies are.
type Watched struct {
	Cursor   string   `json:"cursor"` // for the next Watch
	Proxies  []Proxy  `json:"proxies"`
	Revision int64    `json:"revision"` // the newest one; -1: none yet
	Travels  []Travel `json:"travels"`
}

// Travel tells in numbers of proxies how far a revision has come.
type Travel struct {
	Revision  int64 `json:"revision"`
	Concerned int   `json:"concerned"`
	Confirmed int   `json:"confirmed"`
	Refused   int   `json:"refused"`
	Waiting   int   `json:"waiting"`
}

// Resources are what a proxy is to have: GET /v1/proxies/NAME/resources?kind=KIND.
type Resources struct {
	Proxy     mesh.ProxyID `json:"proxy"`
	Resources []Resource   `json:"resources"` // sorted by kind and name
}

// Resource is one resource that a proxy is to have.
type Resource struct {
	Kind      string          `json:"kind"`
	Name      string          `json:"name"`
	Type      string          `json:"type"`                // type URL
	Wanted    string          `json:"wanted,omitempty"`    // its version now; missing: there is none
	Sent      string          `json:"sent,omitempty"`      // version that was sent last
	Confirmed string          `json:"confirmed,omitempty"` // version that the proxy confirmed last
	Reason    string          `json:"reason,omitempty"`    // why the proxy refuses the version of now
	Body      json.RawMessage `json:"body,omitempty"`      // Envoy's message, without keys
	Omitted   bool            `json:"omitted,omitempty"`   // the body is left out, since the answer would be too long
}

// Proxies lists the proxies.
func (c *Client) Proxies(ctx context.Context) ([]Proxy, error) {
	return call[[]Proxy](ctx, c, http.MethodGet, "/v1/proxies", nil)
}

// Proxy tells of one proxy.
func (c *Client) Proxy(ctx context.Context, name string) (ProxyDetail, error) {
	return call[ProxyDetail](ctx, c, http.MethodGet, "/v1/proxies/"+url.PathEscape(name), nil)
}

// WatchProxies waits for a change and tells how the proxies are.
func (c *Client) WatchProxies(ctx context.Context, w Watch) (Watched, error) {
	values := url.Values{
		"after": {w.After}, "revision": {strconv.FormatInt(w.Revision, 10)}, "wait": {w.Wait.String()},
	}
	return call[Watched](ctx, c, http.MethodGet, "/v1/watch/proxies?"+values.Encode(), nil)
}

// Resources tells what a proxy is to have of a kind, or of all ("").
func (c *Client) Resources(ctx context.Context, name, kind string) (Resources, error) {
	path := "/v1/proxies/" + url.PathEscape(name) + "/resources?" + url.Values{"kind": {kind}}.Encode()
	return call[Resources](ctx, c, http.MethodGet, path, nil)
}
