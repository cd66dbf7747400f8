package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Workload is one instance of what runs: GET /v1/workloads answers with a list of them, sorted, GET /v1/workloads/NAME with one,
// by the spellings of a proxy, whether that is connected or not.
type Workload struct {
	ID       mesh.ProxyID   `json:"id"`
	Type     mesh.ProxyType `json:"type"`
	Account  string         `json:"account,omitempty"`  // service account
	Identity string         `json:"identity,omitempty"` // SPIFFE ID that its certificate is to say; missing: it has no account
	Address  string         `json:"address"`            // IP address of its own
	Further  []string       `json:"further,omitempty"`  // its other addresses, as of the other family
	Running  bool           `json:"running"`            // its proxy takes requests
	Serves   []WorkloadPort `json:"serves,omitempty"`
}

// WorkloadPort is a port on which a workload answers for a service.
type WorkloadPort struct {
	Host   mesh.Host `json:"host"`
	Port   int       `json:"port"`   // of the service
	Listen int       `json:"listen"` // on the workload's address, where its proxy listens
}

// Service is one host of the mesh, and how its ports are secured now: GET /v1/services answers with a list of them, sorted.
type Service struct {
	Host       mesh.Host     `json:"host"`
	Ports      []ServicePort `json:"ports"`
	Excluded   bool          `json:"excluded,omitempty"`   // it is called in plain text whatever the policies are
	Identities []string      `json:"identities,omitempty"` // SPIFFE IDs that callers accept
	Endpoints  []Endpoint    `json:"endpoints,omitempty"`
	Since      time.Time     `json:"since,omitzero"` // when how its ports are secured changed last; missing: not since the control plane started
}

// ServicePort is one port of a service.
type ServicePort struct {
	Name     string          `json:"name"`
	Number   int             `json:"number"`
	Protocol mesh.Protocol   `json:"protocol"`
	Policy   mesh.AuthPolicy `json:"policy"` // that is wanted
	Accept   mesh.Transport  `json:"accept"` // what servers take at the moment
	Speak    mesh.Transport  `json:"speak"`  // what callers with an identity speak at the moment to endpoints with one
}

// Endpoint is one address of an instance of a service.
type Endpoint struct {
	Address  string      `json:"address"`
	Workload string      `json:"workload,omitempty"`
	Identity string      `json:"identity,omitempty"` // SPIFFE ID; missing: it has none and is called in plain text
	Health   mesh.Health `json:"health"`
}

// Workloads lists what runs.
func (c *Client) Workloads(ctx context.Context) ([]Workload, error) {
	return call[[]Workload](ctx, c, http.MethodGet, "/v1/workloads", nil)
}

// Workload tells of one instance.
func (c *Client) Workload(ctx context.Context, name string) (Workload, error) {
	return call[Workload](ctx, c, http.MethodGet, "/v1/workloads/"+url.PathEscape(name), nil)
}

// Services lists the hosts of the mesh.
func (c *Client) Services(ctx context.Context) ([]Service, error) {
	return call[[]Service](ctx, c, http.MethodGet, "/v1/services", nil)
}
