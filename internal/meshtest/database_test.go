package meshtest_test

import (
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/bookinfo"
	"github.com/lateen-mesh/lateen/internal/mariadb"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// ratingsV2 starts ratings v2, which reads the database at its local address for mysqldb.
func ratingsV2(t *testing.T, m *meshtest.Mesh) *meshtest.Instance {
	t.Helper()
	var ratings *meshtest.Instance
	handler := sync.OnceValue(func() http.Handler {
		h, err := bookinfo.New("ratings", bookinfo.Config{Version: "v2", Database: bookinfo.Database{
			Host: ratings.Upstream("mysqldb", 3306), User: mariadb.User, Password: mariadb.Password,
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
	return ratings
}

// route-rule-ratings-db on MySQL: ratings v2 read a real MariaDB, which speaks first, by a local address; while the
// database is away the page has no stars, and afterwards it has them again.
func TestEffectRatingsMySQL(t *testing.T) {
	t.Parallel()
	server := mariadb.Start(t, "")
	m, door := bookInfo(t)
	m.StartSpec(meshtest.Spec{Service: "mysqldb", Version: "v1", Ports: []meshtest.SpecPort{
		{Name: "mysql", Number: 3306, Target: server.Address},
	}})
	ratings := ratingsV2(t, m)
	applySample(t, m, "ratings-mysql.yaml")
	if n := strings.Count(page(t, door), star); n < 10 {
		t.Errorf("the page has %d stars, want 10", n)
	}
	wantStars(t, pages(t, door, 40), map[string]float64{"red": 100})
	server.Stop()
	if status, body := ratings.Get("http://ratings:9080/ratings/0"); status != http.StatusInternalServerError ||
		!strings.Contains(body, "could not connect to ratings database") {
		t.Errorf("without the database: %d %s", status, body)
	}
	mariadb.Start(t, server.Address)
	meshtest.Await(t, "the stars to come back", func() bool { return strings.Count(page(t, door), star) >= 10 })
}

// route-rule-ratings-mysql-vm: the database runs outside the mesh, on a machine that is registered, without a sidecar.
func TestEffectRatingsMySQLOnAMachine(t *testing.T) {
	t.Parallel()
	server := mariadb.Start(t, "")
	at, err := netip.ParseAddrPort(server.Address)
	if err != nil {
		t.Fatal(err)
	}
	m, door := bookInfo(t)
	m.AddRegistry(mesh.Registry{
		Services: []*mesh.Service{meshtest.NewService("mysqldb", "mysql", 3306)},
		Endpoints: []*mesh.EndpointSet{{Host: meshtest.HostOf("mysqldb"), Endpoints: []mesh.Endpoint{{
			Address: at.Addr().String(), Ports: map[string]int{"mysql": int(at.Port())}, Health: mesh.Healthy,
		}}}},
	})
	ratingsV2(t, m)
	applySample(t, m, "ratings-mysql.yaml")
	wantStars(t, pages(t, door, 40), map[string]float64{"red": 100})
}
