package mesh

// Registry is what one source knows of services and of what runs. It is whole: what does not stand in it is gone.
type Registry struct {
	Services  []*Service     `json:"services"`
	Endpoints []*EndpointSet `json:"endpoints"`
	Workloads []*Workload    `json:"workloads"`
}
