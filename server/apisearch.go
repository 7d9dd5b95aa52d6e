package server

import (
	"net/http"
	"strconv"

	"customhouse"
)

// How many repositories a page of found ones has.
const (
	usualSearch = 100
	mostSearch  = 1000
)

// maxSearch is how long the text that is searched for may be; names are no longer.
const maxSearch = 255

// found is the answer of GET /api/repositories: those that the caller may know of, as in the catalog.
type found struct {
	Repositories []string `json:"repositories"`
	Next         string   `json:"next,omitempty"` // where the list goes on, as the parameter last
}

// search lists repositories whose names contain a text.
func search(st *state, w *response, r *http.Request, q apiAdmitted) error {
	if st.Registry == nil {
		return noRepositories()
	}
	n := usualSearch
	if text := q.query.Get("n"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > mostSearch {
			return customhouse.Errorf(customhouse.BadRequest, "parameter n: want a number from 1 to %d", mostSearch)
		}
	}
	text := q.query.Get("search")
	if len(text) > maxSearch {
		return customhouse.Errorf(customhouse.BadRequest, "parameter search: no name has more than %d bytes", maxSearch)
	}
	names, more, err := st.repositories(r.Context(), &q.grant, q.query.Get("last"), n, text)
	if err != nil {
		return err
	}
	answer := found{Repositories: names}
	if more {
		answer.Next = names[len(names)-1]
	}
	return writeAPI(w, http.StatusOK, answer)
}

// noRepositories is what a token service alone says of content.
func noRepositories() error {
	return customhouse.Errorf(customhouse.NotFound, "there are no repositories here")
}
