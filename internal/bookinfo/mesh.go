package bookinfo

import _ "embed" // the Mesh file

// MeshFile is the Mesh file that runs BookInfo on one machine: six workloads, an ingress and its paths.
//
//go:embed mesh.yaml
var MeshFile string
