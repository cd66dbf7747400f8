// Package capb is the wire to the certificate authority: the messages and the gRPC service of ca.proto, and the code that is
// generated from it. What a caller may rely on stands in the comments of that file.
package capb

//go:generate go run -C ../../../tools ./protogen ../internal ca/capb/ca.proto
