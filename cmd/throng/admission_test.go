package main

import (
	"context"
	"fmt"
	"io"
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

// TestUnfinishedHandshakesDoNotHoldUpAStorm: of all that come at once two thirds
// never finish their request. They cost no budget and are answered 408 when their
// time is up; the others get in.
func TestUnfinishedHandshakesDoNotHoldUpAStorm(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--net-admission=50/s burst 10", "--limits-handshake-timeout=3s"}})
	const unfinished, clients = 160, 80
	const half = "GET /ws?user=half HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
	var halves []net.Conn
	for range unfinished {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, half); err != nil {
			t.Fatal(err)
		}
		halves = append(halves, conn)
	}
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			conn, response, err := websocket.Dial(t.Context(), s.WSURL(fmt.Sprint("/ws?user=u", i)), nil)
			if err != nil {
				t.Errorf("client %d: %v, %v", i, response, err)
				return
			}
			t.Cleanup(func() { _ = conn.CloseNow() })
		})
	}
	all.Wait()
	for i, conn := range halves {
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
			t.Fatalf("half a handshake, the %dth: %q, %v", i, answer, err)
		}
	}
	metrics := get(t, s.URL("/metrics"))
	if held := sumOf(t, metrics, "throng_memory_bytes"); held != 0 {
		t.Errorf("%.0f bytes are still held", held)
	}
	if open := sumOf(t, metrics, "throng_connections"); open != clients {
		t.Errorf("%.0f of %d clients are connected", open, clients)
	}
}
