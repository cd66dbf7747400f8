package mesh

// Sight is what a cluster says of an object beside the object's own words.
type Sight struct {
	UID             string
	ResourceVersion string
	Generation      int64  // of the spec: it does not change with metadata and status
	Status          []byte // what stands there as the object's status, in JSON; nil: nothing
}

// Judged is an object of a cluster with what the control plane says of it.
type Judged struct {
	Object     Ref
	APIVersion string
	Plural     string // of its kind: "routerules"
	Sight
	Problems []Problem
	Reach    *Reach // nil: it is not applied, or nobody counts
}

// Reach tells how far what came of an object has travelled, among the proxies that are connected.
type Reach struct {
	Concerned int    // proxies that have, or are to have, something that came of it
	Confirmed int    // those of them that have the newest of it in force
	Unsure    string // why there may be more proxies, of which nobody knows; "": these are all
}
