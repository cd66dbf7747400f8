package cli

import (
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/lateen-mesh/lateen/internal/golden"
	"github.com/lateen-mesh/lateen/internal/kubetest"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// TestInstallScripts runs the commands that are about a whole cluster. Each script has a cluster of its own, without controllers.
func TestInstallScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join("testdata", "install"),
		UpdateScripts: golden.Updating(),
		Setup: func(e *testscript.Env) error {
			server := kubetest.StartOwn(t)
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "s"))
			e.Setenv("admin", server.Kubeconfig)
			e.Setenv("nobody", server.User(t, "nobody"))
			e.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector would have each command end a second later
			e.Setenv("PATH", filepath.Join(meshtest.Root(t), "bin", "kubernetes")+":"+e.Getenv("PATH"))
			e.Setenv("HOME", e.WorkDir) // kubectl keeps what it knows of kinds
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"fails": fails},
	})
}
