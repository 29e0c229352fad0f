package netio

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestPollersPark: a poller that has nothing to do waits as a goroutine, not in a
// system call that keeps a processor.
func TestPollersPark(t *testing.T) {
	p, err := newNetpoll()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Wait() }()
	for range 3 * parkedTurns { // through turns of netpoll's own loop, too
		if err := checkPoller(p); err != nil {
			t.Fatal(err)
		}
	}
	stacks := make([]byte, 1<<20)
	for give := time.Now().Add(patience); ; runtime.Gosched() {
		all := string(stacks[:runtime.Stack(stacks, true)])
		if waits(all) {
			break
		}
		if time.Now().After(give) {
			t.Fatalf("no poller is parked:\n%s", all)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// waits reports whether a goroutine of a poller waits for the runtime's poller.
func waits(stacks string) bool {
	for one := range strings.SplitSeq(stacks, "\n\n") {
		if strings.Contains(one, "(*parked).handler") && strings.Contains(one, "[IO wait") {
			return true
		}
	}
	return false
}
