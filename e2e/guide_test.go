//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// clusterBlock is a block of a guide whose commands a test runs on the cluster, one after the other or, where it has a name, by that.
var clusterBlock = regexp.MustCompile("(?ms)^```sh cluster(?:=([a-z]+))?\n(.*?)^```$")

// blocksOf returns the commands of a guide's blocks that have a name, or of those that have none.
func blocksOf(t *testing.T, guide, name string) []string {
	t.Helper()
	text, err := os.ReadFile(repository("docs/guide", guide))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, b := range clusterBlock.FindAllStringSubmatch(string(text), -1) {
		if b[1] == name {
			blocks = append(blocks, b[2])
		}
	}
	return blocks
}

// guidePrelude has the commands of a guide take the images of this run, and nobody asked.
const guidePrelude = `set -euo pipefail
lateen() {
	local more=()
	case "$1 ${2:-}" in
	"install "*|"inject -f") more=($IMAGE_FLAGS) ;;
	"uninstall "*) more=(--yes) ;;
	esac
	command lateen "$@" "${more[@]}"
}
helm() {
	local more=()
	case "$1" in install | upgrade) more=(--set-string "$HELM_VALUES") ;; esac
	command helm "$@" "${more[@]}"
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
			blocks := blocksOf(t, g.file, "")
			if len(blocks) < g.blocks {
				t.Fatalf("the guide has %d blocks to run, want at least %d", len(blocks), g.blocks)
			}
			s := newSpace(t)
			reader := s.newReader()
			for _, b := range blocks {
				reader.follows(b)
				s.allRolledOut()
			}
			g.after(s)
		})
	}
}

// A root that was copied, as the guide says, is that of another installation, when nothing is left of the one that it comes from.
func TestGuideElsewhere(t *testing.T) {
	const guide = "kubernetes-operating.md"
	s := newSpace(t)
	needMesh(t)
	reader := s.newReader()
	copying := slices.DeleteFunc(blocksOf(t, guide, ""), func(block string) bool { return !strings.Contains(block, ">lateen-ca.yaml") })
	going, coming := blocksOf(t, guide, "uninstall"), blocksOf(t, guide, "elsewhere")
	if len(copying) != 1 || len(going) != 1 || len(coming) != 1 {
		t.Fatalf("the guide copies the root %d times, uninstalls %d times, and puts the copy back %d times", len(copying), len(going), len(coming))
	}
	reader.follows(copying[0])
	rootNow := func() []string {
		var said struct {
			Authority struct {
				Roots []struct{ Fingerprint string }
			}
		}
		if err := json.Unmarshal([]byte(reader.follows("lateen ca show -o json")), &said); err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, root := range said.Authority.Roots {
			all = append(all, root.Fingerprint)
		}
		return all
	}
	root := rootNow()
	reader.follows(going[0])
	s.nothingLeft()
	reader.follows(coming[0])
	if is := rootNow(); len(root) != 1 || !slices.Equal(is, root) {
		t.Errorf("the root was %v, and is %v", root, is)
	}
	s.program("check")
}

// Who installs with Helm has the same mesh, which `lateen check` finds nothing wrong with, and nothing is left of it afterwards.
func TestGuideHelm(t *testing.T) {
	const guide = "kubernetes-operating.md"
	s := newSpace(t, "istio-injection=enabled")
	needMesh(t)
	reader := s.newReader()
	going, coming, helmGoing := blocksOf(t, guide, "uninstall"), blocksOf(t, guide, "helm"), blocksOf(t, guide, "unhelm")
	if len(going) != 1 || len(coming) != 1 || len(helmGoing) != 1 {
		t.Fatalf("the guide uninstalls %d times, installs with Helm %d times, and uninstalls that %d times", len(going), len(coming), len(helmGoing))
	}
	reader.follows(going[0])
	t.Cleanup(func() { // for the tests after this one
		if _, err := runLateen(context.WithoutCancel(t.Context()), "", append([]string{"install", "--force"}, imageFlags()...)...); err != nil {
			t.Error(err)
		}
	})
	if told := reader.follows(coming[0]); !strings.Contains(told, "STATUS: deployed") || strings.Contains(told, "warning") {
		t.Errorf("Helm and `lateen check` say:\n%s", told)
	}
	s.apply(strings.ReplaceAll(clientPod, "NAME", "client"))
	s.ready("client")
	if got := s.kubectl("get", "pod", "client", "-o", "jsonpath={.spec.initContainers[*].name}"); !strings.Contains(got, "lateen-proxy") {
		t.Errorf("the pod has %q beside its application, and no proxy", got)
	}
	s.kubectl("delete", "pod", "client", "--now")
	reader.follows(helmGoing[0])
	s.nothingLeft()
}

// reader is somebody who does what a guide says, in a folder of their own.
type reader struct {
	t          *testing.T
	dir        string
	kubeconfig string
	path       string
}

func (s *space) newReader() *reader {
	t := s.t
	t.Helper()
	r := &reader{t: t, dir: t.TempDir()}
	for _, shared := range []string{"deploy", "samples"} {
		from, err := filepath.Abs(repository(shared))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(from, filepath.Join(r.dir, shared)); err != nil {
			t.Fatal(err)
		}
	}
	r.kubeconfig = filepath.Join(r.dir, "kubeconfig")
	if err := os.WriteFile(r.kubeconfig, []byte(s.kubectl("config", "view", "--raw", "--flatten")), 0o600); err != nil {
		t.Fatal(err)
	}
	s.kubectl("config", "set-context", "--current", "--kubeconfig="+r.kubeconfig, "--namespace="+s.name)
	bin, err := filepath.Abs(repository("bin"))
	if err != nil {
		t.Fatal(err)
	}
	r.path = bin + ":" + filepath.Dir(kubectlPath()) + ":" + os.Getenv("PATH")
	return r
}

// follows runs commands of a guide and returns what they print.
func (r *reader) follows(commands string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "bash", "-c", guidePrelude+withImages(commands))
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "KUBECONFIG="+r.kubeconfig, "IMAGE_FLAGS="+strings.Join(imageFlags(), " "), "HELM_VALUES="+helmValues(), "PATH="+r.path)
	var out, told bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &told
	if err := cmd.Run(); err != nil {
		r.t.Fatalf("%v\n%s\n%s%s", err, commands, &out, &told)
	}
	r.t.Logf("%s\n%s%s", commands, &out, &told)
	return out.String()
}
