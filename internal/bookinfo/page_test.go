package bookinfo

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestPageTrustsNobody(t *testing.T) {
	const attack = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	quoted, err := json.Marshal(attack)
	if err != nil {
		t.Fatal(err)
	}
	fill := func(s string) string { return strings.ReplaceAll(s, "ATTACK", string(quoted)) }
	all := newTown(t, "v1")
	all["details"] = says(200, fill(`{"author":ATTACK,"type":ATTACK,"publisher":ATTACK,"language":ATTACK,"ISBN-10":ATTACK,"ISBN-13":ATTACK}`))
	all["reviews"] = says(200, fill(`{"version":ATTACK,"podname":ATTACK,"ratingsError":ATTACK,"reviews":[
		{"reviewer":ATTACK,"text":ATTACK,"rating":{"stars":1000000,"color":ATTACK}},
		{"reviewer":"","text":"","rating":{"stars":-3,"color":"red"}}]}`))
	body := ask(all["productpage"], "GET", "/productpage", "").Body.String()
	for _, bad := range []string{"<script", "<img", `onerror=alert(1)>"`, `aria-label=""`} {
		if strings.Contains(body, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	for _, good := range []string{`aria-label="5 of 5 stars, black"`, `aria-label="0 of 5 stars, red"`} {
		if !strings.Contains(body, good) {
			t.Errorf("the page has no %s", good)
		}
	}
}

func TestPageIsBounded(t *testing.T) {
	long := strings.Repeat("ä", 3000)
	many := strings.Repeat(`{"reviewer":"x","text":"y"},`, 200)
	got := readReviews([]byte(`{"version":"` + long + `","reviews":[{"reviewer":"` + long + `","text":"` + long + `"},` + many + `{}]}`))
	if n := len(got.Reviews); n != maxReviews {
		t.Errorf("%d reviews, want %d", n, maxReviews)
	}
	for name, at := range map[string]struct {
		text string
		max  int
	}{
		"version":  {got.Version, maxWord},
		"reviewer": {got.Reviews[0].Reviewer, maxWord},
		"text":     {got.Reviews[0].Text, maxText},
	} {
		if n := utf8.RuneCountInString(at.text); n != at.max+1 || !strings.HasSuffix(at.text, "…") {
			t.Errorf("%s has %d characters, want %d and an ellipsis", name, n, at.max)
		}
	}
}

// Without network: nothing on any page may point outside, and the policy that
// forbids it must allow the page's own style.
func TestPagesStandAlone(t *testing.T) {
	page := newTown(t, "v3")["productpage"]
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`)
	outside := regexp.MustCompile(`(?:src|href|action)="(?:https?:)?//|@import|url\(|<script| style="| on[a-z]+="`)
	for _, path := range []string{"/", "/index.html", "/productpage"} {
		got := ask(page, "GET", path, "", "Cookie: user=jason")
		body := got.Body.String()
		if found := outside.FindString(body); found != "" {
			t.Errorf("%s has %s", path, found)
		}
		m := style.FindStringSubmatch(body)
		if got.Code != 200 || m == nil {
			t.Fatalf("%s: status %d, no style", path, got.Code)
		}
		hash := sha256.Sum256([]byte(m[1]))
		want := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"
		if policy := got.Header().Get("Content-Security-Policy"); !strings.Contains(policy, want) {
			t.Errorf("%s: policy %s does not allow the page's style, %s", path, policy, want)
		}
		if got.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be cached for another user", path)
		}
	}
}

func TestIndex(t *testing.T) {
	page := newTown(t, "v1")["productpage"]
	nobody := ask(page, "GET", "/", "").Body.String()
	for _, want := range []string{`href="/productpage"><b>Normal user`, `name="username" value="jason"`, `name="next" value="/productpage"`} {
		if !strings.Contains(nobody, want) {
			t.Errorf("no %s", want)
		}
	}
	jason := ask(page, "GET", "/", "", "Cookie: user=jason").Body.String()
	if want := `href="/logout?next=/productpage"><b>Normal user`; !strings.Contains(jason, want) {
		t.Errorf("no %s", want)
	}
}

func TestSpoken(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                         "0.0 ms",
		1234 * time.Microsecond:   "1.2 ms",
		9990 * time.Microsecond:   "10 ms",
		45678 * time.Microsecond:  "46 ms",
		999900 * time.Microsecond: "1.0 s",
		6004 * time.Millisecond:   "6.0 s",
	} {
		if got := spoken(d); got != want {
			t.Errorf("spoken(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestInitials(t *testing.T) {
	for name, want := range map[string]string{"": "?", "Reviewer1": "R1", "jason": "j", "7": "7", "Élise": "É", "x٣": "x"} {
		if got := initials(name); got != want {
			t.Errorf("initials(%q) = %s, want %s", name, got, want)
		}
	}
}
