package bookinfo

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// bookReviews is the answer of reviews. Version, Instance and RatingsError are
// our additions to the original's fields; readers that do not know them lose
// nothing.
type bookReviews struct {
	ID           string   `json:"id"`
	Reviews      []review `json:"reviews"`
	Version      string   `json:"version,omitempty"`
	Instance     string   `json:"podname,omitempty"`
	RatingsError string   `json:"ratingsError,omitempty"` // why there are no stars
}

// Color is that of the stars, or "" if there are none.
func (b bookReviews) Color() string {
	for _, r := range b.Reviews {
		if r.Rating != nil {
			return r.Rating.Color
		}
	}
	return ""
}

type review struct {
	Reviewer string  `json:"reviewer"`
	Text     string  `json:"text"`
	Rating   *rating `json:"rating,omitempty"`
}

type rating struct {
	Stars int    `json:"stars"`
	Color string `json:"color"`
}

type reviewsService struct {
	version, instance string
	color             string // empty: no stars, and ratings is never called
	ratings           neighbour
}

func newReviews(c Config) (http.Handler, error) {
	ratings, err := newNeighbour("ratings", c.Ratings, c)
	if err != nil {
		return nil, err
	}
	s := &reviewsService{version: c.Version, instance: c.Instance, ratings: ratings}
	switch c.Version {
	case "v1":
	case "v2":
		s.color = "black"
		s.ratings.timeout = 10 * time.Second // more than productpage waits: the flaw to be found
	case "v3":
		s.color = "red"
		s.ratings.timeout = 2500 * time.Millisecond
	default:
		return nil, unknownVersion(c.Version, "v1", "v2", "v3")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", healthy("Reviews"))
	mux.HandleFunc("GET /reviews/{id}", numbered(s.serve))
	return mux, nil
}

// serve answers with stars, without them if ratings refuses, and with 500 if
// ratings does not answer in time, cannot be reached or talks nonsense.
func (s *reviewsService) serve(w http.ResponseWriter, r *http.Request, id int) {
	answer := bookReviews{
		ID:       strconv.Itoa(id),
		Reviews:  texts(),
		Version:  s.version,
		Instance: s.instance,
	}
	if s.color == "" {
		writeJSON(w, http.StatusOK, answer)
		return
	}
	a := s.ratings.get(r.Context(), forwarded(r), "ratings", answer.ID)
	if a.refused() {
		answer.RatingsError = "ratings " + a.outcome()
		writeJSON(w, http.StatusOK, answer)
		return
	}
	var stars bookRatings
	if a.err == nil && json.Unmarshal(a.body, &stars) != nil {
		writeJSON(w, http.StatusInternalServerError, complaint{"ratings sent an answer that cannot be read"})
		return
	}
	if a.err != nil {
		writeJSON(w, http.StatusInternalServerError, complaint{"ratings " + a.outcome()})
		return
	}
	s.rate(answer.Reviews, stars)
	writeJSON(w, http.StatusOK, answer)
}

// rate gives each review its stars. A reviewer whom ratings does not know, or
// whose stars are not 0 to 5, gets none.
func (s *reviewsService) rate(reviews []review, stars bookRatings) {
	for i := range reviews {
		n, known := stars.Ratings[reviews[i].Reviewer]
		if known && n >= 0 && n <= maxStars {
			reviews[i].Rating = &rating{Stars: n, Color: s.color}
		}
	}
}

const maxStars = 5

func texts() []review {
	return []review{
		{
			Reviewer: "Reviewer1",
			Text: "Two masters, two servants, four identical faces, and not one person in town who thinks to ask the " +
				"obvious question. I laughed from the first mix-up to the last.",
		},
		{
			Reviewer: "Reviewer2",
			Text: "Quick, silly and over before it can tire you. You have to forgive a coincidence or twelve, " +
				"but the pace makes that easy.",
		},
	}
}
