package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// discard is a http.ResponseWriter for which nothing is written.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkRequests measures what requests cost beside net/http and its socket:
// the token, the routing, the limits, the JSON, and the room.
func BenchmarkRequests(b *testing.B) {
	f := start(b, nil)
	token := f.token("ada")
	for i := range 100 {
		f.publish("history", token, fmt.Sprintf(`{"text":"message %d, of a usual length"}`, i))
	}
	message := `{"content":{"text":"a message of a usual length"}}`
	batch := `{"messages":[` + strings.Repeat(message+",", 99) + message + `]}`
	for _, c := range []struct{ name, method, path, body, encoding string }{
		{"me", "GET", "/me", "", ""},
		{"publish", "POST", "/rooms/lobby/messages", message, ""},
		{"batch100", "POST", "/rooms/lobby/messages/batch", batch, ""},
		{"history100", "GET", "/rooms/history/messages", "", ""},
		{"history100gzip", "GET", "/rooms/history/messages", "", "gzip"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := http.NewRequestWithContext(b.Context(), c.method, "http://127.0.0.1/api/v1"+c.path, strings.NewReader(c.body))
				if err != nil {
					b.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+token)
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Accept-Encoding", c.encoding)
				w := &discard{header: make(http.Header)}
				f.handler.ServeHTTP(w, r)
				if w.status/100 != 2 {
					b.Fatalf("%s: %d", c.name, w.status)
				}
			}
		})
	}
}
