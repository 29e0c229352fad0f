package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

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

// TestAFloodFromOneAddressLeavesRoomForOthers: an address that has filled the
// queue of handshakes, and fills it again as fast as it can, does not have clients
// from elsewhere refused, or wait behind it.
func TestAFloodFromOneAddressLeavesRoomForOthers(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--net-admission=20/s burst 1"}})
	const places, flooders, others = 100, 150, 5
	from := func(address string) *websocket.DialOptions {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
		transport := &http.Transport{DialContext: dialer.DialContext}
		t.Cleanup(transport.CloseIdleConnections)
		return &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}}
	}
	ctx, stop := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	defer flood.Wait()
	defer stop()
	one := from("127.0.0.2")
	for range flooders {
		flood.Go(func() {
			for ctx.Err() == nil {
				if conn, _, err := websocket.Dial(ctx, s.WSURL("/ws?user=flood"), one); err == nil {
					_ = conn.CloseNow()
				}
			}
		})
	}
	for end := time.Now().Add(time.Minute); sumOf(t, get(t, s.URL("/metrics")), "throng_admission_refused_total") == 0; {
		if time.Now().After(end) {
			t.Fatal("the queue is never full")
		}
	}
	for i := range others {
		before := sumOf(t, get(t, s.URL("/metrics")), `throng_handshakes_total{result="accepted"}`)
		conn, response, err := websocket.Dial(t.Context(), s.WSURL("/ws?user=ada"), from("127.0.0.3"))
		if err != nil {
			t.Fatalf("client %d: %v, %v", i, response, err)
		}
		_ = conn.CloseNow()
		if came := sumOf(t, get(t, s.URL("/metrics")), `throng_handshakes_total{result="accepted"}`) - before; came > places/2 {
			t.Errorf("client %d came after %.0f others", i, came)
		}
	}
}
