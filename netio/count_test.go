package netio

import (
	"strings"
	"testing"
)

// counting is a Handler that is told of frames without messages.
type counting struct {
	*recorder
	counts chan int
}

func (h counting) Frames(_ *Conn, n int) { h.counts <- n }

// TestFramesAreCounted: control frames and fragments, whole or in pieces, are told
// to a handler that counts; messages and their last fragments are not.
func TestFramesAreCounted(t *testing.T) {
	part := cf(ping, "12345")
	tests := []struct {
		name string
		send []string
		want int
	}{
		{"a message", []string{string(cf(text, "x"))}, 0},
		{"pings and pongs", []string{string(frames(cf(ping, ""), cf(pong, "x"), cf(ping, "")))}, 3},
		{"a ping in pieces", []string{string(part[:3]), string(part[3:8]), string(part[8:])}, 1},
		{"fragments", []string{string(frames(cf(0x01, "a"), cf(0x00, ""), cf(0x00, strings.Repeat("b", 300)), cf(0x80, "c")))}, 3},
		{"pings in a message", []string{string(frames(cf(0x01, "a"), cf(ping, ""), cf(0x80, "c")))}, 2},
	}
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		h := counting{newRecorder(), make(chan int, 100)}
		s := start(t, Options{newPoller: open, Handler: h})
		for _, test := range tests {
			p := s.dial(t)
			h.wait(t, "open")
			for _, b := range test.send {
				p.send(b)
			}
			p.frame(text, "end")
			for f := p.read(); f != "81 end"; f = p.read() {
			}
			_ = p.Close()
			h.wait(t, "closed") // all of it has been told
			got := 0
			for len(h.counts) > 0 {
				got += <-h.counts
			}
			if got != test.want {
				t.Errorf("%s: %d frames were counted, want %d", test.name, got, test.want)
			}
		}
	})
}
