package admin

import (
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Gate lets through who knows the token of the control plane. Whoever can read the state folder does, and nobody else
// on the machine.
type Gate struct {
	Token string // "": nobody is let through
	File  string // where people find it
}

// tokenKey is the key of the token in a URL.
const tokenKey = "token"

// guard serves what is for those who know the token. They show it as "Authorization: Bearer", or once in the URL, which
// then is exchanged for a cookie, so that the token stays in no history and in no Referer. Other names than those of
// this machine are refused, so that no page of a browser can ask under a name of its own that leads here.
func (g Gate) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		private(w.Header())
		switch {
		case !loopback(r.Host):
			text(w, http.StatusForbidden, "refused: these pages are for this machine, as http://127.0.0.1 or http://localhost\n")
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			text(w, http.StatusMethodNotAllowed, "refused: nothing can be changed here; commands do that over the socket in the state folder\n")
		case r.URL.Query().Has(tokenKey):
			g.exchange(w, r)
		default:
			g.check(w, r, next)
		}
	})
}

// check serves the request if it shows the token.
func (g Gate) check(w http.ResponseWriter, r *http.Request, next http.Handler) {
	shown, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	cookie, err := r.Cookie(cookieName(r.Host))
	switch {
	case bearer && g.is(shown), err == nil && g.is(cookie.Value):
		next.ServeHTTP(w, r)
	case bearer || err == nil:
		text(w, http.StatusForbidden, "refused: the token is a wrong one, perhaps of an earlier start\n"+g.hint())
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="lateen"`)
		text(w, http.StatusUnauthorized, "refused: this page needs the token of the control plane\n"+g.hint())
	}
}

// exchange takes the token out of the URL and gives a cookie for it. The cookie is sent only to the pages that need it,
// since browsers send cookies to every port of a host.
func (g Gate) exchange(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if !g.is(query.Get(tokenKey)) {
		text(w, http.StatusForbidden, "refused: the token is a wrong one, perhaps of an earlier start\n"+g.hint())
		return
	}
	query.Del(tokenKey)
	for _, path := range []string{"/debug", "/v1"} {
		http.SetCookie(w, &http.Cookie{ //nolint:gosec // there is no TLS on the loopback address
			Name: cookieName(r.Host), Value: g.Token, Path: path, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		})
	}
	to := url.URL{Path: r.URL.Path, RawQuery: query.Encode()}
	w.Header().Set("Location", to.String())
	w.WriteHeader(http.StatusSeeOther)
}

// is compares in a time that tells nothing.
func (g Gate) is(shown string) bool {
	return g.Token != "" && subtle.ConstantTimeCompare([]byte(shown), []byte(g.Token)) == 1
}

func (g Gate) hint() string {
	if g.Token == "" {
		return "hint: this control plane has none: its pages are closed\n"
	}
	return "hint: `lateen up` prints the URL with it; it stands in " + g.File + "\n" +
		`hint: curl -H "Authorization: Bearer $(cat ` + g.File + `)" http://127.0.0.1:PORT/debug/` + "\n"
}

// cookieName differs from port to port, so that two meshes do not forget one another's.
func cookieName(host string) string {
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		port = "80"
	}
	return "lateen-" + port
}

// loopback tells whether a Host header names this machine by itself.
func loopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.IsLoopback()
}

// private keeps an answer out of caches, frames and other pages.
func private(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
}
