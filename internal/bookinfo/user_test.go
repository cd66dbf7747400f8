package bookinfo

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestLogin(t *testing.T) {
	tests := []struct {
		name, request, body string
		headers             []string
		status              int
		location, cookie    string
	}{
		{
			name: "back to the page", request: "POST /login", body: "username=jason&passwd=x",
			headers: []string{"Referer: http://example.com/productpage?u=1"},
			status:  302, location: "/productpage?u=1", cookie: "user=jason; Path=/; HttpOnly; SameSite=Lax",
		},
		{
			name: "no referrer", request: "POST /login", body: "username=test-user",
			status: 302, location: "/productpage", cookie: "user=test-user; Path=/; HttpOnly; SameSite=Lax",
		},
		{
			name: "name in the query", request: "POST /login?username=jason",
			status: 302, location: "/productpage", cookie: "user=jason; Path=/; HttpOnly; SameSite=Lax",
		},
		{
			name: "next wins", request: "POST /login", body: "username=a&next=/index.html",
			headers: []string{"Referer: http://example.com/productpage"},
			status:  302, location: "/index.html", cookie: "user=a; Path=/; HttpOnly; SameSite=Lax",
		},
		{
			name: "referrer of another site", request: "POST /login", body: "username=a",
			headers: []string{"Referer: http://evil.example/x"},
			status:  302, location: "/productpage", cookie: "user=a; Path=/; HttpOnly; SameSite=Lax",
		},
		{
			name: "next to another site", request: "POST /login", body: "username=a&next=//evil.example",
			status: 302, location: "/productpage", cookie: "user=a; Path=/; HttpOnly; SameSite=Lax",
		},
		{
			name: "spaces around", request: "POST /login", body: "username=+jason+",
			status: 302, location: "/productpage", cookie: "user=jason; Path=/; HttpOnly; SameSite=Lax",
		},
		{name: "no name", request: "POST /login", status: 400},
		{name: "second cookie", request: "POST /login", body: "username=a;%20admin=1", status: 400},
		{name: "markup", request: "POST /login", body: "username=<b>", status: 400},
		{name: "line break", request: "POST /login", body: "username=a%0d%0aSet-Cookie:x", status: 400},
		{name: "long name", request: "POST /login", body: "username=" + strings.Repeat("a", 65), status: 400},
		{name: "bad form", request: "POST /login", body: "username=%zz", status: 400},
		{name: "long form", request: "POST /login", body: "username=a&x=" + strings.Repeat("a", maxLoginForm), status: 413},
		{
			name: "from another site", request: "POST /login", body: "username=a",
			headers: []string{"Sec-Fetch-Site: cross-site"}, status: 403,
		},
		{
			name: "sign out", request: "GET /logout", headers: []string{"Referer: http://example.com/productpage", "Cookie: user=jason"},
			status: 302, location: "/productpage", cookie: "user=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax",
		},
		{
			name: "sign out, no loop", request: "GET /logout?next=/logout",
			status: 302, location: "/productpage", cookie: "user=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax",
		},
	}
	page := newTown(t, "v1")["productpage"]
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			method, path, _ := strings.Cut(tt.request, " ")
			got := ask(page, method, "http://example.com"+path, tt.body, tt.headers...)
			if got.Code != tt.status {
				t.Errorf("status %d, want %d", got.Code, tt.status)
			}
			if to := got.Header().Get("Location"); to != tt.location {
				t.Errorf("goes to %q, want %q", to, tt.location)
			}
			if cookie := got.Header().Get("Set-Cookie"); cookie != tt.cookie {
				t.Errorf("sets %q, want %q", cookie, tt.cookie)
			}
		})
	}
}

func TestSignedIn(t *testing.T) {
	page := newTown(t, "v1")["productpage"]
	nobody := ask(page, "GET", "/productpage", "").Body.String()
	jason := ask(page, "GET", "/productpage", "", "Cookie: user=jason").Body.String()
	for _, tt := range []struct {
		page, text string
		shown      bool
	}{
		{nobody, "Sign in", true},
		{nobody, "sign out", false},
		{nobody, `<label class="sr" for="username">User name</label>`, true},
		{jason, "Sign in", false},
		{jason, "sign out", true},
		{jason, "jason", true},
	} {
		if strings.Contains(tt.page, tt.text) != tt.shown {
			t.Errorf("%q shown, want %v", tt.text, tt.shown)
		}
	}
}

func FuzzLocalPath(f *testing.F) {
	for _, s := range []string{
		"/productpage", "/a?b=c#d", "", "x", "//evil.example", `/\evil.example`, `\/evil.example`, "/\t/evil.example",
		"/.//evil.example", "/a/..//evil.example", "/%2f/evil.example", "http://evil.example/", "javascript:alert(1)", "/logout", "/é",
		"/ /evil.example", "///evil.example", "/@evil.example", "/?\r\nX: y", "/%0d%0aX: y", "/%5cevil.example", "/./login",
	} {
		f.Add(s)
	}
	here, err := url.Parse("http://shop.example/productpage")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := localPath(s)
		if !ok {
			return
		}
		// As a browser does: it drops tabs and line breaks, and takes \ for /.
		seen := strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(got)
		there, err := here.Parse(seen)
		if err != nil || there.Host != here.Host || there.Scheme != here.Scheme || strings.HasPrefix(seen, "//") {
			t.Errorf("localPath(%q) = %q leads to %v, %v", s, got, there, err)
		}
		if len(got) == 0 || got[0] != '/' || strings.ContainsAny(got, "\r\n\t\x00") {
			t.Errorf("localPath(%q) = %q", s, got)
		}
		// And what net/http makes of it.
		w := ask(http.RedirectHandler(got, http.StatusFound), "GET", "/login", "")
		if to := w.Header().Get("Location"); strings.HasPrefix(to, "//") || !strings.HasPrefix(to, "/") {
			t.Errorf("localPath(%q) = %q is sent as %q", s, got, to)
		}
	})
}
