// Package api holds the JSON forms of Lateen's API and a client for it.
//
// The control plane serves the API over HTTP on the Unix socket STATE/api.sock (mode 0600: whoever may open it may
// do everything). Commands and the one-machine supervisor use the [Client] of this package. The forms are fixed in
// docs/reference/interfaces.md; what stands there changes only with a decision record.
//
// Answers with a status of 400 or more carry an [Error]. Problems of objects are no errors of the API: they stand in
// the answer beside what was done for the other objects.
package api

import (
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Op says what a [Write] does with each object.
type Op string

// Create refuses an object that exists, Replace one that does not, Apply takes both.
const (
	Create  Op = "create"
	Replace Op = "replace"
	Apply   Op = "apply"
)

// Write asks to write objects: POST /v1/objects, answered with [Written].
type Write struct {
	Op        Op     `json:"op"`
	Namespace string `json:"namespace,omitempty"` // of objects that name none; one that names another is refused
	Files     []File `json:"files"`
}

// File is a YAML file with any number of documents. Name is only shown.
type File struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Delete asks to delete objects: POST /v1/objects/delete, answered with [Written]. The objects are those named and
// those that the files hold.
type Delete struct {
	Namespace string     `json:"namespace,omitempty"`
	Objects   []mesh.Ref `json:"objects,omitempty"`
	Files     []File     `json:"files,omitempty"`
}

// Compare asks what applying objects would change: POST /v1/objects/diff, answered with [Compared]. Nothing is changed.
type Compare struct {
	Namespace string `json:"namespace,omitempty"` // of objects that name none; one that names another is refused
	Files     []File `json:"files"`
}

// Compared tells what would change, object by object, in the order of the files. What would be refused is a problem.
type Compared struct {
	Differences []Difference   `json:"differences"`
	Problems    []mesh.Problem `json:"problems,omitempty"`
}

// Difference is one object that would be created or updated, as it is stored and as it would be.
type Difference struct {
	Object mesh.Ref `json:"object"`
	Type   string   `json:"type"`             // "route-rule"
	Before string   `json:"before,omitempty"` // YAML; "" when there is no such object yet
	After  string   `json:"after"`            // YAML
}

// Written tells what a Write or Delete did, object by object, in the order of the files.
type Written struct {
	Results  []Result       `json:"results"`
	Problems []mesh.Problem `json:"problems,omitempty"`
	Revision int64          `json:"revision"` // of the snapshot that holds the change
}

// Result is one object that was written or deleted.
type Result struct {
	Verb            string   `json:"verb"` // "created", "updated", "unchanged", "deleted"
	Object          mesh.Ref `json:"object"`
	Type            string   `json:"type"` // "route-rule"
	ResourceVersion int64    `json:"resourceVersion"`
}

// Object is an object as it is stored: GET /v1/objects?kind=&namespace=&name=&labels= answers with a list of them, sorted.
type Object struct {
	mesh.Ref
	APIVersion      string        `json:"apiVersion"`
	Type            string        `json:"type"`
	ResourceVersion int64         `json:"resourceVersion"`
	Origin          mesh.Position `json:"origin"`
	Source          string        `json:"source"`          // who owns it: SourceFile, SourceCommand or SourceCluster
	Owner           string        `json:"owner,omitempty"` // of one in a cluster: the program that wrote it last, as the API server noted it
	Text            string        `json:"text"`            // YAML
}

// Who owns an object.
const (
	SourceFile    = "file"    // it stands in a watched file, and changes only there
	SourceCommand = "api"     // it was written with a command
	SourceCluster = "cluster" // it is kept by the API server of a cluster
)

// Accepted answers PUT /v1/registry, whose body is a [mesh.Registry], and PATCH /v1/registry, whose body is a
// [mesh.RegistryEdit].
type Accepted struct {
	Revision int64 `json:"revision"`
}

// Query says which objects are asked for; what is empty matches everything.
type Query struct {
	Kind      string // "RouteRule"
	Namespace string
	Name      string
	Labels    string // a [Selector]
}

// Progress tells how far a revision has travelled: GET /v1/revisions/N/progress?wait=DURATION waits until no proxy
// is waited for or the time is over.
type Progress struct {
	Revision  int64    `json:"revision"`
	Reached   bool     `json:"reached"`           // false while the control plane has not made it, as it is just starting
	Concerned int      `json:"concerned"`         // proxies that the change sends something to
	Confirmed int      `json:"confirmed"`         // those of them that have it in force
	Waiting   []string `json:"waiting,omitempty"` // IDs of those that have not
	Refused   []string `json:"refused,omitempty"` // "PROXY: the proxy's own words"
	Away      []string `json:"away,omitempty"`    // IDs of those that run and have lost their stream, and do as before until they are back
	// Handovers say of hosts whose ports are secured otherwise by the revision how far that is: "HOST: the step in words".
	Handovers []string `json:"handovers,omitempty"`
	// Unseen are objects that a replica of the control plane does not know yet as they were written to a cluster.
	Unseen []string `json:"unseen,omitempty"`
}

// Done tells whether nothing is waited for.
func (p Progress) Done() bool { return p.Reached && len(p.Waiting) == 0 && len(p.Handovers) == 0 }

// Status answers GET /v1/status.
type Status struct {
	Version  string   `json:"version"`
	Mesh     string   `json:"mesh,omitempty"` // name of the mesh; missing: the control plane was not told
	Ready    bool     `json:"ready"`
	Missing  []string `json:"missing,omitempty"` // sources that have not reported yet
	Stale    []string `json:"stale,omitempty"`   // those that have not either, and of which what they said before a restart counts
	Revision int64    `json:"revision"`
	Proxies  int      `json:"proxies"` // connected
	// Waiting are proxies whose streams wait, since the mesh knows no workload of their name and type, sorted, at most 100.
	Waiting []Waiting `json:"waiting,omitempty"`
}

// Waiting is a proxy that waits until its workload is known.
type Waiting struct {
	ID       mesh.ProxyID   `json:"id"`
	Type     mesh.ProxyType `json:"type"`
	Identity string         `json:"identity,omitempty"` // SPIFFE ID that it has proven; missing: none
	Streams  int            `json:"streams"`
	Since    time.Time      `json:"since"` // when the first of them came
}

// Problems answers GET /v1/problems.
type Problems struct {
	Problems []mesh.Problem `json:"problems"`
}

// Use tells which hosts the proxies of a workload have asked for: GET /v1/uses answers with a list of them. The next
// replica is given these at once.
type Use struct {
	Type      mesh.ProxyType `json:"type"`
	Namespace string         `json:"namespace"`
	Account   string         `json:"account,omitempty"`
	Labels    mesh.Labels    `json:"labels,omitempty"`
	Hosts     []UsedHost     `json:"hosts"` // sorted
}

// UsedHost is a host as callers spell it, and when it was asked for last or was still in use by who had asked.
type UsedHost struct {
	Host  string    `json:"host"`
	Asked time.Time `json:"asked"`
}

// Explain says what is to be shown: GET /v1/explain?proxy=&resource=&stage= answers with text.
type Explain struct {
	Proxy    mesh.ProxyID
	Resource string // "virtual-host out/reviews:9080"
	Stage    string // "view", "plan" or "envoy"
}

// Error is why a request failed, with the next step where there is one.
type Error struct {
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"`
	Status  int    `json:"-"` // of the answer, as HTTP has it
}

// Error returns the message without the hint.
func (e *Error) Error() string { return e.Message }
