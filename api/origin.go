package api

import (
	"net/http"
	"strings"

	"github.com/thronghq/throng/proto"
)

// What pages of other origins may send and read (the Fetch standard's CORS
// protocol). Tokens travel in Authorization, never in cookies: no answer allows
// credentials.
const (
	corsHeaders = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Traceparent"
	corsExposed = "ETag, Location, Retry-After, Trace-Id"
	corsMaxAge  = "600" // seconds
)

// origins says which pages may use the API, as it does for WebSockets: those of
// the server's own host and of the configured origins.
type origins struct {
	all     bool
	allowed map[string]bool // canonical
}

func newOrigins(list []string) origins {
	o := origins{allowed: make(map[string]bool, len(list))}
	for _, origin := range list {
		o.all = o.all || origin == "*"
		o.allowed[canonicalOrigin(origin)] = true
	}
	return o
}

func (o *origins) allows(origin string) bool { return o.all || o.allowed[canonicalOrigin(origin)] }

// canonicalOrigin lowers the case and leaves out the scheme's own port.
func canonicalOrigin(origin string) string {
	origin = strings.ToLower(origin)
	switch {
	case strings.HasPrefix(origin, "http://"):
		return strings.TrimSuffix(origin, ":80")
	case strings.HasPrefix(origin, "https://"):
		return strings.TrimSuffix(origin, ":443")
	}
	return origin
}

// crossOrigin does what a page's origin asks for. It reports whether the
// request is answered with that: a preflight, or a refusal.
//
// Requests that change something must come from a page of an allowed origin or
// from no page at all. No cookie gives anybody a right here, but with --dev a
// mere name does, and an address that only this machine reaches may be trusted
// by what runs on it: a page from anywhere must not use either.
func (c *call) crossOrigin(found methods) (answered bool) {
	h := c.w.Header()
	h.Add("Vary", "Origin")
	origin := c.r.Header.Get("Origin")
	allowed := origin != "" && c.api.origins.allows(origin)
	if allowed {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", corsExposed)
	}
	if c.r.Method == http.MethodOptions && c.r.Header.Get("Access-Control-Request-Method") != "" {
		if allowed {
			h.Set("Access-Control-Allow-Methods", found.allow())
			h.Set("Access-Control-Allow-Headers", corsHeaders)
			h.Set("Access-Control-Max-Age", corsMaxAge)
		}
		h.Set("Allow", found.allow())
		c.write(http.StatusNoContent, "", nil)
		return true
	}
	if err := c.api.crossOrigins.Check(c.r); err != nil && !allowed {
		c.fail(proto.ErrOrigin.With("the page's origin %.100q is not allowed", origin))
		return true
	}
	return false
}
