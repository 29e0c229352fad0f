package api

import (
	"net/url"
	"slices"
	"strconv"

	"github.com/thronghq/throng/proto"
)

// The bounds of a page, for all lists.
const (
	pageDefault = 100
	pageMost    = 1000
	maxCursor   = 1 << 10 // bytes
)

// query is the request's query, of which each parameter is known and comes
// once. Its methods keep the first thing that is wrong in err.
type query struct {
	values url.Values
	err    *proto.Error
}

// parseQuery reads a query string; params are the names that it may hold.
func parseQuery(raw string, params []string) (query, *proto.Error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return query{}, proto.ErrInvalidField.With("the request's query string cannot be parsed")
	}
	for name, given := range values {
		switch {
		case !slices.Contains(params, name):
			return query{}, unknownField("query parameter", name, params)
		case len(given) > 1:
			return query{}, proto.ErrInvalidField.With("query parameter %q comes %d times; it may come once", name, len(given))
		}
	}
	return query{values: values}, nil
}

func (q *query) wrong(name, expected string) {
	if q.err == nil {
		q.err = proto.ErrInvalidField.With("query parameter %q is %.40q; %s is expected", name, q.values.Get(name), expected)
	}
}

// text returns a parameter's value, "" where there is none.
func (q *query) text(name string, most int) string {
	value := q.values.Get(name)
	if len(value) > most {
		q.wrong(name, "at most "+strconv.Itoa(most)+" bytes")
	}
	return value
}

// integer returns a parameter of least to most, or its default.
func (q *query) integer(name string, least, most, otherwise uint64) uint64 {
	if !q.values.Has(name) {
		return otherwise
	}
	n, err := strconv.ParseUint(q.values.Get(name), 10, 64)
	if err != nil || n < least || n > most {
		q.wrong(name, integerOf(least, most))
	}
	return n
}

// page returns where a list's page begins and how long it may be. A cursor is
// what the page before gave as next, and for its maker alone to read.
func (q *query) page() (cursor string, limit int) {
	return q.text("cursor", maxCursor), int(q.integer("limit", 1, pageMost, pageDefault))
}
