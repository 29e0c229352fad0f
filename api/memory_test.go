package api_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/thronghq/throng/api"
	"github.com/thronghq/throng/internal/budget"
	"github.com/thronghq/throng/proto"
)

// governed runs a budget until the test's end.
func governed(t *testing.T, bytes int64) *budget.Budget {
	b, stop := budget.New(bytes, nil), make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { b.Run(stop) })
	t.Cleanup(func() {
		close(stop)
		running.Wait()
	})
	return b
}

// metric returns a metric's value as text, "" where there is none.
func (f *fixture) metric(name string) string {
	var text strings.Builder
	f.metrics.WritePrometheus(&text)
	for line := range strings.Lines(text.String()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// TestAStreamThatDoesNotReadIsShed has two readers of a room, of which one reads
// nothing. It is cut off in the middle of a write once memory is short; the other
// one gets everything.
func TestAStreamThatDoesNotReadIsShed(t *testing.T) {
	const bytes = 1 << 20
	b := governed(t, bytes)
	f := start(t, func(o *api.Options) { o.Memory = b })
	streams := b.Kind("streams")
	b.Kind("others").Add(bytes*8/10 - 48<<10) // two of the messages below fit
	ada := f.token("ada")
	deaf := f.events("lobby", ada)
	deaf.next("joined")
	good := f.events("lobby", ada)
	good.next("joined")
	content := `"` + strings.Repeat("x", 20<<10) + `"`
	message := func() event { // the next one; it may lag for a moment before it
		t.Helper()
		for {
			e, ok := good.read()
			if !ok {
				t.Fatal("the other reader's stream ended")
			}
			if e.name == "message" {
				return e
			}
		}
	}
	open := func() string { return f.metric("throng_http_streams") }
	for end := time.Now().Add(30 * time.Second); open() != "1"; {
		if time.Now().After(end) {
			t.Fatalf("nobody was ended; streams hold %d bytes", streams.Held())
		}
		f.publish("lobby", ada, content)
		message()
	}
	f.publish("lobby", ada, `"last"`)
	if e := message(); !strings.Contains(e.data, `"last"`) {
		t.Errorf("the other reader got %.80q", e.data)
	}
	for end := time.Now().Add(30 * time.Second); streams.Held() != 0; {
		if time.Now().After(end) {
			t.Fatalf("%d bytes are left in the books", streams.Held())
		}
	}
}

// TestFullMemoryRefusesRequests, those of administrators aside.
func TestFullMemoryRefusesRequests(t *testing.T) {
	b := governed(t, 1000)
	f := start(t, func(o *api.Options) { o.Memory = b })
	ada, admin := f.token("ada"), f.token("root", asAdmin)
	b.Kind("others").Add(1001)
	for _, line := range []string{"GET /me", "POST /rooms/lobby/messages", "GET /rooms/lobby/events"} {
		a := f.request(line, ada).do().refused(proto.ErrOverloaded)
		if after := get[float64](a, "retryAfter"); after < 5000 || after > 10_000 {
			t.Errorf("%s: come again after %v ms", line, after)
		}
	}
	f.request("GET /server/stats", admin).do().is(http.StatusOK)
	b.Kind("others").Add(-1)
	f.request("GET /me", ada).do().is(http.StatusOK)
}
