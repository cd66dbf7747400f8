package bookinfo

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEndpoints(t *testing.T) {
	const (
		details  = `{"id":0,"author":"William Shakespeare","year":1595,"type":"paperback","pages":200,"publisher":"PublisherA","language":"English","ISBN-10":"1234567890","ISBN-13":"123-1234567890"}`
		ratings  = `{"id":7,"ratings":{"Reviewer1":5,"Reviewer2":4}}`
		numeric  = `{"error":"please provide numeric product id"}`
		noMethod = "Method Not Allowed\n"
		noPage   = "404 page not found\n"
	)
	tests := []struct {
		service, request string
		status           int
		body             string
	}{
		{"details", "GET /health", 200, `{"status":"Details is healthy"}`},
		{"details", "GET /details/0", 200, details},
		{"details", "GET /details/12", 200, strings.Replace(details, `"id":0`, `"id":12`, 1)},
		{"details", "GET /details/abc", 400, numeric},
		{"details", "GET /details/-1", 400, numeric},
		{"details", "GET /details/99999999999999999999", 400, numeric},
		{"details", "POST /details/0", 405, noMethod},
		{"details", "GET /details/", 404, noPage},
		{"details", "GET /", 404, noPage},
		{"ratings", "GET /health", 200, `{"status":"Ratings is healthy"}`},
		{"ratings", "GET /ratings/7", 200, ratings},
		{"ratings", "GET /ratings/NaN", 400, numeric},
		{"ratings", "DELETE /ratings/7", 405, noMethod},
		{"reviews", "GET /health", 200, `{"status":"Reviews is healthy"}`},
		{"reviews", "GET /reviews/x", 400, numeric},
		{"reviews", "PUT /reviews/0", 405, noMethod},
		{"productpage", "GET /health", 200, "Product page is healthy"},
		{"productpage", "GET /api/v1/products/0", 200, details},
		{"productpage", "GET /api/v1/products/7/ratings", 200, ratings},
		{"productpage", "GET /api/v1/products/x", 400, numeric},
		{"productpage", "GET /api/v1/products/x/reviews", 400, numeric},
		{"productpage", "GET /login", 405, noMethod},
		{"productpage", "POST /logout", 405, noMethod},
		{"productpage", "POST /productpage", 405, noMethod},
		{"productpage", "GET /favicon.ico", 404, noPage},
	}
	all := newTown(t, "v1")
	for _, tt := range tests {
		t.Run(tt.service+" "+tt.request, func(t *testing.T) {
			method, path, _ := strings.Cut(tt.request, " ")
			got := ask(all[tt.service], method, path, "")
			if got.Code != tt.status {
				t.Errorf("status %d, want %d", got.Code, tt.status)
			}
			if diff := cmp.Diff(tt.body, got.Body.String()); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if kind := got.Header().Get("Content-Type"); strings.HasPrefix(tt.body, "{") && kind != "application/json" {
				t.Errorf("content type %q", kind)
			}
		})
	}
}

func TestProductsAPI(t *testing.T) {
	got := ask(newTown(t, "v1")["productpage"], "GET", "/api/v1/products", "").Body.String()
	if want := `[{"id":0,"title":"The Comedy of Errors","descriptionHtml":"Two pairs of twins`; !strings.HasPrefix(got, want) {
		t.Errorf("got %s, want it to begin with %s", got, want)
	}
}

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		service string
		config  Config
		want    string
	}{
		{"cart", Config{}, `no service "cart" in BookInfo: it has details, productpage, ratings, reviews`},
		{"reviews", Config{Version: "v4"}, `reviews: no version "v4": there is v1, v2, v3`},
		{"ratings", Config{Version: "v3"}, `ratings: no version "v3": there is v1, v2`},
		{"ratings", Config{Version: "v2", Database: Database{Type: "mongodb"}}, `ratings: no database "mongodb": there is mysql`},
		{"reviews", Config{Ratings: "ratings:9080"}, `reviews: address of ratings: "ratings:9080" is not of the form http://HOST[:PORT]`},
		{"productpage", Config{Details: "ftp://details"}, `productpage: address of details: "ftp://details" is not of the form http://HOST[:PORT]`},
		{"productpage", Config{Reviews: "http://"}, `productpage: address of reviews: "http://" is not of the form http://HOST[:PORT]`},
	}
	for _, tt := range tests {
		_, err := New(tt.service, tt.config)
		if err == nil {
			t.Errorf("New(%q, %+v) works, want %s", tt.service, tt.config, tt.want)
		} else if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
			t.Errorf("error (-want +got):\n%s", diff)
		}
	}
}

func TestInstanceFromEnvironment(t *testing.T) {
	t.Setenv("LATEEN_WORKLOAD", "reviews-v1-3")
	h, err := New("reviews", Config{})
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(h, "GET", "/reviews/0", "").Body.String(); !strings.HasSuffix(got, `"version":"v1","podname":"reviews-v1-3"}`) {
		t.Errorf("got %s", got)
	}
}

func TestForwarding(t *testing.T) {
	all := newTown(t, "v2")
	details, reviews, ratings := &recorder{next: all["details"]}, &recorder{next: all["reviews"]}, &recorder{next: all["ratings"]}
	all["details"], all["reviews"], all["ratings"] = details, reviews, ratings
	sent := []string{
		"X-Request-Id: r1", "X-B3-Traceid: t", "X-B3-Spanid: s", "X-B3-Parentspanid: p", "X-B3-Sampled: 1",
		"X-B3-Flags: 0", "X-Ot-Span-Context: o", "Traceparent: 00-1-2-01", "Tracestate: a=b",
	}
	want := http.Header{"Cookie": {"user=jason"}}
	for _, line := range sent {
		name, value, _ := strings.Cut(line, ": ")
		want.Set(name, value)
	}
	ask(all["productpage"], "GET", "/productpage", "",
		append(sent, "Cookie: theme=dark; user=jason; session=secret", "Authorization: Bearer secret", "X-User: me", "Accept: text/html")...)
	for name, at := range map[string]*recorder{"details": details, "reviews": reviews, "ratings": ratings} {
		if diff := cmp.Diff([]http.Header{want}, at.headers()); diff != "" {
			t.Errorf("%s got (-want +got):\n%s", name, diff)
		}
	}
}

func TestNobodyForwardsNoCookie(t *testing.T) {
	for _, cookie := range []string{"session=1", "user=", "user=a b", "user=<script>", "user=" + strings.Repeat("a", 65)} {
		all := newTown(t, "v1")
		details := &recorder{next: all["details"]}
		all["details"] = details
		page := ask(all["productpage"], "GET", "/productpage", "", "Cookie: "+cookie)
		if got := details.headers()[0].Get("Cookie"); got != "" {
			t.Errorf("%s: forwarded %q", cookie, got)
		}
		if !strings.Contains(page.Body.String(), "Sign in") {
			t.Errorf("%s: counts as signed in", cookie)
		}
	}
}
