package api

import (
	"context"
	"net/http"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Authority tells of the certificate authority: GET /v1/ca. There is no secret in it.
type Authority struct {
	TrustDomain string                 `json:"trustDomain"`
	Plugged     bool                   `json:"plugged"`            // its root was not made here
	CertTTL     mesh.Duration          `json:"certTTL"`            // how long a workload's certificate holds
	Roots       []AuthorityCertificate `json:"roots"`              // that are trusted
	Issuing     []AuthorityCertificate `json:"issuing"`            // the one that signs, and those between it and the root
	Bundle      string                 `json:"bundle"`             // the roots in PEM
	Issued      map[string]uint64      `json:"issued"`             // certificates since the control plane started, by what proved who asked
	Refused     map[string]uint64      `json:"refused"`            // requests, by reason
	Tokens      int                    `json:"tokens"`             // join tokens that nobody has used yet
	Restored    int                    `json:"restored,omitempty"` // files of its own that were lost or changed, and were put back
	Address     string                 `json:"address,omitempty"`  // HOST:PORT where workloads ask it
	Problem     string                 `json:"problem,omitempty"`
	Now         time.Time              `json:"now"` // the authority's clock
}

// AuthorityCertificate is a certificate of an authority.
type AuthorityCertificate struct {
	Subject     string    `json:"subject"`
	Fingerprint string    `json:"fingerprint"` // SHA-256, in hexadecimal
	NotBefore   time.Time `json:"notBefore"`
	NotAfter    time.Time `json:"notAfter"`
}

// Authority returns what there is to know of the certificate authority.
func (c *Client) Authority(ctx context.Context) (Authority, error) {
	return call[Authority](ctx, c, http.MethodGet, "/v1/ca", nil)
}
