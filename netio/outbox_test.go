package netio

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/gobwas/ws"

	"github.com/thronghq/throng/internal/budget"
	"github.com/thronghq/throng/proto"
)

// small is a frame that many fit of.
func small(i int) []byte { return AppendFrame(nil, ws.OpText, fmt.Appendf(nil, "%06d", i)) }

// openOne starts a server and opens one connection on it, seen from both ends.
func openOne(t *testing.T, o Options) (*testServer, *recorder, *Conn, *peer) {
	t.Helper()
	r, _ := o.Handler.(*recorder)
	if r == nil {
		r = newRecorder()
		o.Handler = r
	}
	s := start(t, o)
	p := s.dial(t)
	return s, r, r.wait(t, "open").c, p
}

// TestSlowReader: deliveries stop at the outbox's bound, replies and control
// frames do not, and what was taken arrives whole and in order, then Drained.
func TestSlowReader(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		limits := proto.DefaultLimits()
		limits.Outbox = 64 << 10
		s, r, c, p := openOne(t, Options{newPoller: open, Limits: limits})
		taken := 0
		if !c.Deliver(nil) {
			t.Error("Drained is said to come before a refusal")
		}
		for c.Deliver(small(taken)) {
			taken++
		}
		if c.Deliver(small(taken)) {
			t.Error("a second delivery past the bound was taken")
		}
		if c.Deliver(nil) {
			t.Error("Drained is not said to come after a refusal")
		}
		for i := range 100 {
			c.Reply(AppendFrame(nil, ws.OpBinary, fmt.Appendf(nil, "%d", i)))
		}
		for range 3 {
			c.sendPing() // of pings one waits at most
		}
		if got := s.core.memory.outboxes.Held(); got < int64(limits.Outbox) {
			t.Errorf("the outbox holds %d bytes, want %d at least", got, limits.Outbox)
		}

		var pings, deliveries, replies int
		for deliveries < taken || replies < 100 {
			switch f := p.read(); f[:2] {
			case "89":
				if deliveries == taken {
					t.Error("the ping came last")
				}
				pings++
			case "81":
				if f[3:] != fmt.Sprintf("%06d", deliveries) {
					t.Fatalf("delivery %d is %q", deliveries, f)
				}
				deliveries++
			case "82":
				if f[3:] != fmt.Sprint(replies) || deliveries != taken {
					t.Fatalf("reply %d is %q after %d deliveries", replies, f, deliveries)
				}
				replies++
			default:
				t.Fatalf("frame %q", f)
			}
		}
		if pings != 1 {
			t.Errorf("%d pings, want 1", pings)
		}
		r.wait(t, "drained")
		if !c.Deliver(nil) {
			t.Error("Drained is said to come after it has")
		}
		if !c.Deliver(small(0)) {
			t.Error("a delivery after Drained was refused")
		}
		p.expect("81 000000")
		if !eventually(func() bool { return s.core.memory.outboxes.Held() == 0 }) {
			t.Errorf("the outbox still holds %d bytes", s.core.memory.outboxes.Held())
		}
		if v := s.metric("throng_deliveries_refused_total"); v != "2" {
			t.Errorf("the metric says %s refused deliveries, want 2", v)
		}
	})
}

// TestSlowReaderPieces: pieces of every size, cut by the socket anywhere, keep
// their bytes and their order.
func TestSlowReaderPieces(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		limits := proto.DefaultLimits()
		limits.Outbox, limits.Replies = 64<<20, 64<<20
		_, _, c, p := openOne(t, Options{newPoller: open, Limits: limits})
		const frames = 400
		payload := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, i*i%70001) }
		for i := range frames {
			f := AppendFrame(nil, ws.OpBinary, payload(i))
			if i%3 == 0 {
				c.Reply(f)
				clear(f) // the frame is the caller's again
			} else if !c.Deliver(f) {
				t.Fatal("refused below the bound")
			}
			if i%50 == 0 {
				c.sendPing()
			}
		}
		for i := 0; i < frames; {
			f := p.read()
			if f == "89 " {
				continue
			}
			if f != "82 "+string(payload(i)) {
				t.Fatalf("frame %d is not as sent: %d bytes, starts %.20q", i, len(f), f)
			}
			i++
		}
	})
}

// TestRepliesBound: a connection whose replies pass their bound is closed and
// counted, and its memory is given back.
func TestRepliesBound(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		limits := proto.DefaultLimits()
		limits.Replies = 256 << 10
		r := newRecorder()
		r.upgrade = func(*Request) (Accept, *proto.Error) { return Accept{}, nil }
		s, _, c, p := openOne(t, Options{newPoller: open, Limits: limits, Handler: r})
		reply := AppendFrame(nil, ws.OpBinary, make([]byte, 1000))
		sent := 0
		for c.currentPhase() == phaseOpen {
			c.Reply(reply)
			sent++
		}
		if e := r.wait(t, "closed"); e.cause != CauseReplies {
			t.Errorf("cause %v, want %v", e.cause, CauseReplies)
		}
		c.Reply(reply)
		if !c.Deliver(reply) {
			t.Error("an ended connection refuses deliveries")
		}
		got := 0
		for {
			f := p.read()
			if strings.HasPrefix(f, closing(proto.ErrSlowConsumer.Close)) {
				break
			}
			if f != "82 "+string(reply[4:]) {
				t.Fatalf("got %.20q", f)
			}
			got++
		}
		if got >= sent {
			t.Errorf("all %d replies arrived", got)
		}
		p.expect("eof")
		if v := s.metric(`throng_closes_total{cause="replies",code="4409"}`); v != "1" {
			t.Errorf("the metric is %q, want 1", v)
		}
	})
}

// TestReadsPause: a client that sends and does not read is not read from any
// more, costs a bounded amount of memory, and gets every answer in the end.
func TestReadsPause(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		limits := proto.DefaultLimits()
		limits.Replies = 256 << 10
		r := newRecorder()
		r.upgrade = func(*Request) (Accept, *proto.Error) { return Accept{}, nil }
		s, _, c, p := openOne(t, Options{newPoller: open, Limits: limits, Handler: r})
		const messages = 3000
		payload := func(i int) string { return strings.Repeat(string(rune('a'+i%26)), 5000) }
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for i := range messages {
				if _, err := p.Write(cf(text, payload(i))); err != nil {
					t.Error(err)
					return
				}
			}
		}()
		paused := func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.watch == watchWrite
		}
		if !eventually(paused) {
			t.Fatal("reading was not paused")
		}
		if held := (*holder)(c).Held(); held > int64(limits.Replies) {
			t.Errorf("the connection holds %d bytes, above the bound of %d", held, limits.Replies)
		}
		select {
		case <-sent:
			t.Error("all was read from a client that does not read")
		default:
		}
		for i := range messages {
			if got := p.read(); got != "81 "+payload(i) {
				t.Fatalf("answer %d: got %.20q", i, got)
			}
		}
		<-sent
		if s.Connections() != 1 {
			t.Error("the connection is gone")
		}
	})
}

// TestPausedEnds: each way to end a connection works while reading is paused.
func TestPausedEnds(t *testing.T) {
	ends := map[string]func(c *Conn, p *peer){
		"peer":   func(_ *Conn, p *peer) { _ = p.Close() },
		"abort":  func(c *Conn, _ *peer) { c.Abort() },
		"silent": func(c *Conn, _ *peer) { c.silent() },
	}
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		limits := proto.DefaultLimits()
		limits.Replies = 128 << 10
		for name, end := range ends {
			t.Run(name, func(t *testing.T) {
				r := newRecorder()
				r.upgrade = func(*Request) (Accept, *proto.Error) { return Accept{}, nil }
				_, _, c, p := openOne(t, Options{newPoller: open, Limits: limits, Handler: r})
				done := make(chan struct{})
				go func() {
					defer close(done)
					for p.Conn != nil {
						if _, err := p.Write(cf(text, strings.Repeat("a", 5000))); err != nil {
							return
						}
					}
				}()
				if !eventually(func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.watch == watchWrite }) {
					t.Fatal("reading was not paused")
				}
				end(c, p)
				r.wait(t, "closed")
				_ = p.Close()
				<-done
			})
		}
	})
}

// TestBigEchoWhileWriting: a client that writes 4 MiB messages, and reads
// slowly at the same time, gets them all.
func TestBigEchoWhileWriting(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		r := newRecorder()
		r.upgrade = func(*Request) (Accept, *proto.Error) {
			return Accept{MaxMessage: 4 << 20, MaxReplies: 16 << 20}, nil
		}
		_, _, _, p := openOne(t, Options{newPoller: open, Handler: r})
		big := strings.Repeat("0123456789abcdef", 1<<18)
		go func() {
			for range 3 {
				if _, err := p.Write(cf(text, big)); err != nil {
					t.Error(err)
				}
			}
		}()
		for i := range 3 {
			if got := p.read(); got != "81 "+big {
				t.Fatalf("echo %d is not as sent: %d bytes", i, len(got))
			}
		}
	})
}

// TestMemoryBudget: past the budget, whoever holds most is ended, new
// connections are answered 503, and others live on.
func TestMemoryBudget(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		limits := proto.DefaultLimits()
		limits.Outbox, limits.Replies = 8<<20, 8<<20
		r, set, stop := newRecorder(), metrics.NewSet(), make(chan struct{})
		memory := budget.New(1<<20, set)
		var governor sync.WaitGroup
		governor.Go(func() { memory.Run(stop) })
		t.Cleanup(func() {
			close(stop)
			governor.Wait()
		})
		s := start(t, Options{newPoller: open, Handler: r, Limits: limits, Metrics: set, Memory: memory})
		modest, greedy := s.dial(t), (*peer)(nil)
		c := r.wait(t, "open").c
		reply := AppendFrame(nil, ws.OpBinary, make([]byte, 1000))
		for (*holder)(c).Held() < 100<<10 {
			c.Reply(reply)
		}
		greedy = s.dial(t)
		g := r.wait(t, "open").c
		for g.currentPhase() == phaseOpen {
			g.Reply(reply)
			runtime.Gosched()
		}
		if e := r.wait(t, "closed"); e.c != g || e.cause != CauseReplies {
			t.Errorf("closed for %v; was it the greedy one: %v", e.cause, e.c == g)
		}
		_ = greedy.Close()
		if !eventually(func() bool { return s.metric("throng_shed_total") == "1" }) { // counted once it is ended
			t.Errorf("the metric is %q, want 1", s.metric("throng_shed_total"))
		}
		modest.frame(text, "x")
		for f := modest.read(); f != "81 x"; f = modest.read() {
			if f != "82 "+string(reply[4:]) {
				t.Fatalf("got %.20q", f)
			}
		}

		s.core.memory.partials.Add(2 << 20) // as if others held it
		p := s.connect(t)
		p.send(upgradeRequest("/ws"))
		if head := p.answer(); !strings.HasPrefix(head, "HTTP/1.1 503 ") || !strings.Contains(head, "\r\nRetry-After: ") {
			t.Errorf("answer %q", head)
		}
		s.core.memory.partials.Add(-2 << 20)
		s.dial(t)
	})
}

// TestMemorySharedOnce: a frame that waits in many outboxes counts once.
func TestMemorySharedOnce(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		limits := proto.DefaultLimits()
		limits.Outbox = 4 << 20
		r := newRecorder()
		s := start(t, Options{newPoller: open, Handler: r, Limits: limits})
		frame := AppendFrame(nil, ws.OpBinary, make([]byte, 1<<20))
		var peers []*peer
		for range 10 {
			peers = append(peers, s.dial(t))
			c := r.wait(t, "open").c
			for range 2 {
				if !c.Deliver(frame) {
					t.Fatal("refused below the bound")
				}
			}
		}
		if got := s.core.memory.outboxes.Held(); got < 1<<20 || got > 1<<20+64<<10 {
			t.Errorf("the outboxes count %d bytes for one frame of a MiB", got)
		}
		for _, p := range peers {
			p.expect("82 "+string(frame[10:]), "82 "+string(frame[10:]))
		}
		if !eventually(func() bool { return s.core.memory.outboxes.Held() == 0 }) {
			t.Errorf("the outboxes still count %d bytes", s.core.memory.outboxes.Held())
		}
	})
}

// TestCloseFlushes: Close sends what waits first, then its frame, then waits
// for the peer's.
func TestCloseFlushes(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		_, r, c, p := openOne(t, Options{newPoller: open})
		taken := 0
		for c.Deliver(small(taken)) {
			taken++
		}
		long := strings.Repeat("ü", 100)
		c.Close(ws.StatusGoingAway, long)
		c.Close(ws.StatusNormalClosure, "too late")
		for i := range taken {
			p.expect(fmt.Sprintf("81 %06d", i))
		}
		if got, want := p.read(), closing(ws.StatusGoingAway)+long[:122]; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		p.frame(text, "ignored")
		p.frame(closeF, "\x03\xe9")
		p.expect("eof")
		if e := r.wait(t, "closed"); e.cause != CauseServer {
			t.Errorf("cause %v, want %v", e.cause, CauseServer)
		}
	})
}

// TestCloseUnanswered: a peer that does not answer a close frame is cut off.
func TestCloseUnanswered(t *testing.T) {
	_, r, c, p := openOne(t, Options{PingInterval: 5 * minTick, PingTimeout: time.Hour})
	c.Close(ws.StatusGoingAway, "")
	for f := p.read(); !strings.HasPrefix(f, closing(ws.StatusGoingAway)); f = p.read() {
		if f != "89 " {
			t.Fatalf("got %q", f)
		}
	}
	p.expect("eof")
	if e := r.wait(t, "closed"); e.cause != CauseServer {
		t.Errorf("cause %v, want %v", e.cause, CauseServer)
	}
}

// TestAfterEnd: whatever is called on a connection that has ended does nothing,
// and nothing to the connection that has its slot and descriptor now.
func TestAfterEnd(t *testing.T) {
	onPollers(t, func(t *testing.T, open func() (poller, error)) {
		s, r, c, p := openOne(t, Options{newPoller: open, Pollers: 1})
		_ = p.Close()
		if e := r.wait(t, "closed"); e.c != c || e.cause != CauseCut {
			t.Errorf("cause %v, want %v", e.cause, CauseCut)
		}
		if !eventually(func() bool { return s.core.live.count() == 0 }) {
			t.Fatal("the socket is still there")
		}
		q := s.dial(t)
		if d := r.wait(t, "open").c; d == c || d.slot != c.slot {
			t.Fatalf("the slots are %d and %d", c.slot, d.slot)
		}
		c.Reply(small(1))
		if !c.Deliver(small(2)) {
			t.Error("an ended connection refuses deliveries")
		}
		c.SetDeadline(time.Now().Add(-time.Hour))
		c.Close(1000, "")
		c.Abort()
		c.sendPing()
		c.silent()
		q.frame(text, "alone")
		q.expect("81 alone")
	})
}
