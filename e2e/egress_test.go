//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
)

const (
	outsideAddress = "198.51.100.7" // of no pod and no service
	outsidePlain   = 18080
	outsideTLS     = 18443
	outsideLines   = 17000
)

// newOutside gives the network of the node one more address, with servers for HTTP, for HTTP over TLS with a certificate that nobody trusts, and for lines.
func newOutside(t *testing.T) {
	t.Helper()
	ip := func(ctx context.Context, what string) {
		out, err := exec.CommandContext(ctx, "ip", "address", what, outsideAddress+"/32", "dev", "lo").CombinedOutput()
		if err != nil {
			t.Fatalf("ip address %s: %v: %s", what, err, out)
		}
	}
	ip(t.Context(), "add")
	t.Cleanup(func() { ip(context.WithoutCancel(t.Context()), "del") })
	listen := func(port int) net.Listener {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf("%s:%d", outsideAddress, port))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "outside "+r.Proto+" "+r.Host)
	})
	plain := &httptest.Server{Listener: listen(outsidePlain), Config: &http.Server{Handler: answer}} //nolint:gosec // for the test alone
	plain.Start()
	t.Cleanup(plain.Close)
	secure := &httptest.Server{Listener: listen(outsideTLS), Config: &http.Server{Handler: answer}, EnableHTTP2: true} //nolint:gosec // for the test alone
	secure.StartTLS()
	t.Cleanup(secure.Close)
	lines := listen(outsideLines)
	t.Cleanup(func() { lines.Close() })
	go func() {
		for {
			c, err := lines.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if line, err := bufio.NewReader(c).ReadString('\n'); err == nil {
					_, _ = io.WriteString(c, "outside: "+line)
				}
			}()
		}
	}()
}

// egressManifest is what is said of the outside. RouteRules answer a path that shows whether they hold.
func egressManifest(domain string) string {
	text := ""
	for name, host := range map[string]string{"api": "api.", "secure": "secure.", "strict": "strict.", "wild": "*.wild."} {
		text += fmt.Sprintf(`---
apiVersion: config.istio.io/v1alpha2
kind: EgressRule
metadata: {name: %[1]s, annotations: {lateen.dev/insecure-skip-verify: "%[3]t"}}
spec:
  destination: {service: "%[2]s"}
  ports: [{port: %[4]d, protocol: http}, {port: %[5]d, protocol: https}]
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: %[1]s}
spec:
  destination: {service: "%[2]s"}
  match: {request: {headers: {uri: /abort}}}
  httpFault: {abort: {percent: 100, httpStatus: 418}}
`, name, host+domain, name != "strict", outsidePlain, outsideTLS)
	}
	return text + fmt.Sprintf(`---
apiVersion: config.istio.io/v1alpha2
kind: EgressRule
metadata: {name: lines}
spec:
  destination: {service: %s/24}
  ports: [{port: %d, protocol: tcp}]
`, strings.TrimSuffix(outsideAddress, "7")+"0", outsideLines)
}

// sent is a call to the outside, and what comes back: a status with a text, or an error.
type sent struct {
	url    string
	status int
	want   string
}

// sentBy has a pod make all calls by one command.
func (s *space) sentBy(pod string, calls []sent) error {
	args := []string{"--fresh", "--body=hello", "--timeout=10s"}
	for _, c := range calls {
		args = append(args, c.url)
	}
	results := s.ask("pod/"+pod, args...)
	if len(results) != len(calls) {
		return fmt.Errorf("%d answers", len(results))
	}
	for i, c := range calls {
		if r := results[i]; r.Status != c.status || !strings.Contains(r.Body+r.Error, c.want) {
			return fmt.Errorf("%s: status %d, %q, %s; want %d and %q", c.url, r.Status, r.Body, r.Error, c.status, c.want)
		}
	}
	return nil
}

// What a workload with a sidecar sends outside the mesh arrives there. Where an EgressRule says that it is requests, for one host or for those of a wildcard,
// route rules hold, and TLS is added where it says https: with a certificate that can be verified, unless the rule says otherwise. TLS of the
// application's own, bytes and hosts without a rule go on as they are. So does everything from a pod whose annotation leaves the network out.
func TestEgress(t *testing.T) {
	t.Parallel()
	s := injectedSpace(t)
	newOutside(t)
	domain := s.name + ".example"
	var aliases []string
	for _, name := range []string{"api", "secure", "strict", "other", "a.wild"} {
		aliases = append(aliases, name+"."+domain)
	}
	pod := func(name, annotations string) string {
		text := strings.ReplaceAll(clientPod, "NAME", name)
		text = strings.Replace(text, "metadata: {", "metadata: {annotations: {"+annotations+"}, ", 1)
		return text + fmt.Sprintf("  hostAliases: [{ip: %s, hostnames: [%s]}]\n", outsideAddress, strings.Join(aliases, ", "))
	}
	s.apply(pod("client", ""))
	s.apply(pod("past", `traffic.sidecar.istio.io/includeOutboundIPRanges: "10.0.0.0/8"`))
	s.ready("client", "past")

	at := func(scheme, host string, port int, path string) string {
		return fmt.Sprintf("%s://%s.%s:%d%s", scheme, host, domain, port, path)
	}
	untouched := []sent{
		{at("http", "api", outsidePlain, "/abort"), 200, "outside HTTP/1.1 api."},
		{at("http", "other", outsidePlain, "/abort"), 200, "outside HTTP/1.1 other."},
		{at("https", "secure", outsideTLS, "/abort"), 0, "x509"},
		{at("tcp", "api", outsideLines, ""), 0, "outside: hello"},
	}
	for _, from := range []string{"client", "past"} {
		if err := s.sentBy(from, untouched); err != nil {
			t.Errorf("without a rule, from %s: %v", from, err)
		}
	}

	if out, err := runLateen(t.Context(), egressManifest(domain), "apply", "-f", "-", "--namespace="+s.name); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.await("the rules hold", func() error {
		return s.sentBy("client", []sent{
			{at("http", "api", outsidePlain, "/"), 200, "outside HTTP/1.1 api."},
			{at("http", "api", outsidePlain, "/abort"), 418, ""},
			{at("http", "a.wild", outsidePlain, "/"), 200, "outside HTTP/1.1 a.wild."},
			{at("http", "a.wild", outsidePlain, "/abort"), 418, ""},
			{at("http", "other", outsidePlain, "/abort"), 200, "outside HTTP/1.1 other."},
			{at("http", "secure", outsideTLS, "/"), 200, "outside HTTP/2.0 secure."},
			{at("http", "secure", outsideTLS, "/abort"), 418, ""},
			{at("http", "a.wild", outsideTLS, "/"), 200, "outside HTTP/2.0 a.wild."},
			{at("http", "strict", outsideTLS, "/"), 503, ""},
			{at("https", "secure", outsideTLS, "/abort"), 0, "x509"},
			{at("tcp", "api", outsideLines, ""), 0, "outside: hello"},
		})
	})
	if err := s.sentBy("past", untouched); err != nil {
		t.Errorf("from a pod that leaves the network out: %v", err)
	}
	s.await("the access log tells of the rules", func() error {
		said := s.kubectl("logs", "client", "-c", "lateen-proxy")
		for _, want := range []string{`"destination":"api.` + domain + `"`, `"rule":"` + s.name + `/api"`, `"destination":"*.wild.` + domain + `"`} {
			if !strings.Contains(said, want) {
				return fmt.Errorf("it has no %s", want)
			}
		}
		return nil
	})
	if said := s.kubectl("logs", "past", "-c", "lateen-proxy"); strings.Contains(said, domain) || strings.Contains(said, outsideAddress) {
		t.Error("what leaves the pod past its proxy is in its access log")
	}
}
