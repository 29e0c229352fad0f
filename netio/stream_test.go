package netio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/proto"
)

// stream requests a stream and returns once its first event is there.
func (s *testServer) stream(t *testing.T, path string) *peer {
	t.Helper()
	p := s.connect(t)
	p.send("GET " + path + " HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
	p.event("0")
	return p
}

// event reads until an event with that data has come.
func (p *peer) event(data string) {
	p.t.Helper()
	for !strings.Contains(string(p.buf), "data: "+data+"\n\n") {
		if err := p.more(); err != nil {
			p.t.Fatalf("no event %s: %v after %q", data, err, p.buf)
		}
	}
}

// eventHandler answers with events until its context ends, and sends the cause:
// one at once, and one more for each value of more.
func eventHandler(more <-chan int, causes chan<- error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		for i := 0; ; {
			_, err := fmt.Fprintf(w, "data: %d\n\n", i)
			if err = errors.Join(err, c.Flush()); err != nil {
				causes <- err
				return
			}
			select {
			case i = <-more:
			case <-r.Context().Done():
				causes <- context.Cause(r.Context())
				return
			}
		}
	})
}

// TestStream: events arrive while the answer goes on, for longer than any time
// that requests may take, and the client's end ends the request.
func TestStream(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		more, causes := make(chan int), make(chan error, 1)
		hasty := func(s *Server) { s.web.server.ReadHeaderTimeout = 5 * time.Millisecond }
		s := start(t, Options{HTTP: eventHandler(more, causes), newPoller: open}, hasty)
		p := s.stream(t, "/events")
		began := time.Now()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 1; time.Since(began) < 50*time.Millisecond; i++ {
			<-tick.C
			select {
			case more <- i:
			case err := <-causes:
				t.Fatalf("the stream ended after %d events: %v", i, err)
			}
			p.event(fmt.Sprint(i))
		}
		_ = p.Close()
		select {
		case err := <-causes:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the request ended with %v", err)
			}
		case <-time.After(patience):
			t.Fatal("the client's end did not end the request")
		}
	})
}

// TestStreamWriteDeadline: a handler can bound its own writes, so that a client
// that does not read does not keep it.
func TestStreamWriteDeadline(t *testing.T) {
	ended := make(chan error, 1)
	s := start(t, Options{HTTP: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, line := http.NewResponseController(w), make([]byte, 64<<10)
		for {
			if err := c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
				ended <- err
				return
			}
			if _, err := w.Write(line); err != nil {
				ended <- err
				return
			}
		}
	})})
	p := s.connect(t)
	p.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case err := <-ended:
		if !strings.Contains(err.Error(), "timeout") {
			t.Errorf("the write ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the write never ended")
	}
}

// TestStreamShutdown: a drain ends the streams, and says so; it waits for a
// request that is none and leaves its context alone.
func TestStreamShutdown(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		const count = 20
		causes, entered, release := make(chan error, count), make(chan *http.Request, 1), make(chan struct{})
		mux := http.NewServeMux()
		mux.Handle("/rooms/a/events", eventHandler(nil, causes))
		mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
			entered <- r
			<-release
			fmt.Fprintln(w, "done")
		})
		s := start(t, Options{HTTP: mux, newPoller: open, Streams: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/events") }})
		var streams []*peer
		for range count {
			streams = append(streams, s.stream(t, "/rooms/a/events"))
		}
		slow := s.connect(t)
		slow.send("GET /slow HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
		request := <-entered
		stopped := make(chan error, 1)
		go func() { stopped <- s.Shutdown(context.WithoutCancel(t.Context())) }()
		for range count {
			select {
			case err := <-causes:
				if !errors.Is(err, proto.ErrShuttingDown) {
					t.Errorf("a stream ended with %v", err)
				}
			case <-time.After(patience):
				t.Fatal("a stream did not end")
			}
		}
		for _, p := range streams {
			if got := p.rest(); !strings.HasSuffix(got, "0\r\n\r\n") {
				t.Errorf("a stream's answer ends with %q", got)
			}
			_ = p.Close()
		}
		if err := request.Context().Err(); err != nil {
			t.Errorf("the context of a plain request ended: %v", err)
		}
		close(release)
		if got := slow.rest(); !strings.HasSuffix(got, "done\n") {
			t.Errorf("the plain request got %q", got)
		}
		_ = slow.Close()
		if err := <-stopped; err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
}

// TestStreamLate: a stream that begins in a drain ends at once.
func TestStreamLate(t *testing.T) {
	var s streams
	first, done := s.enter(t.Context())
	if open := s.close(); len(open) != 1 || first.Err() != nil {
		t.Errorf("%d streams are open, the first's context says %v", len(open), first.Err())
	}
	done()
	late, done := s.enter(t.Context())
	defer done()
	if !errors.Is(context.Cause(late), proto.ErrShuttingDown) {
		t.Errorf("the late stream's context says %v", context.Cause(late))
	}
	if open := s.close(); len(open) != 1 {
		t.Errorf("%d streams are open, want the late one", len(open))
	}
}

// TestAcceptsEvents: which requests are streams where nobody says so.
func TestAcceptsEvents(t *testing.T) {
	for accept, want := range map[string]bool{"": false, "*/*": false, "text/event-stream": true, "application/json, text/event-stream;q=0.5": true} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/", io.Reader(nil))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		if got := acceptsEvents(r); got != want {
			t.Errorf("%q: %v, want %v", accept, got, want)
		}
	}
}
