package bookinfo

import (
	"context"
	"net/http"
)

// bookRatings is the answer of ratings: stars by reviewer.
type bookRatings struct {
	ID      int            `json:"id"`
	Ratings map[string]int `json:"ratings"`
}

// starSource is where a version of ratings has its stars from. It must return
// when the context ends.
type starSource func(ctx context.Context, product int) (map[string]int, error)

func newRatings(c Config) (http.Handler, error) {
	switch c.Version {
	case "v1":
		return ratingsFrom(fixedStars, c), nil
	case "v2":
		db, err := c.Database.open()
		if err != nil {
			return nil, err
		}
		return ratingsFrom(starsIn(db), c), nil
	}
	return nil, unknownVersion(c.Version, "v1", "v2")
}

// fixedStars is the source of v1.
func fixedStars(context.Context, int) (map[string]int, error) {
	return map[string]int{"Reviewer1": 5, "Reviewer2": 4}, nil
}

func ratingsFrom(stars starSource, c Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", healthy("Ratings"))
	mux.HandleFunc("GET /ratings/{id}", numbered(func(w http.ResponseWriter, r *http.Request, id int) {
		found, err := stars(r.Context(), id)
		if err != nil {
			c.Logger.Warn("no stars from the database", "version", c.Version, "err", err)
			writeJSON(w, http.StatusInternalServerError, complaint{"could not connect to ratings database"})
			return
		}
		writeJSON(w, http.StatusOK, bookRatings{ID: id, Ratings: found})
	}))
	return mux
}
