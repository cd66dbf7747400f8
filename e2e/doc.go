// Package e2e holds the end-to-end tests: they see Lateen as its users do, through kubectl, lateen and HTTP, on a real
// Kubernetes.
//
// `make e2e` runs them in the cluster of package testcluster, which it starts and ends unless it is up; or in the one that
// KUBECONFIG names, with images of IMAGE_REGISTRY, pushed there by `make images PUSH=REGISTRY/PREFIX TAG=1.0`:
//
//	make e2e KUBECONFIG=$HOME/.kube/config IMAGE_REGISTRY=REGISTRY/PREFIX IMAGE_TAG=1.0
//
// Each test has a namespace of its own ([newSpace]), so that tests run at a time and need no order. It applies manifests,
// which name the images lateen-…:dev whatever the registry; it asks from within, by the testapp client in a pod; and it waits
// for conditions, never for time. When it fails, everything about its namespace is in the folder that the failure names.
// What a test does outside its namespace it undoes, and then it is not parallel.
//
// Tests named Load… do to the cluster what happens to clusters, under requests from a pod of the mesh and through the ingress at a time, and tell a table
// of both. `make e2e` runs a tenth, `make e2e-soak` all of it, which takes half an hour on a machine that has nothing else to do:
//
//	make e2e-soak | tee load.log; sed -n 's/.*load table: //p' load.log
//
// The tests have the build tag e2e, since `go test ./...` has no cluster.
package e2e
