package bookinfo

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// product is an entry of the catalogue, as the API shows it.
type product struct {
	ID          int    `json:"id"`
	Title       string `json:"title"`
	Description string `json:"descriptionHtml"`
}

const (
	sorryDetails = "Sorry, product details are currently unavailable for this book."
	sorryReviews = "Sorry, product reviews are currently unavailable for this book."
	sorryRatings = "Sorry, product ratings are currently unavailable for this book."
)

// productPage is the service that people see.
type productPage struct {
	details, reviews, ratings neighbour
	pages                     *pages
}

func newProductPage(c Config) (http.Handler, error) {
	var p productPage
	var err error
	if p.details, err = newNeighbour("details", c.Details, c); err != nil {
		return nil, err
	}
	if p.reviews, err = newNeighbour("reviews", c.Reviews, c); err != nil {
		return nil, err
	}
	p.reviews.tries = 2
	if p.ratings, err = newNeighbour("ratings", c.Ratings, c); err != nil {
		return nil, err
	}
	if p.pages, err = newPages(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.index)
	mux.HandleFunc("GET /index.html", p.index)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte("Product page is healthy"))
	})
	mux.HandleFunc("POST /login", p.login)
	mux.HandleFunc("GET /logout", p.logout)
	mux.HandleFunc("GET /productpage", p.show)
	mux.HandleFunc("GET /api/v1/products", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, []product{theBook()})
	})
	mux.HandleFunc("GET /api/v1/products/{id}", pass(p.details, "details", sorryDetails))
	mux.HandleFunc("GET /api/v1/products/{id}/reviews", pass(p.reviews, "reviews", sorryReviews))
	mux.HandleFunc("GET /api/v1/products/{id}/ratings", pass(p.ratings, "ratings", sorryRatings))
	return mux, nil
}

// show makes the page: details first, then reviews, as the original did. The
// status is 200 even if one or both are missing.
func (p *productPage) show(w http.ResponseWriter, r *http.Request) {
	header, id := forwarded(r), strconv.Itoa(theBook().ID)
	details := p.details.get(r.Context(), header, "details", id)
	reviews := p.reviews.get(r.Context(), header, "reviews", id)
	p.pages.write(w, http.StatusOK, theBookPage, bookPage(signedIn(r), details, reviews))
}

func (p *productPage) index(w http.ResponseWriter, r *http.Request) {
	p.pages.write(w, http.StatusOK, welcome, sheet{Title: "Welcome", User: signedIn(r), Here: r.URL.Path})
}

func (p *productPage) notice(w http.ResponseWriter, status int, title, text string) {
	p.pages.write(w, status, notice, sheet{Title: title, Text: text})
}

// pass answers with what the neighbour says about a product. If that is nothing
// good, the status is the neighbour's, or 500 if it has none to show.
func pass(to neighbour, path, sorry string) http.HandlerFunc {
	return numbered(func(w http.ResponseWriter, r *http.Request, id int) {
		a := to.get(r.Context(), forwarded(r), path, strconv.Itoa(id))
		switch {
		case a.err == nil:
			writeJSON(w, http.StatusOK, json.RawMessage(a.body))
		case a.status >= 400 && a.status <= 599:
			writeJSON(w, a.status, complaint{sorry})
		default:
			writeJSON(w, http.StatusInternalServerError, complaint{sorry})
		}
	})
}

func theBook() product {
	return product{
		ID:    0,
		Title: "The Comedy of Errors",
		Description: "Two pairs of twins, parted by a shipwreck, come to the same town on the same day. " +
			"Nobody knows it, and everybody is taken for somebody else.",
	}
}
