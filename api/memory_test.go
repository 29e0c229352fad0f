package api_test

import (
	"errors"
	"io"
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
	b.Kind("others").Add(bytes*8/10 - 112<<10) // two of the messages below fit, and a request that brings one
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

// upload is a request whose body comes as the test writes it.
type upload struct {
	body   *io.PipeWriter
	status chan int // once
}

func (f *fixture) upload(token string) *upload {
	read, write := io.Pipe()
	u := &upload{body: write, status: make(chan int, 1)}
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, f.url+"/rooms/lobby/messages", read)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	go func() {
		response, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			u.status <- 0
			return
		}
		_ = response.Body.Close()
		u.status <- response.StatusCode
	}()
	return u
}

// write sends more of the body, unless the request has been answered.
func (u *upload) write(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(u.body, text); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Fatal(err)
	}
}

// end sends the last of the body, and returns what is answered.
func (u *upload) end(t *testing.T, text string) int {
	t.Helper()
	u.write(t, text)
	_ = u.body.Close() // a pipe's end does not fail
	return <-u.status
}

// TestBodiesShareMemory: what requests under way have sent counts in the budget.
// Past the part of it that bodies have, and past all of it, who sends more is
// refused; the others are carried out.
func TestBodiesShareMemory(t *testing.T) {
	const most, piece = 256 << 10, 40 << 10
	b := governed(t, 1<<20)
	f := start(t, func(o *api.Options) { o.Memory, o.BodiesBytes = b, most })
	bodies, ada := b.Kind("bodies"), f.token("ada")
	half := `{"content":"` + strings.Repeat("x", piece+(8<<10)) // a client may keep the last of it
	// send begins a request and waits until the first half of it is held, or
	// until it is answered.
	send := func(held int64) (u *upload, status int) {
		t.Helper()
		u = f.upload(ada)
		u.write(t, half)
		for end := time.Now().Add(30 * time.Second); bodies.Held() < held; {
			select {
			case status := <-u.status:
				return u, status
			default:
			}
			if time.Now().After(end) {
				t.Fatalf("%d bytes are held, want %d", bodies.Held(), held)
			}
		}
		return u, 0
	}
	var all []*upload
	for n := int64(1); ; n++ {
		u, status := send(n * piece)
		if status != 0 {
			if status != http.StatusServiceUnavailable {
				t.Errorf("a body that there is no memory for is answered with %d", status)
			}
			break
		}
		if n*piece > most {
			t.Fatalf("%d bodies of %d bytes are held, of %d bytes in all", n, piece, most)
		}
		all = append(all, u)
	}
	done := 0
	for _, u := range all {
		switch status := u.end(t, `"}`); status {
		case http.StatusCreated:
			done++
		case http.StatusServiceUnavailable: // the last of it found the others there
		default:
			t.Errorf("a body is answered with %d", status)
		}
	}
	if done < 2 {
		t.Errorf("%d of %d requests were carried out", done, len(all))
	}
	for end := time.Now().Add(30 * time.Second); bodies.Held() != 0; {
		if time.Now().After(end) {
			t.Fatalf("%d bytes are left in the books", bodies.Held())
		}
	}
	u, _ := send(piece)
	b.Kind("others").Add(2 << 20)
	if status := u.end(t, half+`"}`); status != http.StatusServiceUnavailable {
		t.Errorf("a body past the budget is answered with %d", status)
	}
}
