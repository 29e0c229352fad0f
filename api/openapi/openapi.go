// Package openapi holds the description of the REST API, as OpenAPI 3.1 has it,
// and the page that shows it. Both are embedded in the binary and the same for
// everybody for as long as the process lives; the page asks no other host for
// anything.
//
// The description is written by hand, in openapi.yaml. Tests drive each of its
// operations against a running server and hold the answers to their schemas.
package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// contentTypes are spelled out because the system's MIME table, which net/http
// would ask, differs from machine to machine.
var contentTypes = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// document is one thing to serve, in both forms. It does not change.
type document struct {
	contentType string
	public      bool // other origins may read it
	plain       body
	compressed  body
}

// body is one form of a document.
type body struct {
	content []byte
	etag    string
}

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
		d.serve(w, r)
	})
}

func (d *document) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Add("Vary", "Accept-Encoding")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", policy)
	if d.public {
		h.Set("Access-Control-Allow-Origin", "*")
	} else {
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
	}
	form := d.plain
	if acceptsGzip(r.Header.Values("Accept-Encoding")) {
		form = d.compressed
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", form.etag)
	if matches(r.Header.Values("If-None-Match"), form.etag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", d.contentType)
	h.Set("Content-Length", strconv.Itoa(len(form.content)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(form.content) // the client has gone: nobody is left to tell
	}
}

// acceptsGzip reports whether Accept-Encoding (RFC 9110, section 12.5.3) names
// gzip, and not with the weight 0.
func acceptsGzip(headers []string) bool {
	for _, header := range headers {
		for entry := range strings.SplitSeq(header, ",") {
			coding, parameters, _ := strings.Cut(entry, ";")
			if !strings.EqualFold(strings.TrimSpace(coding), "gzip") {
				continue
			}
			weight, found := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(parameters, " ", "")), "q=")
			q, err := strconv.ParseFloat(weight, 64)
			return !found || err == nil && q > 0
		}
	}
	return false
}

// matches reports whether If-None-Match (RFC 9110, section 13.1.2) names the
// tag. Weak tags match, as the section asks for.
func matches(headers []string, etag string) bool {
	for _, header := range headers {
		for entry := range strings.SplitSeq(header, ",") {
			entry = strings.TrimPrefix(strings.TrimSpace(entry), "W/")
			if entry == etag || entry == "*" {
				return true
			}
		}
	}
	return false
}

// load makes the documents, by their paths.
func load() map[string]*document {
	converted, err := toJSON(description)
	if err != nil {
		panic(fmt.Sprintf("openapi: the embedded description: %v", err))
	}
	documents := map[string]*document{
		// RFC 9512 gives YAML its type.
		YAMLPath: newDocument(description, "application/yaml; charset=utf-8"),
		JSONPath: newDocument(converted, "application/json; charset=utf-8"),
	}
	for _, d := range documents {
		d.public = true
	}
	const dir = "page"
	entries, err := page.ReadDir(dir)
	if err != nil {
		panic(fmt.Sprintf("openapi: the embedded page is not there: %v", err))
	}
	for _, entry := range entries {
		name := entry.Name()
		contentType, known := contentTypes[path.Ext(name)]
		if !known {
			panic(fmt.Sprintf("openapi: no content type for the embedded file %s", name))
		}
		content, err := page.ReadFile(path.Join(dir, name))
		if err != nil {
			panic(fmt.Sprintf("openapi: the embedded file %s is not readable: %v", name, err))
		}
		at := DocsPath + "/" + name
		if name == "index.html" {
			at = DocsPath
		}
		documents[at] = newDocument(content, contentType)
	}
	return documents
}

func newDocument(content []byte, contentType string) *document {
	var compressed bytes.Buffer
	w, err := gzip.NewWriterLevel(&compressed, gzip.BestCompression)
	if err != nil {
		panic(err) // the level is one
	}
	if _, err := w.Write(content); err != nil {
		panic(err) // a buffer takes everything
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	sum := sha256.Sum256(content)
	tag := base64.RawURLEncoding.EncodeToString(sum[:12])
	return &document{
		contentType: contentType,
		plain:       body{content: content, etag: `"` + tag + `"`},
		compressed:  body{content: slices.Clip(compressed.Bytes()), etag: `"` + tag + `-gzip"`},
	}
}
