package httpcontent_test

import (
	"compress/gzip"
	"embed"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/thronghq/throng/internal/httpcontent"
)

func TestAcceptsGzip(t *testing.T) {
	for header, want := range map[string]bool{
		"": false, "gzip": true, "GZIP": true, "x-gzip": true, "br, gzip;q=0.1": true, "deflate , gzip ; q=1": true,
		"gzip;q=0": false, "gzip; q=0.000": false, "gzip;q=none": false, "gzips": false, "br": false,
		"*": true, "*;q=0": false, "*, gzip;q=0": false, "gzip, *;q=0": true,
	} {
		if got := httpcontent.AcceptsGzip([]string{header}); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
	if httpcontent.AcceptsGzip(nil) || !httpcontent.AcceptsGzip([]string{"br", "gzip"}) {
		t.Error("several headers do not count as one")
	}
}

func TestListsTag(t *testing.T) {
	const tag = `"abc"`
	for header, want := range map[string]bool{
		tag: true, `W/"abc"`: true, "*": true, `"x", "abc"`: true, ` "x" ,W/"abc" `: true,
		"": false, "abc": false, `"ab"`: false, `"abcd"`: false, `w/"abc"`: false,
	} {
		if got := httpcontent.ListsTag([]string{header}, tag); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add(`"a", W/"b"`, "gzip;q=0.5")
	f.Add("*", "*;q=0, identity")
	f.Add("", ",;,")
	f.Fuzz(func(t *testing.T, tags, codings string) {
		if !httpcontent.ListsTag([]string{tags, `W/"7-x"`}, `"7-x"`) {
			t.Errorf("the tag is not found after %q", tags)
		}
		if httpcontent.AcceptsGzip([]string{"gzip;q=0", codings}) {
			t.Errorf("%q overrides a refusal before it", codings)
		}
	})
}

func TestDocument(t *testing.T) {
	text := strings.Repeat("the same again ", 100)
	d := httpcontent.NewDocument([]byte(text), "text/plain; charset=utf-8", "default-src 'none'")
	get := func(method string, headers ...string) *http.Response {
		r := httptest.NewRequest(method, "/", nil)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		return w.Result()
	}
	body := func(r io.Reader) string {
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}

	plain := get(http.MethodGet)
	if got := body(plain.Body); got != text || plain.Header.Get("Content-Encoding") != "" {
		t.Errorf("%d bytes with %v", len(got), plain.Header)
	}
	packed := get(http.MethodGet, "Accept-Encoding", "gzip")
	unpacked, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := body(unpacked); got != text || packed.Header.Get("Content-Encoding") != "gzip" || packed.ContentLength >= int64(len(text)) {
		t.Errorf("compressed: %d bytes of %d with %v", len(got), packed.ContentLength, packed.Header)
	}
	if plain.Header.Get("ETag") == packed.Header.Get("ETag") {
		t.Error("two forms have one strong tag")
	}
	for _, r := range []*http.Response{plain, packed} {
		if r.Header.Get("Vary") != "Accept-Encoding" || r.Header.Get("Content-Security-Policy") != "default-src 'none'" ||
			r.Header.Get("Cross-Origin-Resource-Policy") != "same-origin" || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("the headers are %v", r.Header)
		}
	}

	again := get(http.MethodGet, "If-None-Match", plain.Header.Get("ETag"))
	if again.StatusCode != http.StatusNotModified || body(again.Body) != "" || again.Header.Get("ETag") == "" {
		t.Errorf("the same again: %s with %v", again.Status, again.Header)
	}
	other := get(http.MethodGet, "If-None-Match", plain.Header.Get("ETag"), "Accept-Encoding", "gzip")
	if other.StatusCode != http.StatusOK {
		t.Errorf("the other form: %s", other.Status)
	}
	head := get(http.MethodHead)
	if body(head.Body) != "" || head.Header.Get("Content-Length") != plain.Header.Get("Content-Length") {
		t.Errorf("HEAD: %v", head.Header)
	}

	d.Public = true
	if r := get(http.MethodGet); r.Header.Get("Access-Control-Allow-Origin") != "*" || r.Header.Get("Cross-Origin-Resource-Policy") != "" {
		t.Errorf("public: %v", r.Header)
	}
}

//go:embed httpcontent_test.go
var broken embed.FS

func TestBrokenBuildsPanic(t *testing.T) {
	for _, folder := range []string{".", "none"} { // a file without a type, and no folder at all
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("folder %q was loaded", folder)
				}
			}()
			httpcontent.LoadPage(broken, folder, "")
		}()
	}
}
