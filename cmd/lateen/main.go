// Command lateen is the service mesh: control plane, supervisor, agent and command line in one program.
package main

import (
	"context"
	"os"

	"github.com/lateen-mesh/lateen/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:]))
}
