package main

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/thronghq/throng/internal/throngtest"
)

func TestHandshakesBeyondTheRateAreAnswered429(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--rate-address-handshakes", "1/h burst 2"}})
	for range 2 {
		throngtest.Dial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{}).Expect("session")
	}
	_, response, err := websocket.Dial(t.Context(), s.WSURL("/ws?user=ada"), nil)
	if err == nil || response == nil || response.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("%v, %v", response, err)
	}
	if after, err := strconv.Atoi(response.Header.Get("Retry-After")); err != nil || after < 3500 || after > 3601 {
		t.Errorf("Retry-After: %s", response.Header.Get("Retry-After"))
	}
}

// TestAClientThatGoesOnIsClosed: the answers stop growing, and a close frame
// comes.
func TestAClientThatGoesOnIsClosed(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--rate-user-publishes", "1/h burst 1"}})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, s.WSURL("/ws?user=ada"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(1 << 20)
	go func() {
		for c.Write(ctx, websocket.MessageText, []byte(`{"type":"message","id":"1","to":"r","content":1}`)) == nil {
		}
	}()
	frames := 0
	for {
		if _, _, err = c.Read(ctx); err != nil {
			break
		}
		frames++
	}
	const most = 60 // a session, an ack, refusals and the last word
	if code := websocket.CloseStatus(err); code != 4429 || frames > most {
		t.Errorf("closed with %d after %d frames: %v", code, frames, err)
	}
}
