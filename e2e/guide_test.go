//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// clusterBlock is a block of a guide whose commands a test runs on the cluster.
var clusterBlock = regexp.MustCompile("(?ms)^```sh cluster\n(.*?)^```$")

// guidePrelude has the commands of a guide take the images of this run.
const guidePrelude = `set -euo pipefail
lateen() {
	local images=()
	case "$1 ${2:-}" in
	"install "*|"inject -f") images=($IMAGE_FLAGS) ;;
	esac
	command lateen "$@" "${images[@]}"
}
`

// guides are those with commands for a cluster, in the order in which they are read. After one, something is as it says.
var guides = []struct {
	file   string
	blocks int // at least
	after  func(*space)
}{
	{"kubernetes.md", 4, func(s *space) {
		s.apply(s.inject(strings.ReplaceAll(clientPod, "NAME", "client")))
		s.ready("client")
		if seen := s.stars("", 10); len(seen) != 1 || seen["red"] == 0 {
			s.t.Errorf("the pages show %v, want red stars: the guide's rule is applied", seen)
		}
	}},
	{"kubernetes-operating.md", 8, func(s *space) { s.kubectl("rollout", "status", "deployment/lateen", "--namespace="+lateenNamespace) }},
}

// The commands that the guides show work, one after the other, in a namespace of their own.
func TestGuide(t *testing.T) {
	needMesh(t)
	for _, g := range guides {
		t.Run(strings.TrimSuffix(g.file, ".md"), func(t *testing.T) {
			text, err := os.ReadFile(repository("docs/guide", g.file))
			if err != nil {
				t.Fatal(err)
			}
			blocks := clusterBlock.FindAllStringSubmatch(string(text), -1)
			if len(blocks) < g.blocks {
				t.Fatalf("the guide has %d blocks to run, want at least %d", len(blocks), g.blocks)
			}
			s := newSpace(t)
			s.follow(blocks)
			g.after(s)
		})
	}
}

// follow runs the commands of a guide.
func (s *space) follow(blocks [][]string) {
	t := s.t
	t.Helper()
	dir := t.TempDir()
	for _, shared := range []string{"deploy", "samples"} {
		from, err := filepath.Abs(repository(shared))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(from, filepath.Join(dir, shared)); err != nil {
			t.Fatal(err)
		}
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(s.kubectl("config", "view", "--raw", "--flatten")), 0o600); err != nil {
		t.Fatal(err)
	}
	s.kubectl("config", "set-context", "--current", "--kubeconfig="+kubeconfig, "--namespace="+s.name)
	bin, err := filepath.Abs(repository("bin"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		cmd := exec.CommandContext(t.Context(), "bash", "-c", guidePrelude+withImages(b[1]))
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "IMAGE_FLAGS="+strings.Join(imageFlags(), " "),
			"PATH="+bin+":"+filepath.Dir(kubectlPath())+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, b[1], out)
		}
		t.Logf("%s\n%s", b[1], out)
		s.allRolledOut()
	}
}
