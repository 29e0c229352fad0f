// Package openapi holds the description of the REST API, as OpenAPI 3.1 has it,
// and the page that shows it. Both are embedded in the binary and the same for
// everybody for as long as the process lives; the page asks no other host for
// anything.
//
// The description is written by hand, in openapi.yaml. Tests drive each of its
// operations against a running server and hold the answers to their schemas.
package openapi

import (
	"embed"
	"fmt"
	"net/http"
	"sync"

	"github.com/thronghq/throng/internal/httpcontent"
)

// The paths that the handler answers. What the page is made of stands below
// DocsPath.
const (
	YAMLPath = "/api/v1/openapi.yaml"
	JSONPath = "/api/v1/openapi.json"
	DocsPath = "/api/v1/docs"
)

//go:embed openapi.yaml
var description []byte

//go:embed page
var page embed.FS

// policy lets the page load its own files and call the API beside it, and
// nothing else. No inline script or style is admitted, and with trusted types
// no string becomes markup.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// Handler returns the handler of YAMLPath, JSONPath, DocsPath and what stands
// below that. It asks for no token. It answers GET and HEAD, which the caller
// sees to, and calls notFound for all other paths; nil stands for http.NotFound.
// Whoever has a document revalidates it by its ETag, so that a new binary is a
// new page at the next load. The handler is safe for concurrent use.
//
// An embedded description that is no YAML is a broken build, and a panic at the
// first request.
func Handler(notFound http.Handler) http.Handler {
	documents := sync.OnceValue(load) // by the first who asks: a start does not wait for it
	if notFound == nil {
		notFound = http.NotFoundHandler()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, found := documents()[r.URL.Path]
		if !found {
			notFound.ServeHTTP(w, r)
			return
		}
		d.ServeHTTP(w, r)
	})
}

// load makes the documents, by their paths.
func load() map[string]*httpcontent.Document {
	converted, err := toJSON(description)
	if err != nil {
		panic(fmt.Sprintf("openapi: the embedded description: %v", err))
	}
	documents := map[string]*httpcontent.Document{
		// RFC 9512 gives YAML its type.
		YAMLPath: httpcontent.NewDocument(description, "application/yaml; charset=utf-8", policy),
		JSONPath: httpcontent.NewDocument(converted, "application/json; charset=utf-8", policy),
	}
	for _, d := range documents {
		d.Public = true
	}
	for name, d := range httpcontent.LoadPage(page, "page", policy) {
		at := DocsPath + "/" + name
		if name == "index.html" {
			at = DocsPath
		}
		documents[at] = d
	}
	return documents
}
