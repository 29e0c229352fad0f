package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/thronghq/throng/internal/throngtest"
)

// TestSIGTERMDrains: clients are told with 1012, the probe says so first, what
// was acknowledged is on the disk, and the exit is clean.
func TestSIGTERMDrains(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--drain-timeout", "15s"}})
	const clients = 200
	var all []*throngtest.Client
	for i := range clients {
		c := throngtest.Dial(t, s.WSURL(fmt.Sprintf("/ws?user=u%d", i)), throngtest.DialOptions{})
		c.Send(map[string]any{"type": "join", "room": fmt.Sprint("r", i%7)})
		c.Await("joined")
		all = append(all, c)
	}
	for range 50 {
		all[0].Send(map[string]any{"type": "message", "to": "r0", "content": 1})
		all[0].Await("ack")
	}
	s.Signal(syscall.SIGTERM)
	var gone sync.WaitGroup
	for _, c := range all {
		gone.Go(func() { c.ExpectClose(1012) })
	}
	gone.Wait()
	if code := s.Wait(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	s.Restart()
	c := throngtest.Dial(t, s.WSURL("/ws?user=late"), throngtest.DialOptions{})
	c.Send(map[string]any{"type": "join", "room": "r0"})
	if f := c.Await("joined"); f["offset"] != json.Number("50") {
		t.Errorf("after the drain: %v", f)
	}
}

// TestAThousandClientsAtOnce: they all come, join the same room, talk, and go,
// in one moment; some of them misbehave. Nobody else notices.
func TestAThousandClientsAtOnce(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{})
	const clients, messages = 1000, 3
	watcher, err := dialLine(s, "watcher")
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.conn.CloseNow()
	if err := watcher.send(map[string]any{"type": "join", "room": "storm"}); err != nil {
		t.Fatal(err)
	}
	for f, err := watcher.next(); f.Type != "joined"; f, err = watcher.next() {
		if err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	start := make(chan struct{})
	slots := make(chan struct{}, 250) // this process's own descriptors and memory
	for i := range clients {
		all.Go(func() {
			<-start
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := oneOfAThousand(s, i, messages); err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	close(start)

	seen := make(map[utterance]bool)
	var last uint64
	wanted := messages * clients * 9 / 10
	for len(seen) < wanted {
		f, err := watcher.next()
		if err != nil {
			t.Fatalf("after %d messages: %v", len(seen), err)
		}
		if f.Type != "message" {
			continue
		}
		if f.Offset != last+1 || seen[f.Content] {
			t.Fatalf("offset %d after %d: %+v", f.Offset, last, f.Content)
		}
		last = f.Offset
		seen[f.Content] = true
	}
	all.Wait()
	response, err := http.Get(s.URL("/readyz"))
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("/readyz: %v, %v", response, err)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	if err := watcher.conn.CloseNow(); err != nil {
		t.Log(err)
	}
	s.Stop()
}

// oneOfAThousand joins the room, says its messages and goes; each tenth sends
// what no server should trip over instead.
func oneOfAThousand(s *throngtest.Server, i, messages int) error {
	l, err := dialLine(s, fmt.Sprint("c", i))
	if err != nil {
		return err
	}
	defer l.conn.CloseNow()
	if i%10 == 0 {
		for _, junk := range []any{"x", map[string]any{"type": 1}, map[string]any{"type": "join", "room": "\x00"}, nil} {
			if err := l.send(junk); err != nil {
				return nil // closed for it, which is right
			}
		}
		for err == nil {
			_, err = l.next()
		}
		return nil
	}
	if err := l.send(map[string]any{"type": "join", "room": "storm"}); err != nil {
		return err
	}
	for n := range messages {
		if err := l.send(map[string]any{"type": "message", "id": fmt.Sprint(n), "to": "storm", "content": utterance{i, n}}); err != nil {
			return err
		}
	}
	deadline := time.Now().Add(time.Minute)
	for acks := 0; acks < messages; {
		f, err := l.next()
		if err != nil {
			return err
		}
		switch {
		case f.Type == "ack":
			acks++
		case f.Type == "error":
			return fmt.Errorf("%+v", f)
		case time.Now().After(deadline):
			return fmt.Errorf("%d acks in a minute", acks)
		}
	}
	return nil
}
