//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/testapp"
)

// bookInfo is BookInfo with sidecars, and two pods that ask it: client has a sidecar, stranger has none.
func bookInfo(t *testing.T) *space {
	t.Helper()
	s := meshSpace(t)
	s.injectFile("deploy/bookinfo/bookinfo.yaml")
	s.allRolledOut()
	return s
}

// patientManifest is BookInfo without the bound of its own that a busy machine reaches: reviews v3 gives ratings 2.5 s, and answers with an error then.
// Here its program is that of v2, with black stars, which gives ratings 10 s: as long as a load waits for an answer.
func patientManifest(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(repository("deploy/bookinfo/bookinfo.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	patient := strings.Replace(string(text), `"--version=v3"`, `"--version=v2"`, 1)
	if patient == string(text) {
		t.Fatal("BookInfo has no reviews v3")
	}
	return patient
}

// patientBookInfo is BookInfo of that kind in the mesh.
func patientBookInfo(t *testing.T) *space {
	t.Helper()
	s := meshSpace(t)
	s.apply(s.inject(patientManifest(t)))
	s.allRolledOut()
	return s
}

const pageURL = "http://productpage:9080/productpage"

// page asks for the page of somebody, "" for nobody, as many times.
func (s *space) page(from, user string, times int) []testapp.Result {
	s.t.Helper()
	return s.pageAt(user, times, func(args ...string) []testapp.Result { return s.ask("pod/"+from, append(args, pageURL)...) })
}

// pageAt is the same, wherever somebody asks.
func (s *space) pageAt(user string, times int, ask func(args ...string) []testapp.Result) []testapp.Result {
	s.t.Helper()
	args := []string{fmt.Sprintf("--count=%d", times), "--fresh", "--timeout=20s"}
	if user != "" {
		args = append(args, "--header=Cookie=user="+user)
	}
	all := ask(args...)
	for _, r := range all {
		if r.Error != "" || r.Status != 200 || !strings.Contains(r.Body, "The Comedy of Errors") {
			s.t.Fatalf("the page of %q: status %d, %s: %.300s", user, r.Status, r.Error, r.Body)
		}
	}
	return all
}

// starsOf tells what a page shows: "none", "black" or "red" stars, or "no reviews".
func starsOf(r testapp.Result) string {
	switch {
	case strings.Contains(r.Body, "Error fetching product reviews"):
		return "no reviews"
	case !strings.Contains(r.Body, "glyphicon-star"):
		return "none"
	case strings.Contains(r.Body, `data-color="red"`):
		return "red"
	default:
		return "black"
	}
}

// stars counts what somebody's pages show.
func (s *space) stars(user string, times int) map[string]int {
	s.t.Helper()
	seen := map[string]int{}
	for _, r := range s.page("client", user, times) {
		seen[starsOf(r)]++
	}
	return seen
}

// row is what pages show with rules for BookInfo.
type row struct {
	rules   []string // of samples/bookinfo
	user    string
	shows   func(map[string]int) bool
	seconds float64 // that a page takes at least; 0: no bound
}

// times is how many pages show it.
func (r row) times() int {
	if r.seconds > 0 {
		return 1
	}
	return 30
}

func (r row) name() string { return strings.Join(r.rules, "+") + " " + r.user }

// all tells whether all pages show the same.
func all(want string) func(map[string]int) bool {
	return func(seen map[string]int) bool { return len(seen) == 1 && seen[want] > 0 }
}

// rows are the effects that rules of 2017 have on BookInfo.
func rows() []row {
	both := func(a, b string) func(map[string]int) bool {
		return func(seen map[string]int) bool { return len(seen) == 2 && seen[a] > 2 && seen[b] > 2 }
	}
	return []row{
		{rules: []string{"all-v1"}, shows: all("none")},
		{rules: []string{"all-v1", "reviews-jason-v2"}, user: "jason", shows: all("black")},
		{rules: []string{"all-v1", "reviews-jason-v2"}, shows: all("none")},
		{rules: []string{"all-v1", "reviews-jason-v2", "ratings-jason-delay"}, user: "jason", shows: all("no reviews"), seconds: 5},
		{rules: []string{"all-v1", "reviews-jason-v2", "ratings-jason-delay"}, shows: all("none")},
		{rules: []string{"reviews-half-v3"}, shows: both("none", "red")},
		{rules: []string{"reviews-v2-v3"}, shows: both("black", "red")},
		{rules: []string{"reviews-v3"}, shows: all("red")},
		{rules: []string{"reviews-v3", "ratings-abort"}, shows: all("none")},
		{rules: []string{"reviews-random"}, shows: func(seen map[string]int) bool { return len(seen) == 3 }},
	}
}

// The page comes from a pod with a sidecar and from one without, through the Service; each rule for BookInfo does what it says, whether kubectl or
// lateen applies it, from the moment that lateen says it is in force.
func TestBookInfoEffects(t *testing.T) {
	s := bookInfo(t)
	s.page("client", "", 1)
	s.page("stranger", "", 1)
	for _, row := range rows() {
		t.Run(row.name(), func(t *testing.T) {
			s := &space{t, s.name}
			for _, rule := range row.rules {
				s.lateen("apply", "-f", repository("samples/bookinfo", rule+".yaml"))
			}
			begun := time.Now()
			if seen := s.stars(row.user, row.times()); !row.shows(seen) {
				t.Errorf("the pages of %q show %v", row.user, seen)
			}
			if took := time.Since(begun).Seconds(); took < row.seconds {
				t.Errorf("the page took %.1f s, want %.1f s of delay", took, row.seconds)
			}
			for _, rule := range row.rules {
				s.lateen("delete", "-f", repository("samples/bookinfo", rule+".yaml"))
			}
		})
	}

	t.Run("by kubectl", func(t *testing.T) {
		s := &space{t, s.name}
		text, err := os.ReadFile(repository("samples/bookinfo/reviews-v3.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		s.apply(string(text))
		s.await("red stars", func() error {
			if seen := s.stars("", 6); !all("red")(seen) {
				return fmt.Errorf("%v", seen)
			}
			return nil
		})
		if got := s.lateen("get", "routerules"); !strings.Contains(got, "reviews-default") {
			t.Errorf("lateen does not see what kubectl has applied: %s", got)
		}
	})
}

// Through the ingress each rule does the same, with sidecars that pods got by themselves and rules that kubectl applies, each a moment later.
func TestBookInfoThroughTheIngress(t *testing.T) {
	s := injectedSpace(t)
	s.applyFile("deploy/bookinfo/bookinfo.yaml")
	s.apply(withoutSidecar("stranger"))
	host := s.name + ".example.com"
	s.apply(strings.ReplaceAll(bookInfoIngress, "HOST", host))
	s.allRolledOut()
	s.ready("stranger")
	url := "http://" + host + "/productpage"
	s.awaitOutside(url)
	for _, row := range rows() {
		t.Run(row.name(), func(t *testing.T) {
			s := &space{t, s.name}
			for _, rule := range row.rules {
				s.applyFile("samples/bookinfo", rule+".yaml")
			}
			s.await("what the pages of "+row.user+" show", func() error {
				begun, seen := time.Now(), map[string]int{}
				for _, r := range s.pageAt(row.user, row.times(), func(args ...string) []testapp.Result {
					return s.ask("pod/stranger", append(args, "--connect="+ingressHTTP, url)...)
				}) {
					seen[starsOf(r)]++
				}
				if took := time.Since(begun).Seconds(); !row.shows(seen) || took < row.seconds {
					return fmt.Errorf("%v after %.1f s", seen, took)
				}
				return nil
			})
			for _, rule := range row.rules {
				s.kubectl("delete", "-f", repository("samples/bookinfo", rule+".yaml"))
			}
		})
	}
}
