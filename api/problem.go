package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/thronghq/throng/proto"
)

// retryLater is what clients are told where an error asks for a retry and does
// not say when.
const retryLater = time.Second

// problem is an error as RFC 9457 has it, made of an entry of the registry.
type problem struct {
	Type       string `json:"type"`
	Title      string `json:"title"`
	Status     int    `json:"status"`
	Detail     string `json:"detail"`
	Instance   string `json:"instance"`
	Code       string `json:"code"`
	Retry      bool   `json:"retry"`
	RetryAfter int64  `json:"retryAfter,omitzero"` // ms
	TraceID    string `json:"trace_id"`
}

// problem words an error for the client.
func (c *call) problem(err *proto.Error) *problem {
	return &problem{
		Type:     base + "/docs#error-" + err.Name,
		Title:    err.Reason,
		Status:   statusOf(err),
		Detail:   err.Text(),
		Instance: c.r.URL.EscapedPath(),
		Code:     err.Name, Retry: err.Retry,
		RetryAfter: wholeUnits(err.RetryAfter, time.Millisecond),
		TraceID:    c.trace,
	}
}

// statusOf is the error's status. Errors that end connections and answer no
// request have none; where one does all the same, the server has failed.
func statusOf(err *proto.Error) int {
	if err.HTTP == 0 {
		return http.StatusInternalServerError
	}
	return err.HTTP
}

// fail answers with an error, unless an answer has begun.
func (c *call) fail(err *proto.Error) {
	if c.w.status != 0 {
		return
	}
	h := c.w.Header()
	switch {
	case err.HTTP == http.StatusUnauthorized, err.Code == proto.ErrForbidden:
		h.Set("WWW-Authenticate", challenge(err))
	case err.RetryAfter > 0:
		h.Set("Retry-After", strconv.FormatInt(wholeUnits(err.RetryAfter, time.Second), 10))
	case err.Retry && (err.HTTP == http.StatusServiceUnavailable || err.HTTP == http.StatusTooManyRequests || err.HTTP == http.StatusInsufficientStorage):
		h.Set("Retry-After", strconv.FormatInt(wholeUnits(retryLater, time.Second), 10))
	}
	c.w.code = err.Name
	h.Del("ETag")
	c.write(statusOf(err), "application/problem+json", marshal(c.problem(err)))
}

// challenge is the WWW-Authenticate header of RFC 6750, section 3: with an
// error only where the request did carry a token.
func challenge(err *proto.Error) string {
	var name string
	switch err.Code {
	case proto.ErrUnauthenticated, proto.ErrInvalidLogin:
		return "Bearer"
	case proto.ErrForbidden:
		name = "insufficient_scope"
	default:
		name = "invalid_token"
	}
	return `Bearer error="` + name + `", error_description="` + quotable(err.Text()) + `"`
}

// quotable keeps the characters that RFC 6750 lets a description hold.
func quotable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ' || r > '~' || r == '\\':
			return '?'
		}
		return r
	}, text)
}

// wholeUnits rounds up, so that nobody comes back too early.
func wholeUnits(d, unit time.Duration) int64 { return int64((d + unit - 1) / unit) }
