package bookinfo

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestReviewsWithRatings(t *testing.T) {
	good := says(200, `{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}`)
	tests := []struct {
		name, version string
		ratings       http.Handler
		status        int
		want          string // in the body
		stars         int    // reviews that have them
		took          time.Duration
	}{
		{"v1 never asks", "v1", late(time.Hour, good), 200, `"version":"v1"`, 0, 0},
		{"v2 is black", "v2", good, 200, `"rating":{"stars":5,"color":"black"}`, 2, 0},
		{"v3 is red", "v3", good, 200, `"rating":{"stars":4,"color":"red"}`, 2, 0},
		{"v2 waits nearly 10 s", "v2", late(9*time.Second, good), 200, `"black"`, 2, 9 * time.Second},
		{"v2 gives up after 10 s", "v2", late(11*time.Second, good), 500, `{"error":"ratings gave no answer in time"}`, 0, 10 * time.Second},
		{"v3 waits 2 s", "v3", late(2*time.Second, good), 200, `"red"`, 2, 2 * time.Second},
		{"v3 gives up after 2.5 s", "v3", late(7*time.Second, good), 500, `{"error":"ratings gave no answer in time"}`, 0, 2500 * time.Millisecond},
		{"denied", "v3", says(403, "PERMISSION_DENIED"), 200, `"ratingsError":"ratings answered 403 Forbidden"`, 0, 0},
		{"too many", "v3", says(429, ""), 200, `"ratingsError":"ratings answered 429 Too Many Requests"`, 0, 0},
		{"broken", "v2", says(503, "no healthy upstream"), 200, `"ratingsError":"ratings answered 503 Service Unavailable"`, 0, 0},
		{"nobody there", "v2", nil, 500, `{"error":"ratings cannot be reached"}`, 0, 0},
		{"not JSON", "v2", says(200, "<html>"), 500, `{"error":"ratings sent an answer that cannot be read"}`, 0, 0},
		{"other JSON", "v2", says(200, `{"ratings":[1,2]}`), 500, `{"error":"ratings sent an answer that cannot be read"}`, 0, 0},
		{"endless", "v2", says(200, `"`+strings.Repeat("x", maxAnswer)+`"`), 500, `{"error":"ratings sent an answer that cannot be read"}`, 0, 0},
		{"one reviewer", "v2", says(200, `{"ratings":{"Reviewer2":1,"Other":5}}`), 200, `"stars":1`, 1, 0},
		{"impossible stars", "v2", says(200, `{"ratings":{"Reviewer1":6,"Reviewer2":-1}}`), 200, `"version":"v2"`, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := newTown(t, tt.version)
				all["ratings"] = tt.ratings
				if tt.ratings == nil {
					delete(all, "ratings")
				}
				start := time.Now()
				got := ask(all["reviews"], "GET", "/reviews/0", "")
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				body := got.Body.String()
				if got.Code != tt.status || !strings.Contains(body, tt.want) {
					t.Errorf("got %d %s, want %d with %s", got.Code, body, tt.status, tt.want)
				}
				if n := strings.Count(body, `"stars"`); n != tt.stars {
					t.Errorf("%d reviews have stars, want %d: %s", n, tt.stars, body)
				}
			})
		})
	}
}

func TestRatingsWithoutDatabase(t *testing.T) {
	none := func(context.Context, int) (map[string]int, error) { return nil, errors.New("dial mongodb: refused") }
	got := ask(ratingsFrom(none, Config{}.withDefaults("ratings")), "GET", "/ratings/0", "")
	if want := `{"error":"could not connect to ratings database"}`; got.Code != 500 || got.Body.String() != want {
		t.Errorf("got %d %s, want 500 %s", got.Code, got.Body, want)
	}
}

const (
	noDetails = "Error fetching product details!"
	noReviews = "Error fetching product reviews!"
)

// checkErrors checks that the page has these errors, whole, and no other.
func checkErrors(t *testing.T, body string, want []string) {
	t.Helper()
	for headline, text := range map[string]string{
		noDetails: "Sorry, product details are currently unavailable for this book.",
		noReviews: "Sorry, product reviews are currently unavailable for this book.",
	} {
		wanted := slices.Contains(want, headline)
		if strings.Contains(body, headline) != wanted || strings.Contains(body, text) != wanted {
			t.Errorf("%q with its text shown, want %v", headline, wanted)
		}
	}
}

// checkStars counts as users' tests do: the name of the empty ones contains that
// of the full ones.
func checkStars(t *testing.T, body string, full, empty int) {
	t.Helper()
	if n := strings.Count(body, "glyphicon-star"); n != full+empty {
		t.Errorf("%d times glyphicon-star, want %d", n, full+empty)
	}
	if n := strings.Count(body, "glyphicon-star-empty"); n != empty {
		t.Errorf("%d times glyphicon-star-empty, want %d", n, empty)
	}
}

// Each case is what a user sees of one effect in the samples of 2017.
func TestProductPage(t *testing.T) {
	tests := []struct {
		name, version string
		change        func(town)
		errors        []string
		want          []string
		stars, empty  int
		took          time.Duration
		asked         int // times that reviews was asked
	}{
		{
			name: "v1", version: "v1", asked: 1,
			want: []string{"Book Details", "Book Reviews", "Reviewer1", "1234567890", "reviews v1, no stars", "reviews-v1-0"},
		},
		{
			name: "v2", version: "v2", stars: 9, empty: 1, asked: 1,
			want: []string{`data-color="black"`, `aria-label="5 of 5 stars, black"`, "reviews v2, black stars"},
		},
		{
			name: "v3", version: "v3", stars: 9, empty: 1, asked: 1,
			want: []string{`data-color="red"`, `aria-label="4 of 5 stars, red"`, "reviews v3, red stars"},
		},
		{
			name: "ratings 7 s late, v2: the flaw", version: "v2", change: delay("ratings", 7*time.Second),
			errors: []string{noReviews}, want: []string{"gave no answer in time", "6.0 s"}, took: 6 * time.Second, asked: 2,
		},
		{
			name: "ratings 2 s late, v2", version: "v2", change: delay("ratings", 2*time.Second),
			stars: 9, empty: 1, took: 2 * time.Second, asked: 1,
		},
		{
			name: "ratings 7 s late, v3", version: "v3", change: delay("ratings", 7*time.Second),
			errors: []string{noReviews}, want: []string{"answered 500"}, took: 5 * time.Second, asked: 2,
		},
		{
			name: "ratings denied", version: "v3", change: put("ratings", says(403, "")), asked: 1,
			want: []string{"No stars this time: ratings answered 403 Forbidden."},
		},
		{
			name: "ratings over its rate", version: "v3", change: put("ratings", says(429, "")), asked: 1,
			want: []string{"429 Too Many Requests"},
		},
		{
			name: "details denied", version: "v1", change: put("details", says(403, "")), asked: 1,
			errors: []string{noDetails}, want: []string{"answered 403 Forbidden"},
		},
		{
			name: "details late, asked once", version: "v1", change: delay("details", 4*time.Second), asked: 1,
			errors: []string{noDetails}, took: 3 * time.Second,
		},
		{name: "everything late", version: "v1", change: func(all town) {
			delay("details", time.Minute)(all)
			delay("reviews", time.Minute)(all)
		}, errors: []string{noDetails, noReviews}, took: 9 * time.Second, asked: 2},
		{name: "everything refused", version: "v1", change: func(all town) {
			put("details", says(503, "x"))(all)
			put("reviews", says(503, "x"))(all)
		}, errors: []string{noDetails, noReviews}, asked: 2},
		{name: "nonsense", version: "v1", change: func(all town) {
			put("details", says(200, "null"))(all)
			put("reviews", says(200, `{"reviews":"none"}`))(all)
		}, errors: []string{noDetails, noReviews}, want: []string{"sent an answer that cannot be read"}, asked: 1},
		{
			name: "nobody has reviewed", version: "v1", change: put("reviews", says(200, `{}`)), asked: 1,
			want: []string{"Nobody has reviewed this book yet."},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := newTown(t, tt.version)
				if tt.change != nil {
					tt.change(all)
				}
				asked := &recorder{next: all["reviews"]}
				all["reviews"] = asked
				start := time.Now()
				got := ask(all["productpage"], "GET", "/productpage", "")
				if took := time.Since(start); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
				if n := len(asked.headers()); n != tt.asked {
					t.Errorf("reviews was asked %d times, want %d", n, tt.asked)
				}
				if got.Code != 200 {
					t.Errorf("status %d, want 200 whatever happens", got.Code)
				}
				body := got.Body.String()
				checkErrors(t, body, tt.errors)
				for _, text := range tt.want {
					if !strings.Contains(body, text) {
						t.Errorf("no %q on the page", text)
					}
				}
				checkStars(t, body, tt.stars, tt.empty)
			})
		})
	}
}

func delay(service string, d time.Duration) func(town) {
	return func(all town) { all[service] = late(d, all[service]) }
}

func put(service string, h http.Handler) func(town) {
	return func(all town) { all[service] = h }
}

func TestReviewsAreAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newTown(t, "v1")
		good := all["reviews"]
		var tries atomic.Int32
		all["reviews"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if tries.Add(1) == 1 {
				late(time.Minute, good).ServeHTTP(w, r)
				return
			}
			good.ServeHTTP(w, r)
		})
		start := time.Now()
		got := ask(all["productpage"], "GET", "/productpage", "")
		if took := time.Since(start); took != 3*time.Second || !strings.Contains(got.Body.String(), "Reviewer1") {
			t.Errorf("after %v: %s", took, got.Body)
		}
	})
}

// A caller that goes away ends the work, and there is no second try for nobody.
func TestCallerGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newTown(t, "v1")
		asked := &recorder{next: late(time.Minute, all["reviews"])}
		all["reviews"] = asked
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, "GET", "http://productpage:9080/productpage", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := all.RoundTrip(r)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if err == nil {
			resp.Body.Close()
		}
		synctest.Wait()
		if n := len(asked.headers()); n != 1 {
			t.Errorf("reviews was asked %d times, want 1", n)
		}
	})
}

func TestAPIPassesFailuresOn(t *testing.T) {
	tests := []struct {
		name, path, service string
		other               http.Handler
		status              int
		body                string
	}{
		{"details", "/api/v1/products/0", "details", says(403, "secret"), 403, `{"error":"Sorry, product details are currently unavailable for this book."}`},
		{"reviews", "/api/v1/products/0/reviews", "reviews", says(503, ""), 503, `{"error":"Sorry, product reviews are currently unavailable for this book."}`},
		{"ratings", "/api/v1/products/0/ratings", "ratings", says(429, ""), 429, `{"error":"Sorry, product ratings are currently unavailable for this book."}`},
		{"no content", "/api/v1/products/0", "details", says(204, ""), 500, `{"error":"Sorry, product details are currently unavailable for this book."}`},
		{"not JSON", "/api/v1/products/0", "details", says(200, "<b>"), 500, `{"error":"Sorry, product details are currently unavailable for this book."}`},
		{"odd status", "/api/v1/products/0", "details", says(999, ""), 500, `{"error":"Sorry, product details are currently unavailable for this book."}`},
		{"late", "/api/v1/products/0", "details", late(time.Hour, says(200, "{}")), 500, `{"error":"Sorry, product details are currently unavailable for this book."}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := newTown(t, "v1")
				all[tt.service] = tt.other
				got := ask(all["productpage"], "GET", tt.path, "")
				if got.Code != tt.status || got.Body.String() != tt.body {
					t.Errorf("got %d %s, want %d %s", got.Code, got.Body, tt.status, tt.body)
				}
			})
		})
	}
}
