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

const pageURL = "http://productpage:9080/productpage"

// page asks for the page of somebody, "" for nobody, as many times.
func (s *space) page(from, user string, times int) []testapp.Result {
	s.t.Helper()
	args := []string{fmt.Sprintf("--count=%d", times), "--fresh", "--timeout=20s"}
	if user != "" {
		args = append(args, "--header=Cookie=user="+user)
	}
	all := s.ask("pod/"+from, append(args, pageURL)...)
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

// The page comes from a pod with a sidecar and from one without, through the Service; each rule for BookInfo does what it says, whether kubectl or
// lateen applies it, from the moment that lateen says it is in force.
func TestBookInfoEffects(t *testing.T) {
	s := bookInfo(t)
	s.page("client", "", 1)
	s.page("stranger", "", 1)

	all := func(want string) func(map[string]int) bool {
		return func(seen map[string]int) bool { return len(seen) == 1 && seen[want] > 0 }
	}
	both := func(a, b string) func(map[string]int) bool {
		return func(seen map[string]int) bool { return len(seen) == 2 && seen[a] > 2 && seen[b] > 2 }
	}
	for _, step := range []struct {
		rules   []string // of samples/bookinfo
		user    string
		shows   func(map[string]int) bool
		seconds float64 // that a page takes at least; 0: no bound
	}{
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
	} {
		t.Run(strings.Join(step.rules, "+")+" "+step.user, func(t *testing.T) {
			s := &space{t, s.name}
			for _, rule := range step.rules {
				s.lateen("apply", "-f", repository("samples/bookinfo", rule+".yaml"))
			}
			times := 30
			if step.seconds > 0 {
				times = 1
			}
			begun := time.Now()
			if seen := s.stars(step.user, times); !step.shows(seen) {
				t.Errorf("the pages of %q show %v", step.user, seen)
			}
			if took := time.Since(begun).Seconds(); took < step.seconds {
				t.Errorf("the page took %.1f s, want %.1f s of delay", took, step.seconds)
			}
			for _, rule := range step.rules {
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
