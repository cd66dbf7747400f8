package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/bookinfo"
	"github.com/lateen-mesh/lateen/internal/local"
)

const (
	demoName = "bookinfo"
	// demoNext is the next step for who sees the demo run.
	demoNext = "In another terminal, `lateen apply -f FILE` changes a rule, and the next page is different."
)

func newDemoCommand(m *meshFlags, kill <-chan struct{}) *cobra.Command {
	u := &up{mesh: m, kill: kill}
	var printFile bool
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Run BookInfo on this machine",
		Example: "  lateen demo\n  lateen demo --print > mesh.yaml",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if printFile {
				_, err := fmt.Fprint(cmd.OutOrStdout(), bookinfo.MeshFile)
				return err
			}
			path, err := u.writeDemo()
			if err != nil {
				return err
			}
			u.files = append([]string{path}, u.files...)
			return u.run(cmd, demoName, func(d local.Door, token string) []string {
				return u.doors(d, token, "product page", "/productpage", demoNext)
			})
		},
	}
	cmd.Flags().BoolVar(&printFile, "print", false, "print the demo's Mesh file and end")
	cmd.Flags().StringArrayVarP(&u.files, "filename", "f", nil, "file or folder with rules to watch; may be given several times")
	u.addTo(cmd.Flags())
	return cmd
}

// writeDemo writes the demo's Mesh file into the state folder and returns its path.
func (u *up) writeDemo() (string, error) {
	dir, _, err := u.mesh.dir(demoName)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", failed("name another state folder with --state-dir", "%w", err)
	}
	path := filepath.Join(dir, defaultMeshFile)
	return path, os.WriteFile(path, []byte(bookinfo.MeshFile), 0o600)
}
