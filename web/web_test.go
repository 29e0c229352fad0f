package web_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/thronghq/throng/web"
)

func get(t *testing.T, method, target string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Header = header
	w := httptest.NewRecorder()
	web.Handler().ServeHTTP(w, r)
	return w
}

func TestPageAndItsFiles(t *testing.T) {
	for target, contentType := range map[string]string{
		"/":                     "text/html; charset=utf-8",
		"/?name=ana&room=lobby": "text/html; charset=utf-8",
		"/app.js":               "text/javascript; charset=utf-8",
		"/connection.js":        "text/javascript; charset=utf-8",
		"/room.js":              "text/javascript; charset=utf-8",
		"/style.css":            "text/css; charset=utf-8",
		"/favicon.svg":          "image/svg+xml",
	} {
		w := get(t, http.MethodGet, target, nil)
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("GET %s: status %d with %d bytes, want 200 with content", target, w.Code, w.Body.Len())
		}
		for name, want := range map[string]string{
			"Content-Type":           contentType,
			"Cache-Control":          "no-cache",
			"X-Content-Type-Options": "nosniff",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("GET %s: %s is %q, want %q", target, name, got, want)
			}
		}
		etag := w.Header().Get("ETag")
		again := get(t, http.MethodGet, target, http.Header{"If-None-Match": {etag}})
		if again.Code != http.StatusNotModified || again.Body.Len() != 0 {
			t.Errorf("GET %s with its ETag %s: status %d with %d bytes, want 304 without any", target, etag, again.Code, again.Body.Len())
		}
		head := get(t, http.MethodHead, target, nil)
		if head.Code != http.StatusOK || head.Body.Len() != 0 || head.Header().Get("ETag") != etag {
			t.Errorf("HEAD %s: status %d, %d bytes, ETag %s; want 200, none, %s", target, head.Code, head.Body.Len(), head.Header().Get("ETag"), etag)
		}
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	for _, target := range []string{"/index.html", "/page/", "/app.js/", "/../web.go", "/ws", "//", "/nothing"} {
		w := get(t, http.MethodGet, target, nil)
		if w.Code != http.StatusNotFound {
			t.Errorf("GET %s: status %d, want 404", target, w.Code)
		}
		if got := w.Header().Get("Content-Type"); got != "text/plain; charset=utf-8" {
			t.Errorf("GET %s: Content-Type %q, want plain text", target, got)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		w := get(t, method, "/", nil)
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s /: status %d, Allow %q; want 405, \"GET, HEAD\"", method, w.Code, w.Header().Get("Allow"))
		}
	}
}

// The policy is worth what it forbids: inline code and other hosts.
func TestPolicyForbidsInlineAndForeign(t *testing.T) {
	policy := get(t, http.MethodGet, "/", nil).Header().Get("Content-Security-Policy")
	for _, bad := range []string{"unsafe", "http:", "https:", "data:", "*"} {
		if strings.Contains(policy, bad) {
			t.Errorf("the policy admits %s: %s", bad, policy)
		}
	}
	if n := strings.Count(policy, "blob:"); n != 1 {
		t.Errorf("the policy admits blob: %d times, want once, for pictures: %s", n, policy)
	}
	for _, want := range []string{"default-src 'none'", "img-src 'self' blob:;", "script-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s: %s", want, policy)
		}
	}
}

// Every file that the page names is served, and none is another host's.
func TestReferencesResolve(t *testing.T) {
	reference := regexp.MustCompile(`(?:src|href)="([^"]+)"|from "([^"]+)"`)
	seen := map[string]bool{"/": true}
	for queue := []string{"/"}; len(queue) > 0; queue = queue[1:] {
		w := get(t, http.MethodGet, queue[0], nil)
		if w.Code != http.StatusOK {
			t.Errorf("%s is named by the page, and its status is %d", queue[0], w.Code)
		}
		for _, match := range reference.FindAllStringSubmatch(w.Body.String(), -1) {
			target := match[1] + match[2]
			if !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") {
				t.Errorf("%s names %q, which is not a file of the page", queue[0], target)
				continue
			}
			if !seen[target] {
				seen[target] = true
				queue = append(queue, target)
			}
		}
	}
	if len(seen) < 20 {
		t.Errorf("only %d files were found by following references: %v", len(seen), seen)
	}
}
