package netio

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/proto"
)

// TestPings: pings come again and again, and any bytes that come back keep the
// connection alive, be they a part of a frame.
func TestPings(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		s, _, _, p := openOne(t, Options{newPoller: open, PingInterval: 5 * minTick, PingTimeout: time.Hour})
		seen := func() uint32 {
			var at uint32
			s.core.slots.each(func(c *Conn) { at = c.seenTick().Load() })
			return at
		}
		last, frame := seen(), cf(text, strings.Repeat("a", 100))
		for i := range 20 {
			p.expect("89 ")
			eventually(func() bool { return s.core.clock.now() > last })
			p.send(string(frame[i : i+1]))
			if !eventually(func() bool { return seen() > last }) {
				t.Fatal("a byte did not count as a sign of life")
			}
			last = seen()
		}
		if v := s.metric("throng_pings_total"); v == "0" || v == "" {
			t.Errorf("the metric is %q", v)
		}
	})
}

// TestSilence: a connection that says nothing gets pings, then a close frame
// with the registry's code, and is gone.
func TestSilence(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		s, r, _, p := openOne(t, Options{newPoller: open, PingInterval: 20 * minTick})
		f := p.read()
		for f == "89 " {
			f = p.read()
		}
		if want := closing(proto.ErrSilent.Close) + proto.ErrSilent.Reason; f != want {
			t.Errorf("got %q, want %q", f, want)
		}
		p.expect("eof")
		if e := r.wait(t, "closed"); e.cause != CauseHeartbeat {
			t.Errorf("cause %v, want %v", e.cause, CauseHeartbeat)
		}
		if v := s.metric(`throng_closes_total{cause="heartbeat",code="4410"}`); v != "1" {
			t.Errorf("the metric is %q, want 1", v)
		}
	})
}

// TestFirstPingSpread: first pings fall all over the first interval's second half.
func TestFirstPingSpread(t *testing.T) {
	s := start(t, Options{PingInterval: 100 * time.Second, PingTimeout: time.Hour})
	seen := make(map[uint32]bool)
	for range 1000 {
		at := s.sweeper.firstPing() - s.core.clock.now()
		if at < 51 || at > 101 {
			t.Fatalf("a first ping comes after %d ticks of a second", at)
		}
		seen[at/10] = true
	}
	if len(seen) < 5 {
		t.Errorf("the first pings fall into %d tenths of the interval", len(seen))
	}
}

// TestDefaults: the intervals that are promised.
func TestDefaults(t *testing.T) {
	var o Options
	o.setDefaults()
	if o.PingInterval != 25*time.Second || o.PingTimeout != 50*time.Second {
		t.Errorf("pings each %v, silence until %v", o.PingInterval, o.PingTimeout)
	}
	o = Options{PingInterval: time.Minute}
	o.setDefaults()
	if o.PingTimeout != time.Minute {
		t.Errorf("silence until %v, want a minute at the most", o.PingTimeout)
	}
	if tick := tickFor(o.PingInterval, o.Limits.HandshakeTimeout); tick != time.Second {
		t.Errorf("the tick is %v", tick)
	}
}

// TestDeadline: Expired comes once, after the last deadline that was set.
func TestDeadline(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		r := newRecorder()
		r.open = func(c *Conn) { c.SetDeadline(time.Now()) }
		s := start(t, Options{newPoller: open, Handler: r, PingInterval: 5 * minTick, PingTimeout: time.Hour})
		s.dial(t)
		c := r.wait(t, "open").c
		if e := r.wait(t, "expired"); e.c != c {
			t.Error("another connection expired")
		}
		c.SetDeadline(time.Now().Add(time.Hour))
		c.SetDeadline(time.Time{})
		if due := c.dueTick().Load(); due != 0 {
			t.Errorf("the deadline that was taken back is %d", due)
		}
		c.SetDeadline(time.Now())
		r.wait(t, "expired")
		at := s.core.clock.now()
		if !eventually(func() bool { return s.core.clock.now() > at+3 }) || len(r.events) != 0 {
			t.Error("a deadline came twice")
		}
	})
}

// TestShutdown: everyone is told, what waits is flushed, handshakes and new
// connections end, and Serve returns.
func TestShutdown(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		r := newRecorder()
		s := start(t, Options{newPoller: open, Handler: r, HTTP: testPages()})
		const clients = 50
		var peers []*peer
		for range clients {
			p := s.dial(t)
			p.frame(text, "x")
			p.expect("81 x")
			c := r.wait(t, "open").c
			c.Deliver(small(7))
			peers = append(peers, p)
		}
		half := s.connect(t)
		half.send("GET /ws HTTP/1.1\r\n")
		kept := s.connect(t)
		kept.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		kept.answer()
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := s.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		for _, p := range peers {
			p.expect("81 000007", closing(1012)+proto.ErrShuttingDown.Reason)
			p.frame(closeF, "\x03\xf4")
			p.expect("eof")
			_ = p.Close()
		}
		for range clients {
			if e := r.wait(t, "closed"); e.cause != CauseShutdown {
				t.Errorf("cause %v, want %v", e.cause, CauseShutdown)
			}
		}
		_, _ = half.Close(), kept.Close()
		<-done
		if s.tryEcho() {
			t.Error("a connection was taken after Shutdown")
		}
	})
}

// TestShutdownCut: when the time is over, those that do not answer are cut off.
func TestShutdownCut(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		r := newRecorder()
		s := start(t, Options{newPoller: open, Handler: r})
		s.cut = true
		p := s.dial(t)
		c := r.wait(t, "open").c
		for i := 0; c.Deliver(small(i)); i++ {
		}
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
		e := <-r.events
		if e.what == "drained" {
			e = r.wait(t, "closed") // the kernel had taken more than at first
		}
		if e.what != "closed" || e.cause != CauseShutdown {
			t.Errorf("%s, cause %v, want closed, %v", e.what, e.cause, CauseShutdown)
		}
		_ = p.Close()
	})
}

// TestRefuse: connections live on, handshakes that were under way get 503.
func TestRefuse(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		s, _, _, p := openOne(t, Options{newPoller: open})
		late := s.connect(t)
		late.send("GET /ws")
		if !eventually(func() bool { return s.core.live.count() == 2 }) {
			t.Fatal("the second connection was not accepted")
		}
		s.Refuse()
		late.send(strings.TrimPrefix(upgradeRequest("/ws"), "GET /ws"))
		if head := late.answer(); !strings.HasPrefix(head, "HTTP/1.1 503 ") {
			t.Errorf("answer %q", head)
		}
		if s.tryEcho() {
			t.Error("a connection was taken after Refuse")
		}
		p.frame(text, "x")
		p.expect("81 x")
	})
}

// TestShutdownUnserved: a server that never served ends, too.
func TestShutdownUnserved(t *testing.T) {
	before := openDescriptors(t)
	s, err := Listen(Options{Listen: []string{"127.0.0.1:0"}, Handler: newRecorder(), Pollers: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Serve(); err != nil {
		t.Error(err)
	}
	noLeak(t, "descriptors", before, func() int { return openDescriptors(t) })
}

// TestPollerCheck: the self-test tells a poller that does not do its work.
func TestPollerCheck(t *testing.T) {
	for _, open := range []func() (poller, error){newNetpoll, newEpoll} {
		p, err := open()
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- p.Wait() }()
		if err := checkPoller(p); err != nil {
			t.Error(err)
		}
		if err := checkPoller(deaf{p}); err == nil || !strings.Contains(err.Error(), "step") {
			t.Errorf("a poller that watches nothing passes: %v", err)
		}
		if err := errors.Join(p.Close(), <-ended); err != nil {
			t.Error(err)
		}
	}
	if _, err := Listen(Options{
		Listen: []string{"127.0.0.1:0"}, Handler: newRecorder(),
		newPoller: func() (poller, error) { return nil, errors.New("no poller") },
	}); err == nil || err.Error() != "no poller" {
		t.Errorf("got %v", err)
	}
}
