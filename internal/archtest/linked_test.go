package archtest

import (
	"bufio"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// makeTags is the line of the Makefile that says with which tags the programs are built.
var makeTags = regexp.MustCompile(`(?m)^TAGS += (\S+)$`)

func tagsOf(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	tags := makeTags.FindSubmatch(text)
	if tags == nil {
		t.Fatal("the Makefile does not say with which tags it builds")
	}
	return string(tags[1])
}

// Nothing in the programs looks a method up by a name that it reads, as text/template does: the linker would have to keep all
// exported methods of all types then, and Envoy's messages and Kubernetes' kinds have tens of thousands.
func TestNoMethodIsCalledByName(t *testing.T) {
	t.Parallel()
	tags := tagsOf(t)
	for _, program := range []string{"./cmd/lateen", "./cmd/lateen-agent"} {
		if found := byName(t, program, tags); len(found) > 0 {
			t.Errorf("%s calls methods by name, or a library does: %q", program, found)
		}
	}
	if found := byName(t, "./internal/archtest/testdata/named", tags); len(found) == 0 {
		t.Error("a program that does it is not found")
	}
}

// What is large and has no use in the programs is in none of them.
func TestWhatIsLinked(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", tagsOf(t), "./cmd/...")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Fields(string(out))
	for _, name := range []string{
		"k8s.io/client-go/kubernetes", "k8s.io/client-go/kubernetes/scheme", "k8s.io/client-go/informers", // every kind there is: internal/kubeapi has ours
		"k8s.io/client-go/discovery", "k8s.io/client-go/applyconfigurations/internal", "github.com/google/gnostic-models/openapiv3",
		"testing", "github.com/google/go-cmp/cmp", "golang.org/x/net/trace",
	} {
		if slices.Contains(all, name) {
			t.Errorf("the programs contain %s", name)
		}
	}
	if !slices.Contains(all, "k8s.io/client-go/rest") {
		t.Errorf("nothing is seen: %q", all)
	}
}

// byName returns the functions of a program that look methods up by name, as the linker says it.
func byName(t *testing.T, program, tags string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-tags", tags, "-ldflags=-dumpdep", "-o", os.DevNull, program)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var found []string
	last := ""
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		last = lines.Text()
		if name, _, ok := strings.Cut(last, " <ReflectMethod>"); ok && !strings.Contains(name, " ") && (len(found) == 0 || found[len(found)-1] != name) {
			found = append(found, name)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("build %s: %v: %s", program, err, last)
	}
	return found
}
