package bookinfo

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	g "maragu.dev/gomponents"
)

// Bounds of what the page shows of other services' answers.
const (
	maxReviews = 50
	maxText    = 2000
	maxWord    = 80
)

// pages renders HTML. Each page is one document with its style inside: the
// ingress lets only a few paths through, none of them for style sheets.
type pages struct {
	style  string
	policy string
}

// sheet is what a page tells.
type sheet struct {
	Title string
	Text  string
	User  string // "" for nobody
	Here  string // where to return to after signing in or out

	Book    product
	Details *bookDetails // nil shows the error
	Reviews *bookReviews // nil shows the error
	Calls   []call
}

// call is how one service was asked for its part of the page.
type call struct {
	Service, Version, Instance string
	Outcome                    string
	Good                       bool
	Tries                      int
	Took                       string
}

func newPages() (*pages, error) {
	style, err := pageFiles.ReadFile("page/style.css")
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(style)
	return &pages{
		style: string(style),
		policy: "default-src 'none'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'self'; " +
			"style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'",
	}, nil
}

// write renders first and sends after, so that a page is whole or not there.
func (p *pages) write(w http.ResponseWriter, status int, about func(sheet) []g.Node, s sheet) {
	var out bytes.Buffer
	if err := document(p.style, s, about(s)...).Render(&out); err != nil {
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", p.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(out.Bytes())
}

// bookPage puts the product page together from the two answers, trusting
// neither.
func bookPage(user string, details, reviews answer) sheet {
	s := sheet{Title: theBook().Title, User: user, Here: "/productpage", Book: theBook()}
	aboutDetails, aboutReviews := describe("details", details), describe("reviews", reviews)
	if details.err == nil {
		if s.Details = readDetails(details.body); s.Details == nil {
			aboutDetails.unreadable()
		}
	}
	if reviews.err == nil {
		if s.Reviews = readReviews(reviews.body); s.Reviews == nil {
			aboutReviews.unreadable()
		} else {
			aboutReviews.Version, aboutReviews.Instance = s.Reviews.Version, s.Reviews.Instance
		}
	}
	s.Calls = []call{aboutDetails, aboutReviews}
	return s
}

func describe(service string, a answer) call {
	return call{
		Service: service,
		Outcome: a.outcome(),
		Good:    a.err == nil,
		Tries:   a.tries,
		Took:    spoken(a.took),
	}
}

func (c *call) unreadable() {
	c.Good, c.Outcome = false, "sent an answer that cannot be read"
}

func readDetails(body []byte) *bookDetails {
	var d *bookDetails
	if json.Unmarshal(body, &d) != nil || d == nil {
		return nil
	}
	for _, s := range []*string{&d.Author, &d.Type, &d.Publisher, &d.Language, &d.ISBN10, &d.ISBN13} {
		*s = bounded(*s, maxWord)
	}
	return d
}

func readReviews(body []byte) *bookReviews {
	var b *bookReviews
	if json.Unmarshal(body, &b) != nil || b == nil {
		return nil
	}
	b.Reviews = b.Reviews[:min(len(b.Reviews), maxReviews)]
	b.Version, b.Instance = bounded(b.Version, maxWord), bounded(b.Instance, maxWord)
	b.RatingsError = bounded(b.RatingsError, maxWord)
	for i := range b.Reviews {
		r := &b.Reviews[i]
		r.Reviewer, r.Text = bounded(r.Reviewer, maxWord), bounded(r.Text, maxText)
		if r.Rating == nil {
			continue
		}
		r.Rating.Stars = min(max(r.Rating.Stars, 0), maxStars)
		if r.Rating.Color != "red" {
			r.Rating.Color = "black"
		}
	}
	return b
}

// initials stand for a person: the first letter, and the number if there is one
// at the end.
func initials(name string) string {
	letters := []rune(name)
	if len(letters) == 0 {
		return "?"
	}
	if last := letters[len(letters)-1]; len(letters) > 1 && '0' <= last && last <= '9' {
		return string(letters[0]) + string(last)
	}
	return string(letters[0])
}

// spoken rounds a duration to what a reader cares for: 0.4 ms, 35 ms, 2.5 s.
func spoken(d time.Duration) string {
	switch ms := float64(d) / float64(time.Millisecond); {
	case ms < 9.95:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 999.5:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
