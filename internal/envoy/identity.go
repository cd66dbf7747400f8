package envoy

// How an Envoy comes by what proves its identity: from its agent, which answers on the cluster SDSCluster with two secrets.
const (
	SDSCluster     = "sds"
	IdentitySecret = "identity" // the workload's certificate with its key
	TrustSecret    = "trust"    // the roots by which others are trusted
)
