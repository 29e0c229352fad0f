package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/thronghq/throng/internal/throngtest"
)

// TestAStormIsAdmittedByTheBudget has three hundred clients come at once where
// there is budget for ten, and a queue for two hundred. Those in the queue get
// in; the others are told when to come again, not all at the same time, and get
// in when they do.
func TestAStormIsAdmittedByTheBudget(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--net-admission=40/s burst 10"}})
	const clients, least = 300, 210
	var all sync.WaitGroup
	var mu sync.Mutex
	after := make(map[int]int) // refused clients by Retry-After
	refused := 0
	dial := func(i int) *http.Response {
		conn, response, err := websocket.Dial(t.Context(), s.WSURL(fmt.Sprintf("/ws?user=u%d", i)), nil)
		if err == nil {
			t.Cleanup(func() { _ = conn.CloseNow() })
			return nil
		}
		if response == nil || response.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("client %d: %v, %v", i, response, err)
		}
		return response
	}
	for i := range clients {
		all.Go(func() {
			response := dial(i)
			if response == nil {
				return
			}
			seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
			if err != nil || seconds < 4 {
				t.Errorf("Retry-After: %q", response.Header.Get("Retry-After"))
			}
			mu.Lock()
			defer mu.Unlock()
			after[seconds]++
			refused++
		})
	}
	all.Wait()
	// Those that come a moment later find that the budget has begun to refill.
	if refused == 0 || refused > clients-least || len(after) < 2 {
		t.Fatalf("%d of %d clients were refused, and told to come again after %v s", refused, clients, after)
	}
	for i := range refused {
		all.Go(func() {
			if dial(clients+i) != nil {
				t.Errorf("a client was refused again, behind %d others", refused)
			}
		})
	}
	all.Wait()
	metrics := get(t, s.URL("/metrics"))
	if want := fmt.Sprintf("throng_connections %d\n", clients); !strings.Contains(metrics, want) {
		t.Errorf("the metrics have no %q", want)
	}
}
