package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Decide is a request of which is asked what a proxy does with it:
// GET /v1/decide?proxy=&method=&url=&header=NAME:VALUE&source= answers with a [Decision]. Header may stand there several
// times.
type Decide struct {
	Proxy   mesh.ProxyID
	Method  string // "": GET
	URL     string // "http://reviews:9080/reviews/0?x=y"; of CONNECT: "http://HOST:PORT"
	Headers http.Header
	Source  string // IP address of the client; "": the workload's, or of an ingress not known
}

// Decision is what a proxy does with a request by what it would be told now.
type Decision struct {
	Proxy      string      `json:"proxy"`    // its ID
	Resource   string      `json:"resource"` // that says so, "virtual-host out/reviews:9080"
	Method     string      `json:"method"`   // as the proxy gets it: CONNECT, where a sidecar is asked about https
	Authority  string      `json:"authority"`
	Candidates []Candidate `json:"candidates"` // the routes, in the order in which they are tried; at most one is taken
	Outcomes   []Outcome   `json:"outcomes"`   // what may happen; the shares sum up to 100
}

// Candidate is a route that stood to be tried.
type Candidate struct {
	Name   string        `json:"name"` // of the object, "default/reviews-test-v2", or a word in angle brackets
	Origin mesh.Position `json:"origin,omitzero"`
	Via    string        `json:"via,omitempty"` // of an ingress: "Ingress default/gateway /shop", the path it belongs to
	Taken  bool          `json:"taken,omitempty"`
	Why    string        `json:"why,omitempty"` // it was not taken
}

// Outcome is one thing that may happen to a request: after Delay the proxy answers by itself (Status is set), or the
// request goes on to Destination or Cluster.
type Outcome struct {
	Percent float64       `json:"percent"` // of such requests
	Delay   mesh.Duration `json:"delay,omitempty"`

	// An answer of the proxy.
	Status   int    `json:"status,omitempty"`
	GRPC     *int   `json:"grpc,omitempty"` // status of gRPC, which goes with Status 200 to callers that speak gRPC
	Location string `json:"location,omitempty"`
	Body     string `json:"body,omitempty"`

	// What goes on.
	Destination  *mesh.Subset  `json:"destination,omitempty"`
	Cluster      string        `json:"cluster,omitempty"` // the proxy's own, instead of Destination
	Tunnel       bool          `json:"tunnel,omitempty"`  // what follows CONNECT goes on as bytes
	Path         string        `json:"path,omitempty"`
	Authority    string        `json:"authority,omitempty"`
	Append       []mesh.Header `json:"append,omitempty"`
	Mirror       *mesh.Subset  `json:"mirror,omitempty"`
	KiBPerSecond int           `json:"kibPerSecond,omitempty"` // of the response; 0: as fast as it goes

	// How it goes on within the mesh: in mutual TLS, plain text, or both, to each endpoint as it can; "": nothing is known of
	// endpoints. Why says why not in mutual TLS alone, or why the proxy answers, since all endpoints of Destination are left out.
	Transport mesh.Transport `json:"transport,omitempty"`
	Why       string         `json:"why,omitempty"`
}

// Decide tells what a proxy does with a request.
func (c *Client) Decide(ctx context.Context, d Decide) (Decision, error) {
	values := url.Values{"proxy": {string(d.Proxy)}, "method": {d.Method}, "url": {d.URL}, "source": {d.Source}}
	for name, list := range d.Headers {
		for _, value := range list {
			values.Add("header", name+":"+value)
		}
	}
	return call[Decision](ctx, c, http.MethodGet, "/v1/decide?"+values.Encode(), nil)
}
