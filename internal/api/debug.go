package api

// TokenFile is the name of the file in the state folder that holds the token for the debug pages of a running control
// plane.
const TokenFile = "admin.token"

// CacheStats tells how often a resource was known when a view was cut: GET /cache_stats of the port for health and
// metrics.
type CacheStats struct {
	Hits       int64                `json:"hits"`       // views whose resource was known
	Misses     int64                `json:"misses"`     // resources made
	Subscribed int                  `json:"subscribed"` // resources that proxies subscribe to
	Resources  int                  `json:"resources"`  // distinct ones in memory
	Bytes      int                  `json:"bytes"`      // of those; of a listener that its proxy has confirmed none are kept
	Kinds      map[string]CacheKind `json:"kinds"`      // by kind: "cluster"
}

// CacheKind is the part of [CacheStats] of one kind of resources.
type CacheKind struct {
	Hits   int64 `json:"hits"`
	Misses int64 `json:"misses"`
}
