package meshtest_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/bookinfo"
	"github.com/lateen-mesh/lateen/internal/mariadb"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

const ratingsFromDatabase = `
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: ratings-default}
spec: {destination: {name: ratings}, precedence: 2, route: [{labels: {version: v2}}]}
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: reviews-default}
spec: {destination: {name: reviews}, precedence: 2, route: [{labels: {version: v3}}]}
`

// Ratings v2 reads a real MariaDB, which speaks first, by a local address; while the database is away the page has no
// stars, and afterwards it has them again.
func TestRatingsFromMariaDB(t *testing.T) {
	t.Parallel()
	server := mariadb.Start(t, "")
	m, door := bookInfo(t)
	m.StartSpec(meshtest.Spec{Service: "mysqldb", Version: "v1", Ports: []meshtest.SpecPort{
		{Name: "mysql", Number: 3306, Target: server.Address},
	}})
	var ratings *meshtest.Instance
	handler := sync.OnceValue(func() http.Handler {
		h, err := bookinfo.New("ratings", bookinfo.Config{Version: "v2", Database: bookinfo.Database{
			Host: ratings.Upstream("mysqldb", 3306), User: "root", Password: "password",
		}})
		if err != nil {
			t.Error(err)
		}
		return h
	})
	ratings = m.StartSpec(meshtest.Spec{
		Service: "ratings", Version: "v2",
		Ports: []meshtest.SpecPort{{Name: "http", Number: meshtest.ServicePort, App: func(*http.Client) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler().ServeHTTP(w, r) })
		}}},
		Upstreams: []mesh.Upstream{{Host: meshtest.HostOf("mysqldb"), Port: 3306}},
	})
	m.Apply(ratingsFromDatabase)
	if n := strings.Count(page(t, door), star); n < 10 {
		t.Errorf("the page has %d stars, want 10", n)
	}
	server.Stop()
	if status, body := ratings.Get("http://ratings:9080/ratings/0"); status != http.StatusInternalServerError ||
		!strings.Contains(body, "could not connect to ratings database") {
		t.Errorf("without the database: %d %s", status, body)
	}
	mariadb.Start(t, server.Address)
	meshtest.Await(t, "the stars to come back", func() bool { return strings.Count(page(t, door), star) >= 10 })
}
