package local

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// readIn reads a document as if it stood in the folder.
func readIn(t *testing.T, dir, text string) (*Mesh, []mesh.Problem) {
	t.Helper()
	objects, problems := config.Parse(filepath.Join(dir, "mesh.yaml"), []byte(text), "")
	m, more := Read(objects)
	return m, append(problems, more...)
}

// spelled spells problems: "5:13 spec.x code".
func spelled(problems []mesh.Problem) []string {
	var all []string
	for _, p := range problems {
		all = append(all, fmt.Sprintf("%d:%d %s %s", p.Position.Line, p.Position.Column, p.Field, p.Code))
	}
	return all
}

// pair returns a certificate and its key in PEM.
func pair(t *testing.T) (chain, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pairOf(t, private)
}

// pairOf returns a certificate for a key, and the key, in PEM.
func pairOf(t *testing.T, private crypto.Signer) (chain, key string) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop"}, DNSNames: []string{"shop.example.com"},
		NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
}

// credentials makes a folder with two pairs, one that no proxy takes, a file without a certificate, one that is too large and a folder.
func credentials(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"empty.pem": "no certificate\n", "large.pem": strings.Repeat("x", mostBundle+1)}
	files["a.crt"], files["a.key"] = pair(t)
	files["b.crt"], files["b.key"] = pair(t)
	_, unusual, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	files["ed.crt"], files["ed.key"] = pairOf(t, unusual)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSettings(t *testing.T) {
	t.Parallel()
	dir := credentials(t)
	second := mesh.Duration(time.Second)
	for name, c := range map[string]struct {
		spec string
		want mesh.Settings
	}{
		"none":             {"  services: {}", mesh.Settings{ConnectTimeout: second}},
		"empty":            {"  settings: {}", mesh.Settings{ConnectTimeout: second}},
		"access log":       {"  settings: {accessLogFile: /dev/stdout}", mesh.Settings{ConnectTimeout: second}},
		"connect timeout":  {"  settings: {connectTimeout: 1ms}", mesh.Settings{ConnectTimeout: mesh.Duration(time.Millisecond)}},
		"the longest":      {"  settings: {connect_timeout: 30s}", mesh.Settings{ConnectTimeout: mesh.Duration(30 * time.Second)}},
		"no access log":    {`  settings: {accessLogFile: ""}`, mesh.Settings{ConnectTimeout: second, NoAccessLog: true}},
		"no access log?":   {"  settings: {accessLogFile: }", mesh.Settings{ConnectTimeout: second}},
		"resolvers":        {`  settings: {dnsResolvers: [192.0.2.1, "192.0.2.2:5353", "::1", "[::1]:54"]}`, mesh.Settings{ConnectTimeout: second, DNSResolvers: []string{"192.0.2.1:53", "192.0.2.2:5353", "[::1]:53", "[::1]:54"}}},
		"bundle":           {"  settings: {caBundle: a.crt}", mesh.Settings{ConnectTimeout: second, CABundle: filepath.Join(dir, "a.crt")}},
		"bundle elsewhere": {"  settings: {caBundle: " + dir + "/b.crt}", mesh.Settings{ConnectTimeout: second, CABundle: filepath.Join(dir, "b.crt")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, problems := readIn(t, dir, document(c.spec))
			if m == nil || len(problems) > 0 {
				t.Fatal(problems)
			}
			if diff := cmp.Diff(c.want, m.Settings); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSettingsProblems(t *testing.T) {
	t.Parallel()
	dir := credentials(t)
	settings := func(text string) string { return "  settings: {" + text + "}" }
	cases := map[string][2]string{
		"timeout of nothing":  {settings("connectTimeout: 0s"), "5:30 spec.settings.connectTimeout invalid-duration"},
		"timeout too fine":    {settings("connectTimeout: 1500us"), "5:30 spec.settings.connectTimeout invalid-duration"},
		"timeout too long":    {settings("connectTimeout: 30001ms"), "5:30 spec.settings.connectTimeout out-of-range"},
		"timeout of a number": {settings("connectTimeout: 1"), "5:30 spec.settings.connectTimeout invalid-duration"},
		"resolver's name":     {settings("dnsResolvers: [192.0.2.1, dns]"), "5:40 spec.settings.dnsResolvers[1] invalid-value"},
		"resolver's port":     {settings(`dnsResolvers: ["192.0.2.1:0"]`), "5:29 spec.settings.dnsResolvers[0] invalid-value"},
		"resolver's zone":     {settings(`dnsResolvers: ["fe80::1%lo"]`), "5:29 spec.settings.dnsResolvers[0] invalid-value"},
		"one resolver":        {settings("dnsResolvers: 192.0.2.1"), "5:28 spec.settings.dnsResolvers wrong-type"},
		"bundle not there":    {settings("caBundle: nonesuch.pem"), "5:24 spec.settings.caBundle invalid-value"},
		"bundle empty":        {settings("caBundle: empty.pem"), "5:24 spec.settings.caBundle invalid-value"},
		"bundle too large":    {settings("caBundle: large.pem"), "5:24 spec.settings.caBundle invalid-value"},
		"bundle of a folder":  {settings("caBundle: folder"), "5:24 spec.settings.caBundle invalid-value"},
		"a device as bundle":  {settings("caBundle: /dev/zero"), "5:24 spec.settings.caBundle invalid-value"},
		"misspelt":            {settings("conectTimeout: 1s"), "5:14 spec.settings.conectTimeout unknown-field"},
		"no mapping":          {"  settings: [a]", "5:13 spec.settings wrong-type"},
		"in two documents":    {settings("") + "\n---\n" + document(settings("")), "11:3 spec.settings conflicting-fields"},
	}
	for _, later := range []string{
		"mixerAddress", "disablePolicyChecks", "enableTracing", "defaultConfig", "ingressClass",
		"ingressService", "ingressControllerMode", "rdsRefreshDelay", "proxyListenPort", "egressProxyAddress", "proxyHttpPort",
	} {
		cases[later] = [2]string{settings(later + ": x"), "5:14 spec.settings." + later + " unsupported-field"}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, problems := readIn(t, dir, document(c[0]))
			if got := spelled(problems); m != nil || !slices.Equal(got, []string{c[1]}) {
				t.Errorf("got %q, want %q", got, c[1])
			}
		})
	}
	_, problems := readIn(t, dir, document(settings(""))+"---\n"+document(settings("")))
	if len(problems) != 1 || !strings.Contains(problems[0].Hint, filepath.Join(dir, "mesh.yaml")+":5:3") {
		t.Errorf("the hint at the first settings is missing: %v", problems)
	}
}

// The authorities of the system are in the file of SSL_CERT_FILE, if there is one, else where the system has it.
func TestSystemBundle(t *testing.T) {
	t.Parallel()
	dir := credentials(t)
	usual := systemBundle(nil)
	if usual != "" && !slices.Contains(systemBundles[:], usual) {
		t.Errorf("found %s", usual)
	}
	for value, want := range map[string]string{"": usual, dir + "/a.crt": dir + "/a.crt", dir + "/nonesuch": usual, dir + "/folder": usual} {
		if got := systemBundle([]string{"SSL_CERT_FILE=" + value}); got != want {
			t.Errorf("SSL_CERT_FILE=%s: %s, want %s", value, got, want)
		}
	}
}

func TestDoor(t *testing.T) {
	t.Parallel()
	dir := credentials(t)
	m, problems := readIn(t, dir, document("  ingress: {port: 81, httpsPort: 82, certificates: {shop-tls: {cert: a.crt, key: "+dir+"/a.key}, b: {cert: b.crt, key: b.key}}}"))
	if m == nil || len(problems) > 0 {
		t.Fatal(problems)
	}
	if m.Ingress.Port != 81 || m.Ingress.HTTPSPort != 82 || len(m.Certificates) != 2 {
		t.Fatalf("door %+v with %d certificates", m.Ingress, len(m.Certificates))
	}
	for n, name := range []string{"b", "a"} {
		chain, err := os.ReadFile(filepath.Join(dir, name+".crt"))
		if err != nil {
			t.Fatal(err)
		}
		key, err := os.ReadFile(filepath.Join(dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		if c := m.Certificates[n]; c.Chain != string(chain) || c.Key.Reveal() != string(key) || c.Namespace != "east" || c.Origin.Line != 5 {
			t.Errorf("certificate %+v, want that of %s", c, name)
		}
	}
	ingress := m.all()[0]
	if ingress.Labels["istio"] != "ingress" || ingress.Door.HTTPSPort != 82 {
		t.Errorf("ingress %+v", ingress)
	}
	i := &Instance{Name: ingress.Name, Workload: ingress, Address: loopback, Outbound: 81}
	if w := i.MeshWorkload(); w.DoorTLS != 82 || w.Door != "127.0.0.1" || w.Outbound != 81 {
		t.Errorf("workload %+v", w)
	}
}

func TestDoorProblems(t *testing.T) {
	t.Parallel()
	dir := credentials(t)
	certificate := func(text string) string { return "  ingress: {certificates: {shop: {" + text + "}}}" }
	for name, c := range map[string][2]string{
		"port":        {"  ingress: {httpsPort: 65536}", "5:24 spec.ingress.httpsPort out-of-range"},
		"same port":   {"  ingress: {port: 8443, httpsPort: 8443}", "5:36 spec.ingress.httpsPort invalid-value"},
		"usual port":  {"  ingress: {httpsPort: 8080}", "5:24 spec.ingress.httpsPort invalid-value"},
		"no key":      {certificate("cert: a.crt"), "5:28 spec.ingress.certificates.shop.key missing-field"},
		"no chain":    {certificate("key: a.key"), "5:28 spec.ingress.certificates.shop.cert missing-field"},
		"not there":   {certificate("cert: c.crt, key: a.key"), "5:41 spec.ingress.certificates.shop.cert invalid-value"},
		"ed25519":     {certificate("cert: ed.crt, key: ed.key"), "5:28 spec.ingress.certificates.shop invalid-value"},
		"other's key": {certificate("cert: a.crt, key: b.key"), "5:28 spec.ingress.certificates.shop invalid-value"},
		"the other":   {certificate("cert: a.key, key: a.crt"), "5:28 spec.ingress.certificates.shop invalid-value"},
		"too large":   {certificate("cert: a.crt, key: large.pem"), "5:53 spec.ingress.certificates.shop.key invalid-value"},
		"misspelt":    {certificate("chain: a.crt, key: a.key"), "5:35 spec.ingress.certificates.shop.chain unknown-field"},
		"secret's name": {
			"  ingress: {certificates: {a_b: {cert: a.crt, key: a.key}}}", "5:28 spec.ingress.certificates.a_b invalid-name",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, problems := readIn(t, dir, document(c[0]))
			if got := spelled(problems); m != nil || !slices.Equal(got, []string{c[1]}) {
				t.Errorf("got %q, want %q", got, c[1])
			}
		})
	}
	// A long chain is good, but not any number of them.
	chain, err := os.ReadFile(filepath.Join(dir, "a.crt"))
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat(string(chain), mostCertificate/len(chain))
	if err := os.WriteFile(filepath.Join(dir, "long.crt"), []byte(long), 0o600); err != nil {
		t.Fatal(err)
	}
	many := func(n int) string {
		text := "  ingress: {certificates: {"
		for i := range n {
			text += fmt.Sprintf("c%d: {cert: long.crt, key: a.key}, ", i)
		}
		return document(text + "}}")
	}
	if _, problems := readIn(t, dir, many(30)); len(problems) > 0 {
		t.Error(problems)
	}
	if _, problems := readIn(t, dir, many(40)); !slices.Equal(spelled(problems), []string{"5:13 spec.ingress.certificates too-large"}) {
		t.Error(problems)
	}
	_, problems := readIn(t, dir, document(certificate("cert: a.crt, key: b.key")))
	key, err := os.ReadFile(filepath.Join(dir, "b.key"))
	if err != nil {
		t.Fatal(err)
	}
	if text := problems[0].String(); strings.Contains(text, strings.Split(string(key), "\n")[1]) {
		t.Errorf("the problem shows the key: %s", text)
	}
}
