package bookinfo

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// complaint is the body of an answer that is not what was asked for.
type complaint struct {
	Error string `json:"error"`
}

// health is the body that probes get.
type health struct {
	Status string `json:"status"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the answer cannot be written as JSON", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(body)
}

// productID reads the path's {id}: a number of at most 31 bits. Every number is
// a product; all are the same book.
func productID(r *http.Request) (int, bool) {
	n, err := strconv.ParseUint(r.PathValue("id"), 10, 31)
	return int(n), err == nil
}

// numbered answers 400 unless the path's {id} is a number.
func numbered(next func(w http.ResponseWriter, r *http.Request, id int)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, ok := productID(r)
		if !ok {
			writeJSON(w, http.StatusBadRequest, complaint{"please provide numeric product id"})
			return
		}
		next(w, r, id)
	}
}

// healthy answers probes.
func healthy(service string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, health{service + " is healthy"})
	}
}
