package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/session"
)

// base is where the API stands.
const base = "/api/v1"

// Access says who may ask at all. What a user may do in a room is the
// authorizer's to say, once the request names one.
type Access uint8

// Who may ask.
const (
	Anyone Access = iota // no token is asked for
	User                 // a valid token or API key
	Admin                // one that says admin
)

// smallBody bounds the body of a request that carries no content of messages.
const smallBody = 64 << 10

// Route is one operation of the API.
type Route struct {
	Method  string
	Pattern string // below /api/v1, with {wildcards}
	Access  Access
	Params  []string // the query parameters that it takes

	command bool // goes through Sessions.Do or Start, which limit the rate
	content bool // the body carries content of messages: bounded by api.body alone
	gzip    bool // a large answer is compressed; none that holds a secret is
	stream  bool // no timeout ends it
	handle  func(*call) *proto.Error
}

// Routes returns every operation of the API, in the order of the documentation.
func Routes() []Route {
	return slices.Concat(accountRoutes(), roomRoutes(), messageRoutes(), adminRoutes())
}

// methods finds the routes of one path by their method.
type methods map[string]*Route

// newMux registers the routes by their paths: a path knows all its methods, so
// that it can say which those are.
func newMux(a *API, routes []Route) *http.ServeMux {
	paths := make(map[string]methods)
	for i := range routes {
		r := &routes[i]
		if paths[r.Pattern] == nil {
			paths[r.Pattern] = make(methods)
		}
		paths[r.Pattern][r.Method] = r
	}
	mux := http.NewServeMux()
	for pattern, found := range paths {
		mux.HandleFunc(base+pattern, func(w http.ResponseWriter, r *http.Request) {
			w.(*writer).call.serve(r, pattern, found)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.(*writer).call.notFound(r)
	})
	return mux
}

// of returns the route that answers a method. HEAD is GET without the body,
// which net/http leaves out.
func (m methods) of(method string) *Route {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	return m[method]
}

// allow is the value of the Allow header (RFC 9110, section 10.2.1).
func (m methods) allow() string {
	names := slices.Collect(maps.Keys(m))
	if m[http.MethodGet] != nil {
		names = append(names, http.MethodHead)
	}
	names = append(names, http.MethodOptions)
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (c *call) notFound(r *http.Request) {
	c.r = r
	c.fail(proto.ErrNotFound.With("there is nothing at %.100q", r.URL.Path))
}

// serve carries out a request for a path that exists.
func (c *call) serve(r *http.Request, pattern string, found methods) {
	c.r, c.pattern = r, pattern
	if c.crossOrigin(found) {
		return
	}
	c.route = found.of(r.Method)
	if c.route == nil {
		c.w.Header().Set("Allow", found.allow())
		if r.Method == http.MethodOptions {
			c.write(http.StatusNoContent, "", nil)
			return
		}
		c.fail(proto.ErrMethodNotAllowed.With("%s is not a method of this path; it takes %s", r.Method, found.allow()))
		return
	}
	stop := c.limitTime()
	defer stop()
	if err := c.carryOut(); err != nil {
		c.fail(err)
	}
}

// retrySoon is for how long clients are asked to stay away while memory has run
// out; up to as much again spreads them.
const retrySoon = 5 * time.Second

// carryOut asks in turn whether the server takes requests, administrators' aside
// whether it has memory for them, who asks, how often, and what for, and then lets
// the route's handler answer.
func (c *call) carryOut() *proto.Error {
	if c.route.Access != Anyone || c.route.Method != http.MethodGet {
		if err := c.api.Ready(); err != nil && err.Code == proto.ErrShuttingDown {
			return err
		}
	}
	if c.route.Access != Admin && c.api.Memory.Full() {
		return noMemory()
	}
	if err := c.authenticate(); err != nil {
		return err
	}
	if err := c.limitRate(); err != nil {
		return err
	}
	params := c.route.Params
	if c.api.Dev {
		params = append(slices.Clip(params), devUser)
	}
	var err *proto.Error
	if c.query, err = parseQuery(c.r.URL.RawQuery, params); err != nil {
		return err
	}
	return c.route.handle(c)
}

// limitRate counts the request as a command of the user's and the address's, as
// a frame on a WebSocket is, and a stream as a handshake.
func (c *call) limitRate() *proto.Error {
	switch {
	case c.route.stream:
		return c.api.Sessions.Limit(c.caller(), session.Handshakes, 1)
	case c.route.command:
		return nil
	}
	return c.api.Sessions.Limit(c.caller(), session.Frames, 1)
}
