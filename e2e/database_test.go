//go:build e2e

package e2e

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"
)

// withDatabase is BookInfo with sidecars and ratings v2, which asks a host for the stars and to which rules send requests.
func withDatabase(t *testing.T, host, password string) *space {
	t.Helper()
	s := bookInfo(t)
	s.credentials(password)
	s.apply(s.inject(strings.ReplaceAll(fileOf(t, "deploy/bookinfo/ratings-v2.yaml"), "value: mysqldb", "value: "+host)))
	s.lateen("apply", "-f", repository("samples/bookinfo/ratings-mysql.yaml"))
	return s
}

// credentials puts the password of the database into a Secret.
func (s *space) credentials(password string) {
	s.t.Helper()
	s.kubectl("create", "secret", "generic", "mysql-credentials", "--from-literal=password="+password)
}

// fileOf reads a file of the repository.
func fileOf(t *testing.T, elements ...string) string {
	t.Helper()
	text, err := os.ReadFile(repository(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// starsOfDatabase returns when pages have as many red stars as the database says.
func (s *space) starsOfDatabase(want int) {
	s.t.Helper()
	s.await(fmt.Sprintf("%d stars of the database", want), func() error {
		for _, r := range s.page("client", "", 6) {
			if n := strings.Count(r.Body, "glyphicon-star"); want == 0 && starsOf(r) != "none" || want > 0 && (n < want || starsOf(r) != "red") {
				return fmt.Errorf("%d %s stars", n, starsOf(r))
			}
		}
		return nil
	})
}

// gone scales a Deployment to nothing, and returns when its pods are gone.
func (s *space) gone(deployment, selector string) {
	s.t.Helper()
	s.kubectl("scale", "deployment/"+deployment, "--replicas=0")
	s.kubectl("wait", "--for=delete", "pod", "--selector="+selector, "--timeout="+patience.String())
}

// ratingsOf asks a workload of ratings itself.
func (s *space) ratingsOf(workload string) (status int, body string) {
	s.t.Helper()
	address := s.address("pod/"+s.podName("workload="+workload), ".status.podIP")
	r := s.ask("pod/stranger", "--fresh", "http://"+address+":9080/ratings/0")[0]
	return r.Status, r.Body
}

// route-rule-ratings-mysql: ratings v2 reads MariaDB in another pod, by mutual TLS, which the database's Service wants: who has no sidecar gets nothing of it. While
// the database is away there are no stars, and afterwards they are back.
func TestBookInfoDatabase(t *testing.T) {
	t.Parallel()
	s := withDatabase(t, "mysqldb", rand.Text())
	s.apply(s.inject(fileOf(t, "deploy/bookinfo/mariadb.yaml")))
	outsider := strings.NewReplacer("ratings-v2", "outsider", "app: ratings", "workload: outsider", "version: v2", "version: outsider").Replace(fileOf(t, "deploy/bookinfo/ratings-v2.yaml"))
	s.apply(outsider) // as it is: without a sidecar
	s.allRolledOut()
	s.starsOfDatabase(10)
	s.await("who has no sidecar, in plain text", func() error {
		if status, body := s.ratingsOf("outsider"); status != 200 || !strings.Contains(body, `"Reviewer1":5`) {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})

	s.kubectl("annotate", "service", "mysqldb", "auth.istio.io/3306=MUTUAL_TLS")
	s.gone("outsider", "workload=outsider") // what it has open would stay open
	s.kubectl("scale", "deployment/outsider", "--replicas=1")
	s.rolledOut("deployment/outsider")
	s.await("who has no sidecar is refused", func() error {
		if status, body := s.ratingsOf("outsider"); status != 500 || !strings.Contains(body, "could not connect to ratings database") {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	s.starsOfDatabase(10)
	s.await("the log of the database's sidecar", func() error {
		said := s.kubectl("logs", s.podName("app=mysqldb"), "-c", "lateen-proxy")
		if !strings.Contains(said, `"destination":"mysqldb.`+s.name) {
			return fmt.Errorf("it has no connections:\n%.2000s", said)
		}
		return nil
	})

	s.gone("mysqldb-v1", "app=mysqldb")
	s.starsOfDatabase(0)
	s.kubectl("scale", "deployment/mysqldb-v1", "--replicas=1")
	s.starsOfDatabase(10)
}

// registered is what stands in for a machine: a Service that selects nothing, and the address at which somebody has registered it.
const registered = `
apiVersion: v1
kind: Service
metadata: {name: mysqldb}
spec: {ports: [{name: mysql, port: 3306}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: mysqldb-vm, labels: {kubernetes.io/service-name: mysqldb}}
addressType: IPv4
endpoints: [{addresses: [ADDRESS]}]
ports: [{name: mysql, port: 3306}]
`

// route-rule-ratings-mysql-vm: the database is a machine without a sidecar, registered in another namespace.
func TestBookInfoDatabaseOnAMachine(t *testing.T) {
	t.Parallel()
	vm, password := newSpace(t), rand.Text()
	vm.credentials(password)
	_, deployment, _ := strings.Cut(fileOf(t, "deploy/bookinfo/mariadb.yaml"), "---\napiVersion: v1\nkind: ServiceAccount")
	vm.apply("apiVersion: v1\nkind: ServiceAccount" + deployment)
	vm.allRolledOut()
	vm.apply(strings.ReplaceAll(registered, "ADDRESS", vm.address("pod/"+vm.podName("app=mysqldb"), ".status.podIP")))
	s := withDatabase(t, "mysqldb."+vm.name+".svc.cluster.local", password)
	s.allRolledOut()
	s.starsOfDatabase(10)
	s.await("the log of the sidecar of ratings", func() error {
		if said := s.kubectl("logs", s.podName("app=ratings,version=v2"), "-c", "lateen-proxy"); !strings.Contains(said, `"destination":"mysqldb.`+vm.name) {
			return fmt.Errorf("it has no connections:\n%.2000s", said)
		}
		return nil
	})
}
