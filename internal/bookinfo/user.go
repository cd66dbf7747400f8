package bookinfo

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
)

const (
	userCookie   = "user"
	maxUserName  = 64
	maxLoginForm = 4 << 10
	maxTarget    = 512
)

// signedIn returns the name in the request's cookie, or "" for nobody. There is
// no password: the name only gives rules something to steer by, and proves
// nothing.
func signedIn(r *http.Request) string {
	c, err := r.Cookie(userCookie)
	if err != nil || !validUserName(c.Value) {
		return ""
	}
	return c.Value
}

// validUserName keeps to characters that need no quoting in a cookie, a header,
// YAML or HTML.
func validUserName(name string) bool {
	return name != "" && len(name) <= maxUserName && strings.IndexFunc(name, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("._@+-", c))
	}) < 0
}

// login signs in by form (username, next) and goes back to where the form was.
func (p *productPage) login(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" {
		p.notice(w, http.StatusForbidden, "Not signed in", "The form that was sent belongs to another site.")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxLoginForm)
	if err := r.ParseForm(); err != nil {
		status := http.StatusBadRequest
		if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
			status = http.StatusRequestEntityTooLarge
		}
		p.notice(w, status, "Not signed in", "The form that was sent cannot be read.")
		return
	}
	name := strings.TrimSpace(r.Form.Get("username"))
	if !validUserName(name) {
		p.notice(w, http.StatusBadRequest, "Not signed in",
			"A user name has 1 to 64 characters: letters, digits and . _ @ + -")
		return
	}
	setUser(w, name, 0)
	http.Redirect(w, r, target(r), http.StatusFound)
}

// logout signs out. It is a GET because the original's is, and harmless: there
// is nothing to lose but a name.
func (p *productPage) logout(w http.ResponseWriter, r *http.Request) {
	setUser(w, "", -1)
	http.Redirect(w, r, target(r), http.StatusFound)
}

func setUser(w http.ResponseWriter, name string, maxAge int) {
	w.Header().Set("Cache-Control", "no-store")
	http.SetCookie(w, &http.Cookie{
		Name:     userCookie,
		Value:    name,
		Path:     "/",
		MaxAge:   maxAge,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
}

// target says where to go after signing in or out: to "next" of the form or
// query, else back to the page that sent the request, else to the product page.
// It is always a path on this site.
func target(r *http.Request) string {
	if next, ok := localPath(r.FormValue("next")); ok {
		return next
	}
	from, err := url.Parse(r.Referer())
	if err == nil && from.Host != "" && from.Host == r.Host {
		if back, ok := localPath(from.RequestURI()); ok {
			return back
		}
	}
	return "/productpage"
}

// localPath accepts a path with an optional query that every browser takes for
// a place on the same site: no //host, no /\host, nothing that is cut out before
// reading. Places that would sign in or out again are not accepted.
func localPath(s string) (string, bool) {
	if len(s) > maxTarget || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") || strings.Contains(s, `\`) {
		return "", false
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil {
		return "", false
	}
	if u.Path == "/login" || u.Path == "/logout" || strings.HasPrefix(u.Path, "//") {
		return "", false
	}
	return u.RequestURI(), true
}
