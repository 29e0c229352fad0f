// Package web holds the demo: one chat page that speaks throng.v1.json with
// the server that serves it. The page is embedded in the binary. It has no
// build step and asks no other host for anything.
//
// The package never sees a message or a connection: what it serves are the
// same bytes for everybody, for as long as the process lives.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"net/http"
	"path"
	"time"
)

//go:embed page
var page embed.FS

// policy lets the page load its own files and open a WebSocket to its own
// origin, and nothing else. No inline script or style is admitted, and with
// trusted types no string becomes markup.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// contentTypes are spelled out because the system's MIME table, which
// net/http would ask, differs from machine to machine.
var contentTypes = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// asset is one file of the page, ready to be served. It does not change.
type asset struct {
	content     []byte
	contentType string
	etag        string
}

// Handler returns the handler of the demo page: "/" is the page, its files
// stand beside it, and any other path is a 404 in plain text. It answers GET
// and HEAD. Browsers may keep the files, but revalidate them by their ETag, so
// that a new binary is a new page at the next load. The handler is safe for
// concurrent use.
func Handler() http.Handler {
	assets := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		a, found := assets[r.URL.Path]
		switch {
		case !found:
			http.Error(w, "404 not found: there is no page at this path", http.StatusNotFound)
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "405 method not allowed: the page takes GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		h.Set("Content-Type", a.contentType)
		h.Set("ETag", a.etag)
		h.Set("Cache-Control", "no-cache")
		h.Set("Content-Security-Policy", policy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.content))
	})
}

// load reads the embedded files into a map by URL path. A file of a kind that
// has no content type is a broken build.
func load() map[string]asset {
	const dir = "page"
	entries, err := page.ReadDir(dir)
	if err != nil {
		panic(fmt.Sprintf("web: the embedded page is not there: %v", err))
	}
	assets := make(map[string]asset, len(entries))
	for _, entry := range entries {
		name := entry.Name()
		contentType, known := contentTypes[path.Ext(name)]
		if !known {
			panic(fmt.Sprintf("web: no content type for the embedded file %s", name))
		}
		content, err := page.ReadFile(path.Join(dir, name))
		if err != nil {
			panic(fmt.Sprintf("web: the embedded file %s is not readable: %v", name, err))
		}
		sum := sha256.Sum256(content)
		urlPath := "/" + name
		if name == "index.html" {
			urlPath = "/"
		}
		assets[urlPath] = asset{
			content:     content,
			contentType: contentType,
			etag:        `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`,
		}
	}
	return assets
}
