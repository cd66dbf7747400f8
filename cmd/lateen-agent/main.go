// Command lateen-agent is what runs beside an application in a pod: what captures its traffic, and the agent of its Envoy.
package main

import (
	"context"
	"os"

	"github.com/lateen-mesh/lateen/internal/sidecar"
)

func main() {
	os.Exit(sidecar.Main(context.Background(), os.Args[1:], sidecar.Output{Out: os.Stdout, Err: os.Stderr}))
}
