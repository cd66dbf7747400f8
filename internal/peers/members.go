package peers

// Replica is another control plane of the same mesh.
type Replica struct {
	Name    string // of its pod
	Address string // HOST:PORT where it answers, over mutual TLS
}

// Members tells which other replicas there are.
type Members interface {
	// Replicas returns the others that count, sorted by name, and whether that is known: before it is, nobody can say that
	// there is nobody else.
	Replicas() ([]Replica, bool)
}
