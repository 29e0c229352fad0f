package api

import (
	"bytes"
	"sync"

	"github.com/klauspost/compress/gzip"

	"github.com/thronghq/throng/internal/httpcontent"
)

// compressFrom is how large an answer must be to be worth compressing, in bytes.
const compressFrom = 2 << 10

// compressors lends gzip's tables, which are large.
var compressors = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic("api: gzip knows its own levels: " + err.Error())
	}
	return w
}}

// compress returns the body as the client wants it, and says so in the headers.
func (c *call) compress(body []byte) []byte {
	h := c.w.Header()
	h.Add("Vary", "Accept-Encoding")
	if len(body) < compressFrom || !httpcontent.AcceptsGzip(c.r.Header.Values("Accept-Encoding")) {
		return body
	}
	var b bytes.Buffer
	w := compressors.Get().(*gzip.Writer)
	defer compressors.Put(w)
	w.Reset(&b)
	_, _ = w.Write(body) // a bytes.Buffer takes everything
	_ = w.Close()
	h.Set("Content-Encoding", "gzip")
	return b.Bytes()
}
