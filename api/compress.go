package api

import (
	"bytes"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
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
	if len(body) < compressFrom || !acceptsGzip(c.r.Header.Values("Accept-Encoding")) {
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

// acceptsGzip reads an Accept-Encoding header (RFC 9110, section 12.5.3).
func acceptsGzip(values []string) bool {
	any := false
	for coding := range strings.SplitSeq(strings.Join(values, ","), ",") {
		name, params, _ := strings.Cut(coding, ";")
		weight := 1.0
		if q, found := strings.CutPrefix(strings.ToLower(strings.TrimSpace(params)), "q="); found {
			weight, _ = strconv.ParseFloat(q, 64) // what is no number is 0: not wanted
		}
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "gzip", "x-gzip":
			return weight > 0
		case "*":
			any = weight > 0
		}
	}
	return any
}
