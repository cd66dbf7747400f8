package meshtest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/bookinfo"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

const (
	productpage = "http://productpage:9080/productpage"
	star        = "glyphicon-star"
	jason       = "user=jason"
)

// bookInfo starts BookInfo with every service in real Envoys and returns it with the door.
func bookInfo(t *testing.T) (*meshtest.Mesh, *meshtest.Instance) {
	t.Helper()
	m := meshtest.New(t)
	for _, w := range []struct{ service, version string }{
		{"ratings", "v1"}, {"details", "v1"}, {"reviews", "v1"}, {"reviews", "v2"}, {"reviews", "v3"}, {"productpage", "v1"},
	} {
		m.Start(w.service, w.version, func(client *http.Client) http.Handler {
			handler, err := bookinfo.New(w.service, bookinfo.Config{Version: w.version, Transport: client.Transport})
			if err != nil {
				t.Fatal(err)
			}
			return handler
		})
	}
	m.Apply(gateway)
	return m, m.Door()
}

const gateway = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: gateway}
spec:
  rules:
  - http:
      paths:
      - {path: /productpage, pathType: Exact, backend: {service: {name: productpage, port: {number: 9080}}}}
      - {path: /login, pathType: Exact, backend: {service: {name: productpage, port: {number: 9080}}}}
      - {path: /api/v1/products, pathType: Prefix, backend: {service: {name: productpage, port: {number: 9080}}}}
`

const allV1 = `
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: productpage-default}
spec: {destination: {name: productpage}, precedence: 1, route: [{labels: {version: v1}}]}
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: reviews-default}
spec: {destination: {name: reviews}, precedence: 1, route: [{labels: {version: v1}}]}
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: ratings-default}
spec: {destination: {name: ratings}, precedence: 1, route: [{labels: {version: v1}}]}
`

const jasonToV2 = `
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: reviews-test-v2}
spec:
  destination: {name: reviews}
  precedence: 2
  match: {request: {headers: {cookie: {regex: "^(.*?;)?(user=jason)(;.*)?$"}}}}
  route: [{labels: {version: v2}}]
`

const jasonDelay = `
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: ratings-test-delay}
spec:
  destination: {name: ratings}
  precedence: 2
  match: {request: {headers: {cookie: {regex: "^(.*?;)?(user=jason)(;.*)?$"}}}}
  route: [{labels: {version: v1}}]
  httpFault: {delay: {percent: 100, fixedDelay: 7s}}
`

// page fetches the product page through the door and returns its text, which must come with status 200.
func page(t *testing.T, door *meshtest.Instance, headers ...string) string {
	t.Helper()
	status, body := door.Get(productpage, headers...)
	if status != http.StatusOK {
		t.Fatalf("the product page came with status %d: %s", status, body)
	}
	return body
}

// stars tells which stars a page shows: "none", "black" or "red".
func stars(body string) string {
	switch {
	case strings.Count(body, star) == 0:
		return "none"
	case strings.Contains(body, `data-color="red"`):
		return "red"
	default:
		return "black"
	}
}

// The tour of BookInfo: round robin, all to v1, a test user's version, a delay that shows the bug made on purpose.
func TestBookInfo(t *testing.T) {
	t.Parallel()
	m, door := bookInfo(t)

	seen := map[string]int{}
	for range 30 {
		seen[stars(page(t, door))]++
	}
	if seen["none"] != 10 || seen["black"] != 10 || seen["red"] != 10 {
		t.Errorf("without rules 30 pages show the stars %v, want 10 of each", seen)
	}

	m.Apply(allV1)
	for range 20 {
		if got := stars(page(t, door)); got != "none" {
			t.Fatalf("with all requests to v1 a page shows %s stars", got)
		}
	}

	m.Apply(jasonToV2)
	for range 5 {
		if got := stars(page(t, door, "Cookie", jason)); got != "black" {
			t.Errorf("jason sees the stars %s, want black", got)
		}
		if got := stars(page(t, door)); got != "none" {
			t.Errorf("others see the stars %s, want none", got)
		}
	}

	m.Apply(jasonDelay)
	begun := time.Now()
	body := page(t, door, "Cookie", jason)
	if took := time.Since(begun); took < 5*time.Second || took > 8*time.Second {
		t.Errorf("with the ratings delayed, jason's page took %v, want about 6 s: two tries of 3 s", took)
	}
	if !strings.Contains(body, "Error fetching product reviews!") {
		t.Errorf("with the ratings delayed, jason's page does not show the error of the reviews")
	}
	begun = time.Now()
	if got := stars(page(t, door)); got != "none" || time.Since(begun) > 3*time.Second {
		t.Errorf("others see the stars %s after %v, want none at once", got, time.Since(begun))
	}
}
