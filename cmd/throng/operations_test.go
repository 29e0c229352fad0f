package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/internal/throngtest"
)

// TestMetricsAreDocumented holds the table of docs/operations.md to what a
// server serves that has done a little of everything.
func TestMetricsAreDocumented(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{Args: withEverything(t)})
	ada := throngtest.Dial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{})
	ada.Expect("session")
	ada.Send(map[string]any{"type": "join", "room": "lobby"})
	ada.Expect("joined")
	ada.Send(map[string]any{"type": "message", "to": "lobby", "content": "hello"})
	ada.Expect("ack")
	ada.Close()
	get(t, s.URL("/api/v1/me?user=ada"))
	accountsServer{s, t}.post("/register", "ada", "ada's password")

	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "\n## Metrics\n")
	if !ok {
		t.Fatal("the page has no section of metrics")
	}
	documented := names(strings.Join(regexp.MustCompile("(?m)^\\| `throng_.*").FindAllString(table, -1), "\n"))

	// The close and the sync behind the message are counted when they are
	// done, which may be a moment later.
	var served []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		served = names(get(t, s.URL("/metrics")))
		if len(missing(documented, served)) == 0 {
			break
		}
	}
	if left := missing(served, documented); len(left) > 0 {
		t.Errorf("served and not documented: %v", left)
	}
	if left := missing(documented, served); len(left) > 0 {
		t.Errorf("documented and not served: %v", left)
	}
}

// withEverything configures what has metrics of its own.
func withEverything(t *testing.T) []string {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "keys.json")
	if _, err := auth.GenerateKey(keys, auth.EdDSA, "", time.Now()); err != nil {
		t.Fatal(err)
	}
	published, err := auth.PublicKeys(keys)
	if err != nil {
		t.Fatal(err)
	}
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(published) // the client's problem
	}))
	t.Cleanup(issuer.Close)
	app := startApplication(t)
	app.decide = func(hookCall) string { return `{"allow":true}` }
	file := filepath.Join(t.TempDir(), "throng.toml")
	text := fmt.Sprintf("[issuer.idp]\nissuer = \"them\"\njwks_url = %q\naudience = [\"us\"]\n", issuer.URL)
	text += fmt.Sprintf("[webhook.crm]\nurl = %q\nsecret = %q\nallow_private = true\n", app.URL, hookSecret)
	text += fmt.Sprintf("[hook]\nurl = %q\nsecret = %q\nevents = [\"join\"]\nallow_private = true\n", app.URL, hookSecret)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--config=" + file, "--auth-keys-file=" + keys}
}

// missing returns the names of the first list that are not in the second.
func missing(names, in []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(in, name) })
}

// names returns the names of the throng metrics that lines begin with, once
// each. A histogram's series count as the histogram.
func names(text string) []string {
	var found []string
	for _, name := range regexp.MustCompile("(?m)^(?:\\| `)?(throng_[a-z0-9_]+)").FindAllStringSubmatch(text, -1) {
		found = append(found, regexp.MustCompile("_(bucket|sum|count)$").ReplaceAllString(name[1], ""))
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func get(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", url, response.Status, err)
	}
	return string(body)
}
