package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/internal/throngtest"
)

const retentionConfig = `
[limits]
message = "4KiB"
outbox  = "8KiB"
[net]
send_buffer = "4KiB"
[namespace.few]
history_size = 50
[namespace.brief]
history_ttl = "4s"
`

// TestWhatIsGoneOvertakesASlowMember has members stop reading until what they
// lack is gone: because the room keeps fewer messages, or for less long, because
// somebody trims it, or because it is deleted. They are told exactly what is
// missing, once, get the rest, and what comes then; of a deleted room they are put
// out.
func TestWhatIsGoneOvertakesASlowMember(t *testing.T) {
	config := filepath.Join(t.TempDir(), "throng.toml")
	if err := os.WriteFile(config, []byte(retentionConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--config", config}})
	const sent, later = 400, 5
	t.Run("in parallel", func(t *testing.T) { // so that the server waits for all
		t.Run("the number of messages", func(t *testing.T) {
			t.Parallel()
			o := newOvertaken(t, s, "few:room")
			o.publish(sent)
			o.publish(later)
			o.wantGap(2, sent+later-50+1, sent+later) // as the outbox had room, early or late
		})
		t.Run("their age", func(t *testing.T) {
			t.Parallel()
			o := newOvertaken(t, s, "brief:room")
			o.publish(sent)
			for poll := time.NewTicker(50 * time.Millisecond); o.oldest() != 0; <-poll.C {
			}
			o.publish(later)
			o.wantGap(2, sent+later+1, sent+later) // they go in several steps, the later ones, too, on a slow machine
		})
		t.Run("a trim", func(t *testing.T) {
			t.Parallel()
			o := newOvertaken(t, s, "trimmed")
			o.publish(sent)
			o.call("POST", "/trim", `{"before":300}`, http.StatusOK)
			o.publish(later)
			o.wantGap(300, 300, sent+later)
		})
		t.Run("a trim of everything", func(t *testing.T) {
			t.Parallel()
			o := newOvertaken(t, s, "emptied")
			o.publish(sent)
			o.call("POST", "/trim", fmt.Sprintf(`{"before":%d}`, sent+1), http.StatusOK)
			o.wantGap(sent+1, sent+1, sent)
		})
		t.Run("the room's end", func(t *testing.T) {
			t.Parallel()
			o := newOvertaken(t, s, "deleted")
			o.publish(sent)
			o.call("DELETE", "", "", http.StatusNoContent)
			o.wantEnd()
		})
	})
	s.Stop()
}

// overtaken is a room whose author is its host, with a member that reads only when
// everything has happened.
type overtaken struct {
	t      *testing.T
	server *throngtest.Server
	room   string
	author *throngtest.Client
	slow   *rawLine
	epoch  string
	place  uint64 // of the slow member
	sent   uint64
}

func newOvertaken(t *testing.T, s *throngtest.Server, room string) *overtaken {
	t.Helper()
	name := strings.ReplaceAll(room, ":", "-")
	o := &overtaken{t: t, server: s, room: room, author: throngtest.Dial(t, s.WSURL("/ws?user=author-"+name), throngtest.DialOptions{})}
	o.author.Send(map[string]any{"type": "join", "room": room})
	o.author.Await("joined")
	var err error
	if o.slow, err = dialRaw(s, "slow-"+name, rawOptions{Receive: 4 << 10}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.slow.close)
	o.join()
	return o
}

func (o *overtaken) join() heard {
	o.t.Helper()
	if err := o.slow.send(map[string]any{"type": "join", "room": o.room}); err != nil {
		o.t.Fatal(err)
	}
	joined := o.await("joined")
	o.epoch = joined.Epoch
	return joined
}

// await passes over others' comings and goings.
func (o *overtaken) await(kind string) heard {
	o.t.Helper()
	for {
		h, err := o.slow.hear()
		if err != nil {
			o.t.Fatalf("at offset %d: %v", o.place, err)
		}
		if h.Type == kind {
			return h
		}
	}
}

func (o *overtaken) publish(n int) {
	o.t.Helper()
	content := strings.Repeat("x", 500)
	for range n {
		o.author.Send(map[string]any{"type": "message", "id": "1", "to": o.room, "content": content})
	}
	for range n {
		o.sent++
		if ack := o.author.Await("ack"); ack.Int("offset") != int64(o.sent) {
			o.t.Fatalf("%v, want offset %d", ack, o.sent)
		}
	}
}

// oldest is the lowest offset that the room's history has, 0 for none.
func (o *overtaken) oldest() int64 {
	o.t.Helper()
	o.author.Send(map[string]any{"type": "history", "id": "h", "room": o.room, "limit": 1})
	messages, _ := o.author.Await("history")["messages"].([]any)
	if len(messages) == 0 {
		return 0
	}
	message, _ := messages[0].(map[string]any)
	return throngtest.Frame(message).Int("offset")
}

func (o *overtaken) call(method, path, body string, want int) {
	o.t.Helper()
	url := o.server.URL("/api/v1/rooms/" + strings.ReplaceAll(o.room, ":", "%3A") + path + "?user=author-" + o.room)
	request, err := http.NewRequestWithContext(o.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		o.t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		o.t.Error(err)
	}
	if response.StatusCode != want {
		o.t.Fatalf("%s %s: %s", method, path, response.Status)
	}
}

// wantGap has the slow member read: messages in order, a lag, more of them, a gap,
// the rest up to head, and a live one. Where its outbox had room once more while
// messages went, there is a gap for each time. The last ends between first and next,
// the oldest message that there is now.
func (o *overtaken) wantGap(first, next, head uint64) {
	o.t.Helper()
	lagged, ends := false, uint64(0)
	for o.place < head {
		h, err := o.slow.hear()
		switch {
		case err != nil:
			o.t.Fatalf("at offset %d: %v", o.place, err)
		case h.Type == "lag":
			if h.Offset != o.place {
				o.t.Errorf("a lag behind %d at offset %d", h.Offset, o.place)
			}
			lagged = true
		case h.Type == "gap":
			if ends = h.next(); !lagged || h.Epoch != o.epoch || h.After != o.place || ends <= o.place+1 || ends > next {
				o.t.Fatalf("gap %+v at offset %d, lagged %v; want one that ends before %d", h, o.place, lagged, next)
			}
			o.place = ends - 1
		case h.Type == "message":
			if h.Offset != o.place+1 {
				o.t.Fatalf("offset %d after %d", h.Offset, o.place)
			}
			o.place++
		}
	}
	if ends < first {
		o.t.Errorf("the last gap ends before %d, want %d to %d", ends, first, next)
	}
	o.publish(1)
	if live := o.await("message"); live.Offset != head+1 {
		o.t.Errorf("live came offset %d, want %d", live.Offset, head+1)
	}
}

// wantEnd has the slow member read up to the room's end: messages in order, and
// none after it. The room's next life begins anew.
func (o *overtaken) wantEnd() {
	o.t.Helper()
	for ended := false; !ended; {
		h, err := o.slow.hear()
		switch {
		case err != nil:
			o.t.Fatalf("at offset %d: %v", o.place, err)
		case h.Type == "message":
			if h.Offset != o.place+1 {
				o.t.Fatalf("offset %d after %d", h.Offset, o.place)
			}
			o.place++
		case h.Type == "gap":
			o.t.Errorf("gap %+v at offset %d", h, o.place)
		case h.Type == "room_closed":
			ended = true
		}
	}
	if o.place >= o.sent {
		o.t.Errorf("the member had everything, %d messages, before the room ended", o.place)
	}
	if err := o.slow.send(map[string]any{"type": "PING", "timestamp": 1}); err != nil {
		o.t.Fatal(err)
	}
	if h, err := o.slow.hear(); err != nil || h.Type != "PONG" {
		o.t.Errorf("after the end came %+v, %v", h, err)
	}
	before := o.epoch
	if joined := o.join(); joined.Offset != 0 || joined.Epoch == before {
		o.t.Errorf("the next life: %+v, after epoch %s", joined, before)
	}
}
