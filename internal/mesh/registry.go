package mesh

// Registry is what one source knows of services and of what runs. It is whole: what does not stand in it is gone.
type Registry struct {
	// Generation is the source's own number of this state: what a [RegistryEdit] is made from. 0: it has none.
	Generation int64 `json:"generation,omitempty"`

	Services  []*Service     `json:"services"`
	Endpoints []*EndpointSet `json:"endpoints"`
	Workloads []*Workload    `json:"workloads"`
	Settings  *Settings      `json:"settings,omitempty"`
	// Certificates for the door. They are written with their keys: a registry goes over the socket of its user only.
	Certificates []SealedCertificate `json:"certificates,omitempty"`
	// Problems are what is wrong with what the source was made from. It has told them where it runs.
	Problems []Problem `json:"problems,omitempty"`
}

// RegistryEdit is what changed in what one source knows. What it does not name stays as it is. A name that is both put
// and removed is put.
type RegistryEdit struct {
	Base       int64 `json:"base,omitempty"`       // generation of the state that it was made from
	Generation int64 `json:"generation,omitempty"` // of the state that it leads to

	Services         []*Service     `json:"services,omitempty"`  // put, each in the place of the one of its host
	Endpoints        []*EndpointSet `json:"endpoints,omitempty"` // put whole, as above
	Workloads        []*Workload    `json:"workloads,omitempty"`
	RemovedServices  []Host         `json:"removedServices,omitempty"`
	RemovedEndpoints []Host         `json:"removedEndpoints,omitempty"`
	RemovedWorkloads []ProxyID      `json:"removedWorkloads,omitempty"`
	Settings         *Settings      `json:"settings,omitempty"` // nil: as before
	// Certificates are all that there are now; nil: as before.
	Certificates []SealedCertificate `json:"certificates,omitzero"`
	// Problems are all that there are now; nil: as before.
	Problems []Problem `json:"problems,omitzero"`
}

// Len counts what the edit names.
func (e *RegistryEdit) Len() int {
	return len(e.Services) + len(e.Endpoints) + len(e.Workloads) + len(e.RemovedServices) + len(e.RemovedEndpoints) +
		len(e.RemovedWorkloads) + len(e.Certificates) + len(e.Problems)
}

// SealedCertificate is a [Certificate] on its way from the supervisor to the control plane.
type SealedCertificate struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Origin    Position `json:"origin"`
	Chain     string   `json:"chain"`
	Key       Sealed   `json:"key"`
}
