package main

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/internal/throngtest"
)

// TestReadmeTour plays the tour of README.md: what is typed after > is sent,
// and what stands after < must come, where … stands for anything. Between two
// clients the server is killed.
func TestReadmeTour(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	clients := regexp.MustCompile("(?s)```console\n\\$ python3 -m websockets 'ws://127.0.0.1:8080([^']+)'\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(clients) != 2 {
		t.Fatalf("the tour has %d clients, want 2", len(clients))
	}
	// The tour's typist is slower than the sync of an async room; a test is not.
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--config", syncConfig(t)}})
	for i, client := range clients {
		if i > 0 {
			s.Kill()
			s.Restart()
		}
		c := throngtest.Dial(t, s.WSURL(client[1]), throngtest.DialOptions{})
		for line := range strings.Lines(client[2]) {
			line = strings.TrimSuffix(line, "\n")
			if frame, ok := strings.CutPrefix(line, "> "); ok {
				c.SendText(frame)
			} else if frame, ok := strings.CutPrefix(line, "< "); ok {
				expectText(t, c, frame)
			} else {
				t.Fatalf("the line %q is neither typed nor an answer", line)
			}
		}
	}
}

// expectText receives a frame, which must be as the pattern says.
func expectText(t *testing.T, c *throngtest.Client, pattern string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, frame, err := c.Conn.Read(ctx)
	if err != nil {
		t.Fatalf("instead of %s: %v", pattern, err)
	}
	if !matches(pattern, string(frame)) {
		t.Fatalf("got %s, want %s", frame, pattern)
	}
}

// TestReadmeNamesWhatIsThere follows the README's links, and holds its table
// to the folders.
func TestReadmeNamesWhatIsThere(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(string(page), -1)
	if len(links) < 5 {
		t.Fatalf("only %d links found", len(links))
	}
	for _, link := range links {
		if _, err := os.Stat("../../" + link[1]); err != nil {
			t.Error(err)
		}
	}

	entries, err := os.ReadDir("../..")
	if err != nil {
		t.Fatal(err)
	}
	var folders, named []string
	for _, entry := range entries {
		if name := entry.Name(); entry.IsDir() && !strings.HasPrefix(name, ".") && name != "bin" && name != "throng-data" {
			folders = append(folders, name)
		}
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z]+)/").FindAllStringSubmatch(string(page), -1) {
		named = append(named, row[1])
	}
	slices.Sort(named)
	if !slices.Equal(folders, named) {
		t.Errorf("the folders are %v, and the README's table has %v", folders, named)
	}
}

// TestReadmeREST plays the README's tour by HTTP.
func TestReadmeREST(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tour, _ := strings.Cut(string(page), "```console\n$ api=")
	tour, _, _ = strings.Cut("$ api="+tour, "```")
	if n := playShell(t, throngtest.Start(t, throngtest.Options{}), tour); n < 7 {
		t.Errorf("the tour has only %d commands", n)
	}
}
