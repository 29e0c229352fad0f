package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/thronghq/throng/internal/throngtest"
)

// hookSecret signs the hooks of these tests.
const hookSecret = "0123456789abcdef01234567"

// hookCall is a request of a webhook or of the hook that decides.
type hookCall struct {
	ID        string          `json:"id"`
	Event     string          `json:"event"`
	Room      string          `json:"room"`
	UserID    string          `json:"userId"`
	SessionID string          `json:"sessionId"`
	Reason    string          `json:"reason"`
	Content   json.RawMessage `json:"content"`
	Messages  []hookMessage   `json:"messages"`
	Missing   []any           `json:"missing"`
}

type hookMessage struct {
	Offset uint64 `json:"offset"`
	MsgID  string `json:"msgId"`
}

// application is a server that throng's hooks call. It checks their signatures.
type application struct {
	*httptest.Server
	t testing.TB

	mu      sync.Mutex
	changed sync.Cond
	down    bool
	decide  func(hookCall) string // the answer's body
	slow    bool                  // answers take a few milliseconds, each another number
	calls   []hookCall            // that were answered with 200
}

func startApplication(t testing.TB) *application {
	a := &application{t: t}
	a.changed.L = &a.mu
	a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(a.Close)
	return a
}

func (a *application) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // killed in the middle of it
	}
	mac := hmac.New(sha256.New, []byte(hookSecret))
	fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("webhook-signature") != want {
		a.t.Errorf("the signature is %q, want %q", r.Header.Get("webhook-signature"), want)
	}
	var call hookCall
	if err := json.Unmarshal(body, &call); err != nil {
		a.t.Errorf("%s: %v", body, err)
	}
	a.mu.Lock()
	slow := a.slow
	a.mu.Unlock()
	if slow { // how long is what the test varies
		<-time.After(time.Duration(rand.IntN(10)) * time.Millisecond)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	a.calls = append(a.calls, call)
	a.changed.Broadcast()
	if a.decide != nil {
		_, _ = io.WriteString(w, a.decide(call))
	}
}

// setDown lets the application fail, or work again.
func (a *application) setDown(down bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = down
}

// await waits until the condition holds of the calls. The test's own time limit
// ends a wait in vain.
func (a *application) await(ok func([]hookCall) bool) []hookCall {
	a.mu.Lock()
	defer a.mu.Unlock()
	for !ok(a.calls) {
		a.changed.Wait()
	}
	return append([]hookCall(nil), a.calls...)
}

func startHooked(t *testing.T, config string) *throngtest.Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "throng.toml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return throngtest.Start(t, throngtest.Options{Args: []string{"--config", file}})
}

// toldOffsets checks that a room's messages were told of in order, without a hole,
// repeats apart, and returns the last one's offset and their ids.
func toldOffsets(t *testing.T, calls []hookCall, room string) (last uint64, ids map[uint64]string) {
	t.Helper()
	ids = make(map[uint64]string)
	for _, call := range calls {
		if call.Event != "message" || call.Room != room {
			continue
		}
		if len(call.Missing) > 0 {
			t.Errorf("%s lacks %v", call.ID, call.Missing)
		}
		for _, m := range call.Messages {
			if m.Offset > last+1 {
				t.Fatalf("%s: message %d was told of after %d", room, m.Offset, last)
			}
			if id, ok := ids[m.Offset]; ok && id != m.MsgID {
				t.Fatalf("%s: message %d was told of as %s and as %s: one was lost", room, m.Offset, id, m.MsgID)
			}
			ids[m.Offset] = m.MsgID
			last = max(last, m.Offset)
		}
	}
	return last, ids
}

// TestWebhooksSurviveKill9 kills the server again and again while it is told of
// messages, and sometimes while the application is down. All that the log holds in
// the end was told of, in order, and nothing that it does not hold.
func TestWebhooksSurviveKill9(t *testing.T) {
	app := startApplication(t)
	s := startHooked(t, fmt.Sprintf("[webhook.crm]\nurl = %q\nsecret = %q\nallow_private = true\n[namespace.safe]\ndurability = \"sync\"\n", app.URL, hookSecret))
	rooms := []string{"lobby", "safe:room"}
	const lives, each = 6, 40
	for life := range lives {
		app.setDown(life%3 == 1)
		c := throngtest.Dial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{})
		c.Expect("session")
		for i := range each {
			c.Send(map[string]any{"type": "message", "id": fmt.Sprint(i), "to": rooms[i%2], "content": utterance{life, i}})
			c.Expect("ack")
		}
		s.Kill()
		s.Restart()
	}
	app.setDown(false)
	heads := make(map[string]uint64)
	c := throngtest.Dial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{})
	c.Expect("session")
	for _, room := range rooms {
		c.Send(map[string]any{"type": "message", "to": room, "content": utterance{lives, 0}})
		heads[room] = uint64(c.Expect("ack").Int("offset"))
	}
	if heads["safe:room"] != lives*each/2+1 {
		t.Errorf("the log of the sync room ends at %d", heads["safe:room"])
	}
	calls := app.await(func(calls []hookCall) bool {
		for _, room := range rooms {
			last := uint64(0)
			for _, call := range calls {
				if call.Room == room && len(call.Messages) > 0 {
					last = call.Messages[len(call.Messages)-1].Offset
				}
			}
			if last < heads[room] {
				return false
			}
		}
		return true
	})
	for _, room := range rooms {
		last, told := toldOffsets(t, calls, room)
		if last != heads[room] {
			t.Errorf("%s: told of %d messages, the log has %d", room, last, heads[room])
		}
		for _, m := range wholeHistory(t, s, room) {
			if told[m.Offset] != m.MsgID {
				t.Errorf("%s: message %d was told of as %q, and is %q", room, m.Offset, told[m.Offset], m.MsgID)
			}
		}
	}
	c.Close()
	s.Stop()
}

// TestWebhookTellsOfRooms follows one user through the server.
func TestWebhookTellsOfRooms(t *testing.T) {
	app := startApplication(t)
	s := startHooked(t, fmt.Sprintf("[webhook.crm]\nurl = %q\nsecret = %q\nallow_private = true\n", app.URL, hookSecret))
	c := throngtest.Dial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{})
	session := c.Expect("session").Text("sessionId")
	c.Send(map[string]any{"type": "join", "room": "lobby"})
	c.Expect("joined")
	c.Send(map[string]any{"type": "message", "to": "lobby", "content": "hello"})
	c.Expect("ack")
	c.Send(map[string]any{"type": "leave", "room": "lobby"})
	c.Await("left")
	c.Close()
	calls := app.await(func(calls []hookCall) bool { return len(calls) >= 7 })
	var inRoom, ofUser []string
	for _, call := range calls {
		switch {
		case call.Room == "lobby":
			inRoom = append(inRoom, call.Event)
		case call.UserID == "ada" && call.SessionID == session:
			ofUser = append(ofUser, call.Event)
		}
	}
	if got := fmt.Sprint(inRoom); got != "[room_opened join message leave room_emptied]" {
		t.Errorf("in the room came %s", got)
	}
	if got := fmt.Sprint(ofUser); got != "[connect disconnect]" {
		t.Errorf("of the user came %s", got)
	}
	s.Stop()
}

// TestWebhookToPrivateAddress is refused unless the configuration allows it.
func TestWebhookToPrivateAddress(t *testing.T) {
	app := startApplication(t)
	s := startHooked(t, fmt.Sprintf("[webhook.crm]\nurl = %q\nsecret = %q\n", app.URL, hookSecret))
	c := throngtest.Dial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{})
	c.Expect("session")
	failed := `throng_webhook_deliveries_total{endpoint="crm",result="retry"} `
	for deadline := time.Now().Add(30 * time.Second); metric(t, s, failed) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("no delivery failed")
		}
	}
	app.mu.Lock()
	defer app.mu.Unlock()
	if len(app.calls) != 0 {
		t.Errorf("a private address was told of %+v", app.calls)
	}
}

// TestHookAllowsWhileDown holds the hook to its other policy.
func TestHookAllowsWhileDown(t *testing.T) {
	app := startApplication(t)
	app.setDown(true)
	s := startHooked(t, fmt.Sprintf("[hook]\nurl = %q\nsecret = %q\nevents = [\"connect\", \"join\", \"publish\"]\non_failure = \"allow\"\nallow_private = true\n", app.URL, hookSecret))
	ada := throngtest.Dial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{})
	ada.Expect("session")
	ada.Send(map[string]any{"type": "join", "room": "lobby"})
	ada.Expect("joined")
	for i := range 20 { // the circuit opens on the way
		ada.Send(map[string]any{"type": "message", "to": "lobby", "content": i})
		if offset := ada.Await("ack").Int("offset"); offset != int64(i+1) {
			t.Errorf("message %d has the offset %d", i, offset)
		}
	}
	if n := metric(t, s, `throng_hook_questions_total{event="publish",result="circuit_open"} `); n == 0 {
		t.Error("a hook that was down was asked each time")
	}
	s.Stop()
}

// TestHookDecides refuses a user, a room and a message, changes others, whose
// order its answers do not change, and is down in the end.
func TestHookDecides(t *testing.T) {
	app := startApplication(t)
	app.slow = true
	app.decide = func(call hookCall) string {
		switch {
		case call.UserID == "mallory", call.Room == "secret", string(call.Content) == `"bad"`:
			return `{"allow":false,"reason":"the application says no"}`
		case call.Event == "publish":
			return `{"allow":true,"content":{"checked":` + string(call.Content) + `}}`
		}
		return `{"allow":true}`
	}
	s := startHooked(t, fmt.Sprintf("[hook]\nurl = %q\nsecret = %q\nevents = [\"connect\", \"join\", \"publish\"]\nallow_private = true\n", app.URL, hookSecret))
	mallory := throngtest.Dial(t, s.WSURL("/ws?user=mallory"), throngtest.DialOptions{})
	if f := mallory.Receive(); f.Text("code") != "refused" {
		t.Errorf("mallory got %v", f)
	}
	ada := throngtest.Dial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{})
	ada.Expect("session")
	ada.Send(map[string]any{"type": "join", "room": "secret"})
	if f := ada.Expect("error"); f.Text("code") != "refused" || f.Text("reason") != "the application says no" {
		t.Errorf("the room's refusal is %v", f)
	}
	ada.Send(map[string]any{"type": "join", "room": "lobby", "echo": true})
	ada.Expect("joined")
	ada.Send(map[string]any{"type": "message", "id": "1", "to": "lobby", "content": "bad"})
	if f := ada.Await("error"); f.Text("code") != "refused" || f.Text("id") != "1" {
		t.Errorf("the message's refusal is %v", f)
	}
	const many = 20
	for i := range many {
		ada.Send(map[string]any{"type": "message", "to": "lobby", "content": i})
	}
	for i := range many {
		f := ada.Await("message")
		if content, err := json.Marshal(f["content"]); err != nil || string(content) != fmt.Sprintf(`{"checked":%d}`, i) {
			t.Errorf("message %d is %s (%v)", i, content, err)
		}
	}
	app.setDown(true)
	ada.Send(map[string]any{"type": "message", "id": "2", "to": "lobby", "content": "into the void"})
	if f := ada.Await("error"); f.Text("code") != "hook_unavailable" || !f.Bool("retry") {
		t.Errorf("while the hook is down: %v", f)
	}
	s.Stop()
}

// metric returns the value of the line that begins so, 0 where there is none.
func metric(t *testing.T, s *throngtest.Server, line string) (value float64) {
	t.Helper()
	for one := range strings.Lines(get(t, s.URL("/metrics"))) {
		if text, ok := strings.CutPrefix(one, line); ok {
			if _, err := fmt.Sscan(text, &value); err != nil {
				t.Fatal(err)
			}
		}
	}
	return value
}
