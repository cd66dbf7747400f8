//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// sixManifest is a Service with addresses of both families, and one with an address of IPv6 only.
const sixManifest = `
{apiVersion: v1, kind: Service, metadata: {name: both}, spec: {ipFamilyPolicy: RequireDualStack, selector: {app: server}, ports: [{name: http, port: 8080}, {name: grpc, port: 9090}, {name: tcp, port: 7000}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: six}, spec: {ipFamilyPolicy: SingleStack, ipFamilies: [IPv6], selector: {app: server}, ports: [{name: http, port: 8080}, {name: grpc, port: 9090}, {name: tcp, port: 7000}]}}
`

// Services are called by addresses of IPv6 as by those of IPv4, with mutual TLS, by name and by address, and so are pods; who has no sidecar
// is answered too.
func TestBothFamilies(t *testing.T) {
	t.Parallel()
	s := injectedSpace(t)
	s.apply(serverOf("server", "") + "---" + sixManifest)
	s.callers()
	s.allRolledOut()
	addresses := strings.Fields(s.kubectl("get", "pods", "--selector=app=server", "-o", "jsonpath={.items[*].status.podIPs[*].ip}"))
	if len(addresses) != 2 {
		t.Fatalf("the pod has the addresses %v: this cluster has not both families", addresses)
	}
	hosts := []string{"both", "six", addresses[0], "[" + addresses[1] + "]", "[" + s.address("service/six", ".spec.clusterIP") + "]"}
	for address := range strings.FieldsSeq(s.address("service/both", ".spec.clusterIPs[*]")) {
		if strings.Contains(address, ":") {
			address = "[" + address + "]"
		}
		hosts = append(hosts, address)
	}
	for _, host := range hosts {
		for _, c := range []struct{ from, seen string }{{"client", "server, called by default"}, {"stranger", "server, called in plain text"}} {
			s.await("from "+c.from+" to "+host, func() error {
				for _, r := range s.ask("pod/"+c.from, "--fresh", "--body=hello", "--timeout=5s", "http://"+host+":8080/", "grpc://"+host+":9090", "tcp://"+host+":7000") {
					seen, by := told(r, !strings.HasPrefix(r.URL, "tcp:"))
					if want := c.seen; seen != want && !(strings.HasPrefix(r.URL, "tcp:") && seen == "server") {
						return fmt.Errorf("%s: %s (%s), want %s", r.URL, seen, by, want)
					}
				}
				return nil
			})
		}
	}
}
