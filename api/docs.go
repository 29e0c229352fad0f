package api

import (
	"net/http"

	"github.com/thronghq/throng/proto"
)

// docRoutes are the API's own description and the page that shows it.
func docRoutes() []Route {
	var routes []Route
	for _, pattern := range []string{"/openapi.yaml", "/openapi.json", "/docs", "/docs/{file}"} {
		routes = append(routes, Route{Method: http.MethodGet, Pattern: pattern, handle: (*call).docs})
	}
	return routes
}

func (c *call) docs() *proto.Error {
	if c.api.Docs == nil {
		return proto.ErrNotFound.With("this server does not describe its API")
	}
	c.w.Header().Del("Cache-Control") // it is the same for everybody
	c.api.Docs.ServeHTTP(c.w, c.r)
	return nil
}

// NotFound answers for a handler within the API, such as Options.Docs, that has
// nothing at a path. It must be given the writer that the handler was given.
func NotFound() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(*writer).call.notFound(r)
	})
}
