package meshtest_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// applySample applies a file of samples/bookinfo.
func applySample(t *testing.T, m *meshtest.Mesh, name string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(meshtest.Root(t), "samples", "bookinfo", name))
	if err != nil {
		t.Fatal(err)
	}
	m.Apply(string(text))
}

// pages fetches the product page a number of times, several at once, and counts the stars.
func pages(t *testing.T, door *meshtest.Instance, number int, headers ...string) map[string]int {
	t.Helper()
	const atOnce = 4
	var (
		mu      sync.Mutex
		running sync.WaitGroup
		seen    = map[string]int{}
	)
	for range atOnce {
		client := door.Client()
		running.Go(func() {
			for range number / atOnce {
				got, err := try(t.Context(), client, request{url: productpage, header: headers})
				shown := stars(got.body)
				if err != nil || got.status != http.StatusOK || strings.Contains(got.body, "Error fetching") {
					shown = "error"
				}
				mu.Lock()
				seen[shown]++
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return seen
}

// wantStars checks the shares of stars on pages, in percent, within 5 points of which at least 1000 pages make chance no
// matter.
func wantStars(t *testing.T, seen map[string]int, want map[string]float64) {
	t.Helper()
	total := 0
	for _, n := range seen {
		total += n
	}
	for shown, n := range seen {
		if share := 100 * float64(n) / float64(total); share < want[shown]-5 || share > want[shown]+5 || want[shown] == 0 {
			t.Errorf("%.1f %% of the pages show the stars %s, want %.0f: %v", share, shown, want[shown], seen)
		}
	}
	for shown, share := range want {
		if share > 5 && seen[shown] == 0 {
			t.Errorf("no page shows the stars %s: %v", shown, seen)
		}
	}
}

// route-rule-all-v1: everything in version v1, nobody sees stars.
func TestEffectAllV1(t *testing.T) {
	t.Parallel()
	m, door := bookInfo(t)
	applySample(t, m, "all-v1.yaml")
	wantStars(t, pages(t, door, 100), map[string]float64{"none": 100})
}

// route-rule-reviews-test-v2, and TestVersionRouting: jason sees v2 with black stars, everybody else v1.
func TestEffectReviewsTestV2(t *testing.T) {
	t.Parallel()
	m, door := bookInfo(t)
	applySample(t, m, "all-v1.yaml")
	applySample(t, m, "reviews-jason-v2.yaml")
	wantStars(t, pages(t, door, 40, "Cookie", jason), map[string]float64{"black": 100})
	wantStars(t, pages(t, door, 40, "Cookie", "theme=dark; "+jason+"; lang=en"), map[string]float64{"black": 100})
	wantStars(t, pages(t, door, 40), map[string]float64{"none": 100})
	wantStars(t, pages(t, door, 40, "Cookie", "user=jasonx"), map[string]float64{"none": 100})
	if normal, test := page(t, door), page(t, door, "Cookie", jason); normal == test {
		t.Error("jason's page is like everybody's")
	}
}

// route-rule-ratings-test-delay, and TestFaultDelay: jason's page takes 5 to 8 s and shows the error of the reviews.
func TestEffectRatingsTestDelay(t *testing.T) {
	t.Parallel()
	m, door := bookInfo(t)
	for _, name := range []string{"all-v1.yaml", "reviews-jason-v2.yaml", "ratings-jason-delay.yaml"} {
		applySample(t, m, name)
	}
	got := get(t, door, productpage, "Cookie", jason)
	if got.status != http.StatusOK || got.took < 5*time.Second || got.took > 8*time.Second {
		t.Errorf("jason's page: %d after %v, want 200 after 5 to 8 s", got.status, got.took)
	}
	for _, text := range []string{"Error fetching product reviews!", "Sorry, product reviews are currently unavailable for this book.", "Book Details"} {
		if !strings.Contains(got.body, text) {
			t.Errorf("jason's page does not show %q", text)
		}
	}
	if got := get(t, door, productpage); got.took > 3*time.Second || stars(got.body) != "none" || strings.Contains(got.body, "Error fetching") {
		t.Errorf("everybody's page comes after %v: %s", got.took, got.body)
	}
}

// route-rule-reviews-50-v3, and TestVersionMigration: of 1000 pages half show no stars and half red ones.
func TestEffectReviews50V3(t *testing.T) {
	t.Parallel()
	m, door := bookInfo(t)
	applySample(t, m, "all-v1.yaml")
	applySample(t, m, "reviews-half-v3.yaml")
	seen := pages(t, door, 2000)
	wantStars(t, seen, map[string]float64{"none": 50, "red": 50})
	if seen["none"] > 1100 || seen["red"] < 900 {
		t.Errorf("v1 %d, v3 %d of 2000, want at most 55 %% and at least 45 %%", seen["none"], seen["red"])
	}
}

// route-rule-reviews-v2-v3: half black stars, half red ones.
func TestEffectReviewsV2V3(t *testing.T) {
	t.Parallel()
	m, door := bookInfo(t)
	applySample(t, m, "all-v1.yaml")
	applySample(t, m, "reviews-v2-v3.yaml")
	wantStars(t, pages(t, door, 2000), map[string]float64{"black": 50, "red": 50})
}

// route-rule-reviews-v3: everybody sees red stars.
func TestEffectReviewsV3(t *testing.T) {
	t.Parallel()
	m, door := bookInfo(t)
	applySample(t, m, "reviews-v3.yaml")
	wantStars(t, pages(t, door, 100), map[string]float64{"red": 100})
}

// A fault of the ratings that the file makes: reviews without stars, and no error.
func TestEffectRatingsAbort(t *testing.T) {
	t.Parallel()
	m, door := bookInfo(t)
	applySample(t, m, "ratings-abort.yaml")
	wantStars(t, pages(t, door, 100), map[string]float64{"none": 100})
}

// destination-policy-reviews: the versions are taken by chance, a third each, no longer in turn.
func TestEffectDestinationPolicyRandom(t *testing.T) {
	t.Parallel()
	m, _ := bookInfo(t)
	caller := m.Caller("caller", nil)
	client := caller.Client()
	const number = 3000
	repeats := func() (seen map[string]int, repeated int) {
		seen = map[string]int{}
		last := ""
		for range number {
			shown := shownBy(t, client)
			seen[shown]++
			if shown == last {
				repeated++
			}
			last = shown
		}
		return seen, repeated
	}
	if seen, repeated := repeats(); repeated > number/100 {
		t.Errorf("without a policy a version answers twice in a row %d times: %v", repeated, seen)
	}
	applySample(t, m, "reviews-random.yaml")
	seen, repeated := repeats()
	third := 100. / 3
	wantStars(t, seen, map[string]float64{"none": third, "black": third, "red": third})
	wantStars(t, map[string]int{"twice": repeated, "other": number - repeated}, map[string]float64{"twice": third, "other": 100 - third})
}

// bookinfo.yaml alone: no stars, black ones and red ones in turn. cleanup.sh: after any rules, when all are deleted, again.
func TestEffectOfNoRules(t *testing.T) {
	t.Parallel()
	m, door := bookInfo(t)
	third := map[string]float64{"none": 100. / 3, "black": 100. / 3, "red": 100. / 3}
	wantStars(t, pages(t, door, 300), third)
	applySample(t, m, "all-v1.yaml")
	applySample(t, m, "ratings-abort.yaml")
	wantStars(t, pages(t, door, 40), map[string]float64{"none": 100})
	for _, name := range []string{"productpage-default", "reviews-default", "ratings-default", "details-default", "ratings-abort"} {
		m.Delete("RouteRule", name)
	}
	wantStars(t, pages(t, door, 300), third)
}

// The rules for the ingress of version 0.3's route-rule-all-v1: from outside only some paths of a service are answered,
// inside all of them.
func TestEffectRulesForTheIngress(t *testing.T) {
	t.Parallel()
	m, door := bookInfo(t)
	caller := m.Caller("caller", nil)
	m.Apply("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: all}\n" +
		"spec: {defaultBackend: {service: {name: productpage, port: {number: 9080}}}}\n")
	m.Apply(ruleFor("productpage", "ingress-deny", "precedence: 1, match: {source: {labels: {istio: ingress}}}, httpFault: {abort: {httpStatus: 403}}"))
	m.Apply(ruleFor("productpage", "ingress-page", "precedence: 2, match: {source: {name: istio-ingress, namespace: istio-system}, "+
		"request: {headers: {uri: {prefix: /productpage}}}}"))
	for _, c := range []struct {
		from   *meshtest.Instance
		path   string
		status int
	}{
		{door, "/productpage", http.StatusOK},
		{door, "/health", http.StatusForbidden},
		{caller, "/productpage", http.StatusOK},
		{caller, "/health", http.StatusOK},
	} {
		if status, _ := c.from.Get("http://productpage:9080" + c.path); status != c.status {
			t.Errorf("%s from %s: %d, want %d", c.path, c.from.Name, status, c.status)
		}
	}
}

// shownBy asks reviews and returns the stars that the answer has.
func shownBy(t *testing.T, client *http.Client) string {
	t.Helper()
	var answer struct {
		Reviews []struct {
			Rating *struct{ Color string }
		}
	}
	if err := json.Unmarshal([]byte(fetch(t, client, "http://reviews:9080/reviews/0")), &answer); err != nil || len(answer.Reviews) == 0 {
		t.Fatalf("reviews answer with %v, %v", answer, err)
	}
	if answer.Reviews[0].Rating == nil {
		return "none"
	}
	return answer.Reviews[0].Rating.Color
}
