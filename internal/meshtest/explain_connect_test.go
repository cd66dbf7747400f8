package meshtest_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// What explain says of CONNECT, and of https, which reaches a sidecar as CONNECT, is what proxies do with it.
func TestExplainAgreesAboutConnect(t *testing.T) {
	t.Parallel()
	m, caller, o := egressMesh(t)
	m.Start("reviews", "v1", meshtest.Named("v1"))
	door := m.Door()
	plain, secure := o.serve("plain"), o.serve("secure", "secure.test")
	m.Apply(egress("plain", "plain.test", plain, "http") + "---\n" + egress("secure", "secure.test", secure, "https"))
	m.Apply(rule("some", "match: {request: {headers: {x-user: {exact: jason}}}}, httpFault: {abort: {httpStatus: 418}}"))
	for _, authority := range []string{
		"reviews:9080", "Reviews.default:9080", "reviews:9081", "nowhere:80", fmt.Sprintf("plain.test:%d", plain),
		fmt.Sprintf("secure.test:%d", secure), "secure.test:443", "other.test:443", "192.0.2.1:443",
	} {
		for _, from := range []*meshtest.Instance{caller, door} {
			asked := api.Decide{Proxy: from.ID(), Method: http.MethodConnect, URL: "http://" + authority}
			d, err := m.API.Decide(t.Context(), asked)
			if err != nil || len(d.Outcomes) != 1 {
				t.Fatalf("%s: %+v, %v", authority, d, err)
			}
			want := d.Outcomes[0].Status
			if d.Outcomes[0].Tunnel {
				want = http.StatusOK
			}
			if status, _, _ := connect(t, from, authority); status != want {
				t.Errorf("%s: CONNECT %s is answered with %d, foretold is %d: %+v", from.ID(), authority, status, want, d)
			}
			if from == door {
				continue
			}
			https, err := m.API.Decide(t.Context(), api.Decide{Proxy: from.ID(), URL: "https://" + authority + "/x"})
			if err != nil || https.Method != http.MethodConnect || https.Outcomes[0].Status != d.Outcomes[0].Status {
				t.Errorf("https://%s: %+v, %v, want what CONNECT gets: %+v", authority, https, err, d)
			}
		}
	}
}
