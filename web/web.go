// Package web holds the demo: one chat page that speaks throng.v1.json with
// the server that serves it. The page is embedded in the binary. It has no
// build step and asks no other host for anything.
//
// The package never sees a message or a connection: what it serves are the
// same bytes for everybody, for as long as the process lives.
package web

import (
	"embed"
	"net/http"
	"strings"

	"github.com/thronghq/throng/internal/httpcontent"
)

//go:embed page
var page embed.FS

// index is the file that stands at "/".
const index = "index.html"

// policy lets the page load its own files and open a WebSocket to its own
// origin, and nothing else. No inline script or style is admitted, and with
// trusted types no string becomes markup.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// Handler returns the handler of the demo page: "/" is the page, its files
// stand beside it, and any other path is a 404 in plain text. It answers GET
// and HEAD. Browsers may keep the files, but revalidate them by their ETag, so
// that a new binary is a new page at the next load. The handler is safe for
// concurrent use.
func Handler() http.Handler {
	documents := httpcontent.LoadPage(page, "page", policy)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/")
		if name == "" {
			name = index
		} else if name == index {
			name = "" // it has one address
		}
		d, found := documents[name]
		switch {
		case !found:
			http.Error(w, "404 not found: there is no page at this path", http.StatusNotFound)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "405 method not allowed: the page takes GET and HEAD", http.StatusMethodNotAllowed)
		default:
			d.ServeHTTP(w, r)
		}
	})
}
