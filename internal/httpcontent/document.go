package httpcontent

import (
	"bytes"
	"embed"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"

	"github.com/klauspost/compress/gzip"
)

// contentTypes are spelled out because the system's MIME table, which net/http
// would ask, differs from machine to machine.
var contentTypes = map[string]string{
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// Document is content in both forms, as it is and compressed. It does not
// change and is safe for concurrent use.
type Document struct {
	// Policy is its Content-Security-Policy.
	Policy string

	// Public lets pages of other origins read it.
	Public bool

	contentType string
	plain       form
	compressed  form
}

// form is a document's bytes with their tag.
type form struct {
	content []byte
	tag     string
}

// NewDocument returns a document, which keeps the content.
func NewDocument(content []byte, contentType, policy string) *Document {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		panic("httpcontent: gzip knows its own levels: " + err.Error())
	}
	_, _ = w.Write(content) // a bytes.Buffer takes everything
	_ = w.Close()
	return &Document{
		Policy: policy, contentType: contentType,
		plain:      form{content, StrongTag(content)},
		compressed: form{slices.Clip(b.Bytes()), StrongTag(b.Bytes())},
	}
}

// LoadPage returns the files of an embedded folder by their names. A file of a
// kind that has no content type, or one that is not there, is a broken build:
// LoadPage panics.
func LoadPage(files embed.FS, folder, policy string) map[string]*Document {
	entries, err := files.ReadDir(folder)
	if err != nil {
		panic(fmt.Sprintf("httpcontent: an embedded folder is not there: %v", err))
	}
	documents := make(map[string]*Document, len(entries))
	for _, entry := range entries {
		name := entry.Name()
		contentType, known := contentTypes[path.Ext(name)]
		if !known {
			panic("httpcontent: there is no content type for the embedded file " + name)
		}
		content, err := files.ReadFile(path.Join(folder, name))
		if err != nil {
			panic(fmt.Sprintf("httpcontent: an embedded file is not readable: %v", err))
		}
		documents[name] = NewDocument(content, contentType, policy)
	}
	return documents
}

// ServeHTTP implements http.Handler for GET and HEAD, which the caller sees to.
// Whoever has the document revalidates it by its tag, so that a new binary is a
// new document at the next load.
func (d *Document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Add("Vary", "Accept-Encoding")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", d.Policy)
	if d.Public {
		h.Set("Access-Control-Allow-Origin", "*")
	} else {
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
	}
	f := &d.plain
	if AcceptsGzip(r.Header.Values("Accept-Encoding")) {
		f = &d.compressed
	}
	h.Set("ETag", f.tag)
	if ListsTag(r.Header.Values("If-None-Match"), f.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if f == &d.compressed {
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("Content-Type", d.contentType)
	h.Set("Content-Length", strconv.Itoa(len(f.content)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(f.content) // the client has gone: nobody is left to tell
	}
}
