package checkup

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// line is a line of an access log.
func line(source, rule, tls, path string, at time.Time) string {
	return fmt.Sprintf(`{"authority":"reviews:9080","code":200,"destination":%q,"details":"via_upstream","path":%q,"rule":%q,"source":%q,"time":%q,"tls":%s}`+"\n",
		reviews, path, rule, source, at.Format("2006-01-02T15:04:05.000Z"), tls)
}

// Of an access log count lines of who has proven nothing, of the time that is asked for, whatever else callers have others
// write there.
func TestAccessLogIsRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, accessLog)
	if _, err := readLog(path, noon()); !os.IsNotExist(err) {
		t.Errorf("without a file: %v", err)
	}
	const plain = "null"
	now := noon().Add(time.Second)
	text := line("127.0.0.1", "inbound", plain, "/", noon().Add(-time.Second)) + // too old
		line("127.0.0.2", "inbound", `"TLSv1.3"`, `"<`, now) + // proven
		line("ratings-v1-0.default", "default/rule", plain, "/", now) + // its own call to others
		line("127.0.0.3", "inbound", plain, strings.Repeat("x", 2*maxLine), now) + // too long
		strings.Repeat("x", maxLine) + line("127.0.0.7", "inbound", plain, "/", now) + // too long, and good at its end
		"{\"tls\":null, broken\n\x00\xff\n" +
		line("nobody\x1b[31m", "inbound", plain, "/", now) + // no address
		line("127.0.0.4", "inbound", plain, `","rule":"<not-proven>","tls":null`, now) +
		line("127.0.0.5", "<another-address>", `"TLSv1.3"`, "/", now) +
		line("::1", "<not-proven>", plain, "/", now)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	calls, err := readLog(path, noon())
	var got []string
	for _, c := range calls {
		got = append(got, c.Source+" "+c.Rule)
	}
	if diff := cmp.Diff([]string{"127.0.0.4 inbound", "127.0.0.5 <another-address>", "::1 <not-proven>"}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	one := line("127.0.0.6", "inbound", plain, "/", now)
	many := strings.Repeat(one, 1+2*maxLog/len(one)) + line("127.0.0.8", "inbound", plain, "/", now)
	if err := os.WriteFile(path, []byte(many), 0o600); err != nil {
		t.Fatal(err)
	}
	if calls, err := readLog(path, noon()); err != nil || len(calls) < 1000 || len(calls) > maxLog/100 || calls[len(calls)-1].Source != "127.0.0.8" {
		t.Errorf("%d lines of a long log, %v", len(calls), err)
	}
}

func TestCountsAreRead(t *testing.T) {
	t.Parallel()
	c := readCounts([]byte(`http.inbound|9080|plain.downstream_cx_total: 5
http.inbound|9080|plain.downstream_cx_active: 2
tcp.inbound|3306|tls.downstream_cx_total: 3
tcp.inbound|3306|plain.downstream_cx_total: 1
lateen.inbound|9080.rbac.denied: 4
listener.127.0.9.3_9080.no_filter_chain_match: 6
listener.127.0.9.3_9080.ssl.connection_error: 7
listener.127.0.9.31_9080.ssl.connection_error: 8
http.inbound|x|plain.downstream_cx_total: 9
http.inbound|9080|plain.downstream_cx_total: x
http.inbound|9080
: 1
`), "127.0.9.3")
	want := counts{
		map[int]int{9080: 5, 3306: 4}, map[int]int{9080: 2}, map[int]int{9080: 6}, map[int]int{9080: 7}, map[int]int{9080: 4},
	}
	if diff := cmp.Diff(want, c, cmp.AllowUnexported(counts{})); diff != "" {
		t.Error(diff)
	}
}

// What an Envoy uses is compared with what its agent holds. Certificates of others do not matter.
func TestEnvoyIsCompared(t *testing.T) {
	t.Parallel()
	use := func(c, root *x509.Certificate) string {
		return fmt.Sprintf(`{"ca_cert": [{"serial_number": "0%x"}], "cert_chain": [{"serial_number": "00%X", "subject_alt_names": [{"dns": "x"}, {"uri": %q}]}]}`,
			root.SerialNumber, c.SerialNumber, c.URIs[0])
	}
	const shop = `{"cert_chain": [{"serial_number": "1", "subject_alt_names": [{"dns": "shop.example.com"}, {"uri": "spiffe://other/ns/a/sa/b"}]}]}`
	for name, c := range map[string]struct {
		page func(own, other, root, another *x509.Certificate) string
		want Use
		why  string
	}{
		"the same": {func(own, _, root, _ *x509.Certificate) string {
			return shop + "," + use(own, root) + "," + use(own, root)
		}, SameUse, ""},
		"an old one":         {func(own, other, root, _ *x509.Certificate) string { return use(own, root) + "," + use(other, root) }, AnotherUse, "it uses the certificate with the number 00"},
		"by other roots":     {func(own, _, _, another *x509.Certificate) string { return use(own, another) }, AnotherUse, "it trusts by other roots"},
		"none":               {func(_, _, _, _ *x509.Certificate) string { return shop }, UnknownUse, "it uses none yet"},
		"what is no answer":  {func(_, _, _, _ *x509.Certificate) string { return "<html>" }, UnknownUse, "invalid character '<'"},
		"nobody who answers": {nil, UnknownUse, "no proxy answers"},
	} {
		r := newRig(t)
		s := r.reviews()
		if c.page != nil {
			other := r.root.leaf(s.ID, "reviews", 2*time.Hour)
			text := c.page(s.chain.certificates[0], other, r.root.cert, newAuthority(t, 900).cert)
			r.admin(s, map[string]string{"/certs": `{"certificates": [` + text + `]}`})
		}
		s.lookAtIdentity(t.Context(), r.now)
		if id := s.identity; id.State != Good || id.Envoy != c.want || !strings.HasPrefix(id.EnvoyWhy, c.why) || (c.why == "") != (id.EnvoyWhy == "") {
			t.Errorf("%s: %s %q, want %s %q", name, id.Envoy, id.EnvoyWhy, c.want, c.why)
		}
	}
}

// What an agent says is told as it is, and what it cannot have said is told as that.
func TestStatusIsRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.reviews()
	path := filepath.Join(s.dir, "identity.json")
	for text, want := range map[string]string{
		"{":              "unreadable",
		`{"chain": "x"}`: "unreadable " + path + ": there is no certificate in it",
		`{"chain": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}`: "unreadable " + path + ": x509",
		`{"lastError": "a\nb"}`: "none a b",
		`{}`:                    "none it asks for the first one",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.identity = Identity{Proxy: s.ID}
		if s.readStatus(r.t.Context(), r.now); !strings.HasPrefix(strings.TrimSpace(string(s.identity.State)+" "+s.identity.Why), want) || s.chain != nil {
			t.Errorf("%s: %s %q", text, s.identity.State, s.identity.Why)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for proven, want := range map[string]State{"": None, "spiffe://x": Elsewhere} {
		s.identity = Identity{Proxy: s.ID, Connected: true, Proven: proven}
		if s.readStatus(r.t.Context(), r.now); s.identity.State != want {
			t.Errorf("%q: %s, want %s", proven, s.identity.State, want)
		}
	}
}

// A workload without proxy has no Envoy that could be asked, and what it serves is logged by nobody.
func TestProxylessIsNotAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.reviews()
	s.Type, s.identity.Envoy = mesh.Proxyless, ""
	s.lookAtIdentity(t.Context(), r.now)
	s.lookAtCalls(t.Context(), r.now)
	if s.identity.State != Good || s.identity.Envoy != "" || s.noLog {
		t.Errorf("%+v", s.identity)
	}
}

func FuzzReadCall(f *testing.F) {
	f.Add([]byte(line("127.0.0.1", "inbound", "null", "/", noon())))
	f.Add([]byte(`{"tls":null,"rule":{},"code":"x"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, ok := readCall(text); ok && (c.Destination == "" || c.Rule == inbound && c.TLS != nil) {
			t.Errorf("%+v", c)
		}
	})
}
