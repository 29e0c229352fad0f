package netio

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/thronghq/throng/proto"
)

// TestUnfinished: a message that is begun and does not come to its end closes the
// connection with the registry's code, whatever else keeps it alive, and what was
// held of it is given back.
func TestUnfinished(t *testing.T) {
	begun := map[string]string{
		"a header":             "\x81",
		"a frame":              string(cf(0x81, "hello")[:8]),
		"a fragment":           string(cf(0x01, "hello")),
		"pings in a message":   string(frames(cf(0x01, "hello"), cf(ping, ""), cf(ping, ""))),
		"a ping":               string(cf(ping, "hello")[:5]),
		"a message and a half": string(frames(cf(text, "whole"), cf(0x01, "half"))),
	}
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		for name, send := range begun {
			limits := proto.DefaultLimits()
			limits.MessageTimeout = 10 * minTick
			s, r, _, p := openOne(t, Options{newPoller: open, Limits: limits, PingInterval: time.Hour})
			p.send(send)
			f := p.read()
			for strings.HasPrefix(f, "8a") || f == "81 whole" {
				f = p.read()
			}
			if want := closing(proto.ErrUnfinished.Close) + proto.ErrUnfinished.Reason; f != want {
				t.Errorf("%s: got %q, want %q", name, f, want)
			}
			p.expect("eof")
			if e := r.wait(t, "closed"); e.cause != CauseUnfinished {
				t.Errorf("%s: cause %v, want %v", name, e.cause, CauseUnfinished)
			}
			if n := s.core.memory.partials.Held(); n != 0 {
				t.Errorf("%s: %d bytes are held when it is told", name, n)
			}
			if v := s.metric(`throng_closes_total{cause="unfinished",code="4411"}`); v != "1" {
				t.Errorf("%s: the metric is %q, want 1", name, v)
			}
			_ = p.Close()
			if !eventually(func() bool { return s.metric(`throng_sockets`) == "0" }) {
				t.Errorf("%s: the connection goes on", name)
			}
		}
	})
}

// TestMessagesGainTime: what gives a message more time is 4 KiB of it, or its end,
// and nothing else.
func TestMessagesGainTime(t *testing.T) {
	limits := proto.DefaultLimits()
	limits.MessageTimeout = time.Hour
	s, _, c, p := openOne(t, Options{Limits: limits, PingInterval: 5 * minTick, PingTimeout: time.Hour})
	gain := func() uint32 { return c.gainTick().Load() }
	pinged := 0
	pingIt := func(before ...[]byte) {
		t.Helper()
		pinged++
		mark := strings.Repeat("x", pinged)
		p.send(string(frames(append(before, cf(ping, mark))...)))
		for f := p.read(); f != "8a "+mark; f = p.read() {
			if f != "89 " && f != "8a " && !strings.HasPrefix(f, "81 ") {
				t.Fatalf("got %.20q", f)
			}
		}
	}
	// after sends bytes in a later tick and returns the deadline: what a pong
	// shows to be read has set it by the time that the next pong comes.
	after := func(b ...[]byte) uint32 {
		t.Helper()
		at := s.core.clock.now()
		if !eventually(func() bool { return s.core.clock.now() > at }) {
			t.Fatal("the clock stands still")
		}
		pingIt(b...)
		pingIt()
		return gain()
	}
	if at := after(cf(text, "whole")); at != 0 {
		t.Errorf("after a whole message the deadline is %d", at)
	}
	first := after(cf(0x01, "begun"))
	if first == 0 {
		t.Fatal("a message that is begun has no deadline")
	}
	if at := after(cf(0x00, strings.Repeat("a", enoughGained/2))); at != first {
		t.Errorf("with too little more the deadline went from %d to %d", first, at)
	}
	if at := after(cf(ping, ""), cf(0x00, "")); at != first {
		t.Errorf("with nothing more the deadline went from %d to %d", first, at)
	}
	second := after(cf(0x00, strings.Repeat("a", enoughGained/2)))
	if second <= first {
		t.Errorf("with 4 KiB more the deadline is %d, and was %d", second, first)
	}
	third := after(cf(0x80, "end"), cf(0x01, "begun anew"))
	if third <= second {
		t.Errorf("for another message the deadline is %d, and was %d", third, second)
	}
	if at := after(cf(0x80, "end")); at != 0 {
		t.Errorf("after its end the deadline is %d", at)
	}
}

// heldLine is a line that keeps what is written to it.
type heldLine struct {
	net.Conn
	holds bool
	held  []byte
}

func (l *heldLine) Write(b []byte) (int, error) {
	if !l.holds {
		return l.Conn.Write(b)
	}
	l.held = append(l.held, b...)
	return len(b), nil
}

// TestRecordsGainTime: of a message that comes in a TLS record, what has come
// counts before the record is whole, and only once.
func TestRecordsGainTime(t *testing.T) {
	server, client := tlsSides(t)
	client.DynamicRecordSizingDisabled = true
	limits := proto.DefaultLimits()
	limits.MessageTimeout = time.Hour
	r := newRecorder()
	s := start(t, Options{TLS: server, Handler: r, Limits: limits, PingInterval: 5 * minTick, PingTimeout: time.Hour})
	p := s.connect(t)
	line := &heldLine{Conn: p.Conn}
	p.Conn = tls.Client(line, client)
	p.upgrade()
	c := r.wait(t, "open").c
	gain := func() uint32 { return c.gainTick().Load() }
	later := func() {
		t.Helper()
		if at := s.core.clock.now(); !eventually(func() bool { return s.core.clock.now() > at }) {
			t.Fatal("the clock stands still")
		}
	}
	write := func(b []byte) {
		t.Helper()
		if _, err := line.Conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	line.holds = true
	p.send(string(cf(0x01, "begun")))
	line.holds = false
	write(line.held[:1])
	if !eventually(func() bool { return gain() != 0 }) {
		t.Fatal("a record that is begun has no deadline")
	}
	begun := gain()
	later()
	write(line.held[1:])
	if !eventually(func() bool { return gain() > begun }) {
		t.Fatal("a message that is begun has no deadline of its own")
	}
	first := gain()
	line.holds, line.held = true, nil
	p.send(string(cf(0x00, strings.Repeat("a", enoughGained+1000))))
	line.holds = false
	later()
	most := enoughGained + 500
	write(line.held[:most])
	if !eventually(func() bool { return gain() > first }) {
		t.Errorf("with %d bytes more of a record the deadline is %d still", most, first)
	}
	second := gain()
	later()
	write(line.held[most:])
	for _, mark := range []string{"x", "xx"} { // the second is read when the deadline is set
		p.send(string(cf(ping, mark)))
		for f := p.read(); f != "8a "+mark; f = p.read() {
			if f != "89 " {
				t.Fatalf("got %.20q", f)
			}
		}
	}
	if at := gain(); at != second {
		t.Errorf("at the record's end the deadline went from %d to %d", second, at)
	}
}

// TestEmptyFragments: a message may have many that bring nothing, and not without
// end. The next one, which may be another connection's, begins at none.
func TestEmptyFragments(t *testing.T) {
	empty := cf(0x00, "")
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		_, r, _, p := openOne(t, Options{newPoller: open})
		for range 2 { // the count is the message's
			p.send(string(cf(0x01, "")) + strings.Repeat(string(empty), maxEmptyFragments-1) + string(cf(0x00, "x")) + string(cf(0x80, "")))
			p.expect("81 x")
		}
		p.send(string(cf(0x01, "")) + strings.Repeat(string(empty), maxEmptyFragments-1) + string(cf(0x80, "x")))
		p.expect("81 x")
		p.send(string(frames(cf(0x01, ""), cf(0x80, "next"))))
		p.expect("81 next")
		p.send(string(cf(0x01, "x")) + strings.Repeat(string(empty), maxEmptyFragments+1))
		p.expect(closing(ws.StatusPolicyViolation) + errFragments.reason)
		if e := r.wait(t, "closed"); e.cause != CauseProtocol {
			t.Errorf("cause %v, want %v", e.cause, CauseProtocol)
		}
	})
}

// TestShedInTheMiddle: a connection that is ended because of the memory budget,
// in the middle of a message, gives back what it held at once, and is ended once.
func TestShedInTheMiddle(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		s, r, c, p := openOne(t, Options{newPoller: open})
		p.send(string(cf(text, strings.Repeat("x", 64<<10))[:60<<10]))
		if !eventually(func() bool { return (*holder)(c).Held() >= 60<<10-8 }) {
			t.Fatalf("%d bytes are held", (*holder)(c).Held())
		}
		h := s.core.slots.holders(nil)[0]
		if !h.Shed() {
			t.Error("it was not ended")
		}
		if h.Shed() {
			t.Error("it was ended again")
		}
		p.expectClose(proto.ErrSlowConsumer.Close)
		if e := r.wait(t, "closed"); e.cause != CauseReplies {
			t.Errorf("cause %v, want %v", e.cause, CauseReplies)
		}
		if n := s.core.memory.partials.Held(); n != 0 {
			t.Errorf("%d bytes are held", n)
		}
	})
}
