package agent

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/lateen-mesh/lateen/internal/disk"
)

// Pages are what can be looked at beside an Envoy. Neither shows a key.
const (
	LookConfig       = "config"       // what the Envoy has: its config dump, with endpoints
	LookCertificates = "certificates" // those that the Envoy uses
	LookIdentity     = "identity"     // what the agent says of the workload's certificate, a [Status]
)

// maxLook bounds a page.
const maxLook = 64 << 20

// Look returns a page, as JSON, of the proxy whose agent runs in a folder.
func Look(ctx context.Context, dir, page string) ([]byte, error) {
	var path string
	switch page {
	case LookConfig:
		path = "/config_dump?include_eds"
	case LookCertificates:
		path = "/certs"
	case LookIdentity:
		return disk.ReadFile(filepath.Join(dir, statusName), maxStatus)
	default:
		return nil, &Misused{Reason: fmt.Sprintf("there is no page %q", page), Advice: "there are " + LookConfig + ", " + LookCertificates + " and " + LookIdentity}
	}
	a := newAdmin(filepath.Join(dir, "admin.sock"))
	defer a.close()
	return a.page(ctx, path, maxLook)
}
