package mesh

// Registry is what one source knows of services and of what runs. It is whole: what does not stand in it is gone.
type Registry struct {
	Services  []*Service     `json:"services"`
	Endpoints []*EndpointSet `json:"endpoints"`
	Workloads []*Workload    `json:"workloads"`
	Settings  *Settings      `json:"settings,omitempty"`
	// Certificates for the door. They are written with their keys: a registry goes over the socket of its user only.
	Certificates []SealedCertificate `json:"certificates,omitempty"`
}

// SealedCertificate is a [Certificate] on its way from the supervisor to the control plane.
type SealedCertificate struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Origin    Position `json:"origin"`
	Chain     string   `json:"chain"`
	Key       Sealed   `json:"key"`
}
