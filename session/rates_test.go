package session

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/proto"
)

func rate(perSecond float64, burst int) proto.Rate {
	return proto.Rate{PerSecond: perSecond, Burst: burst}
}

func withRates(r Rates) func(*Options) { return func(o *Options) { o.Rates = r } }

// TestRates: each scope bounds each kind, says so once where a client does not
// ask by an id, and lets go on when the time has come.
func TestRates(t *testing.T) {
	for _, c := range []struct {
		name  string
		rates Rates
		frame string // %d is its number
		n     int    // of them pass
	}{
		{"frames of a connection", Rates{Connection: RateSet{Frames: rate(1, 3)}}, `{"type":"PING","id":"%d","timestamp":1}`, 3},
		{"bytes of a connection", Rates{Connection: RateSet{Bytes: rate(43, 86)}}, `{"type":"PING","id":"%d","timestamp":123456}`, 2},
		{"joins of a connection", Rates{Connection: RateSet{Joins: rate(1, 2)}}, `{"type":"join","id":"%d","room":"r"}`, 2},
		{"publishes of a connection", Rates{Connection: RateSet{Publishes: rate(1, 2)}}, `{"type":"message","id":"%d","to":"r","content":1}`, 2},
		{"publishes of a user", Rates{User: RateSet{Publishes: rate(1, 3)}}, `{"type":"message","id":"%d","to":"r%[1]d","content":1}`, 3},
		{"joins of an address", Rates{Address: RateSet{Joins: rate(1, 2)}}, `{"type":"join","id":"%d","room":"r%[1]d"}`, 2},
		{"publishes to a room", Rates{Room: RateSet{Publishes: rate(1, 2)}}, `{"type":"message","id":"%d","to":"r","content":1}`, 2},
		{"bytes to a room", Rates{Room: RateSet{Bytes: rate(52, 2*52)}}, `{"type":"message","id":"%d","to":"r","content":12345}`, 2},
	} {
		inFixture(t, withRates(c.rates), func(t *testing.T, f *fixture) {
			s, conn := f.open(Handshake{Authorization: "Bearer " + f.token("ana", time.Hour), Address: netip.MustParseAddr("192.0.2.7")})
			conn.await(t, "session")
			refused := func(i int) map[string]any {
				t.Helper()
				say(s, c.frame, i)
				synctest.Wait()
				answer := conn.frames[0]
				conn.frames = nil
				if answer["code"] == nil {
					return nil
				}
				if answer["code"] != "rate_limited" || answer["id"] != fmt.Sprint(i) || answer["retry"] != true {
					t.Fatalf("%s: %v", c.name, answer)
				}
				return answer
			}
			for i := range c.n {
				if answer := refused(i); answer != nil {
					t.Fatalf("%s: number %d is refused: %v", c.name, i, answer)
				}
			}
			answer := refused(8)
			if answer == nil {
				t.Fatalf("%s: number %d is not refused", c.name, c.n)
			}
			after := time.Duration(answer["retryAfter"].(float64)) * time.Millisecond
			if after <= 0 || after > 1001*time.Millisecond {
				t.Fatalf("%s: retry after %v", c.name, after)
			}
			time.Sleep(after - 10*time.Millisecond)
			if refused(9) == nil {
				t.Fatalf("%s: it goes on before %v", c.name, after)
			}
			time.Sleep(10 * time.Millisecond)
			if answer := refused(9); answer != nil {
				t.Fatalf("%s: after %v: %v", c.name, after, answer)
			}
		})
	}
}

func TestALaterRefusalTakesNothing(t *testing.T) {
	r := Rates{
		Connection: RateSet{Publishes: rate(1, 10)}, User: RateSet{Publishes: rate(1, 10)},
		Address: RateSet{Publishes: rate(1, 10)}, Room: RateSet{Publishes: rate(1, 2)},
	}
	inFixture(t, withRates(r), func(t *testing.T, f *fixture) {
		s, c := f.open(Handshake{Authorization: "Bearer " + f.token("ana", time.Hour), Address: netip.MustParseAddr("2001:db8::1")})
		c.await(t, "session")
		publish := func(room string) (code any) {
			say(s, `{"type":"message","id":"1","to":%q,"content":1}`, room)
			synctest.Wait()
			code = c.frames[0]["code"]
			c.frames = nil
			return code
		}
		for i := range 12 {
			if code := publish("r"); (code != nil) != (i >= 2) {
				t.Fatalf("number %d: %v", i, code)
			}
		}
		for i := range 8 { // what is left of ten
			if code := publish(fmt.Sprint("other", i)); code != nil {
				t.Fatalf("another room, number %d: %v", i, code)
			}
		}
		if code := publish("yet another"); code != "rate_limited" {
			t.Fatalf("beyond the connection's rate: %v", code)
		}
	})
}

func TestGoingOnClosesTheConnection(t *testing.T) {
	r := Rates{Connection: RateSet{Frames: rate(0.5, 1)}}
	inFixture(t, withRates(r), func(t *testing.T, f *fixture) {
		s, c := f.user("ana")
		ping := func() { say(s, `{"type":"PING","timestamp":1}`) }
		ping()
		c.await(t, "PONG")
		for range maxRefusals {
			ping()
		}
		c.refused(t, "", "rate_limited")
		if synctest.Wait(); len(c.frames) > 0 || c.closed != 0 {
			t.Fatalf("after one error came %v, closed %d", c.frames, c.closed)
		}
		time.Sleep(refusalWindow)
		ping() // a new window
		c.refused(t, "", "rate_limited")
		for range maxRefusals {
			ping()
		}
		c.refused(t, "", "flooding")
		if c.closed != 4429 {
			t.Errorf("closed with %d", c.closed)
		}
		ping()
		if synctest.Wait(); len(c.frames) > 0 {
			t.Errorf("answered %v", c.frames)
		}
	})
}

// TestFramesWithoutCommandsAreLimited: pings, pongs and fragments take of the same
// rate as commands, and those that go beyond it are not answered, but close.
func TestFramesWithoutCommandsAreLimited(t *testing.T) {
	r := Rates{Connection: RateSet{Frames: rate(1, 10)}}
	inFixture(t, withRates(r), func(t *testing.T, f *fixture) {
		s, c := f.user("ana")
		s.Frames(10)
		say(s, `{"type":"PING","timestamp":1}`)
		c.refused(t, "", "rate_limited")
		time.Sleep(10 * time.Second)
		say(s, `{"type":"PING","timestamp":1}`)
		c.await(t, "PONG")
		s.Frames(10) // nine are left
		s.Frames(maxRefusals - 10)
		if synctest.Wait(); len(c.frames) > 0 || c.closed != 0 {
			t.Fatalf("%d frames were answered with %v, closed %d", maxRefusals, c.frames, c.closed)
		}
		s.Frames(10)
		c.refused(t, "", "flooding")
		if c.closed != 4429 {
			t.Errorf("closed with %d", c.closed)
		}
		s.Frames(1000) // which nobody looks at any more
	})
}

// TestFramesOfOneReadArePaidOneByOne: where a read brings more frames than a rate
// has left, those that it has left are not refused with the others.
func TestFramesOfOneReadArePaidOneByOne(t *testing.T) {
	r := Rates{Connection: RateSet{Frames: rate(1, 100)}, User: RateSet{Frames: rate(1, 1000)}}
	inFixture(t, withRates(r), func(t *testing.T, f *fixture) {
		s, c := f.user("ana")
		s.Frames(60)
		s.Frames(40 + maxRefusals)
		if c.closed != 0 {
			t.Fatalf("closed with %d for %d frames beyond the rate", c.closed, maxRefusals)
		}
		if n := f.manager.limiter.refused[scopeConnection][Frames].Get(); n != maxRefusals {
			t.Errorf("%d frames were refused, want %d", n, maxRefusals)
		}
		if left, fits := f.manager.limiter.users.get("ana", 0)[Frames].full.Load(), newSpeed(rate(1, 1000)).span(100); left > fits {
			t.Errorf("the user has paid for %v, want %v", time.Duration(left), time.Duration(fits))
		}
		s.Frames(1)
		if c.closed != 4429 {
			t.Errorf("closed with %d", c.closed)
		}
	})
}

func TestHandshakesAreLimited(t *testing.T) {
	r := Rates{User: RateSet{Handshakes: rate(1, 2)}, Address: RateSet{Handshakes: rate(1, 3)}}
	inFixture(t, withRates(r), func(t *testing.T, f *fixture) {
		accept := func(address, token string) *proto.Error {
			_, _, err := f.manager.Accept(Handshake{Address: netip.MustParseAddr(address), Authorization: "Bearer " + token})
			return err
		}
		ana, bob, cyd := f.token("ana", time.Hour), f.token("bob", time.Hour), f.token("cyd", time.Hour)
		for i, step := range []struct {
			address, token string
			code           *proto.Code
		}{
			{"2001:db8::1", ana, nil},
			{"2001:db8::2", ana, nil},
			{"2001:db8::3", ana, proto.ErrRateLimited}, // of the user, and the address has it back
			{"2001:db8::4", "bad", proto.ErrInvalidToken},
			{"2001:db8::5", bob, proto.ErrRateLimited}, // of the /64: a bad token counts
			{"2001:db8:0:1::1", bob, nil},
			{"192.0.2.1", "bad", proto.ErrInvalidToken},
			{"::ffff:192.0.2.1", "bad", proto.ErrInvalidToken},
			{"192.0.2.1", cyd, nil},
			{"::ffff:192.0.2.1", cyd, proto.ErrRateLimited},
		} {
			err := accept(step.address, step.token)
			if (err == nil) != (step.code == nil) || err != nil && err.Code != step.code {
				t.Errorf("step %d: %v", i, err)
			}
			if err != nil && err.Code == proto.ErrRateLimited && err.RetryAfter != time.Second+time.Millisecond {
				t.Errorf("step %d: retry after %v", i, err.RetryAfter)
			}
		}
		c := Caller{Address: netip.MustParseAddr("198.51.100.1")}
		if err := f.manager.Limit(c, Handshakes, 3); err != nil {
			t.Error(err)
		}
		if err := f.manager.Limit(c, Handshakes, 1); err == nil {
			t.Error("REST is not limited")
		}
	})
}

func TestTablesAreBounded(t *testing.T) {
	const most = 64 * tableShards
	set := metrics.NewSet()
	table := newTable[string](scopeUser, most, set)
	s := newSpeed(rate(1, 10))
	used := func(name string, now int64, n int) {
		if wait := table.get(name, now)[Frames].take(now, s.span(n), s.burst); wait != 0 {
			t.Fatalf("%s waits for %d", name, wait)
		}
	}
	now := int64(0)
	for i := range 3 * most {
		now += int64(time.Millisecond) // each is full again soon after
		used(fmt.Sprint(i), now, 1)
	}
	if n := table.len(); n > most {
		t.Errorf("%d entries", n)
	}
	if n := table.forgotten.Get(); n > most/100 {
		t.Errorf("%d entries were forgotten that still counted, among many that did not", n)
	}
	for i := range 2 * most {
		used(fmt.Sprint("all at once", i), now, 10)
	}
	if n := table.len(); n > most {
		t.Errorf("%d entries", n)
	}
	if table.forgotten.Get() == 0 {
		t.Error("nothing was forgotten, or not counted")
	}
	var text strings.Builder
	set.WritePrometheus(&text)
	if !strings.Contains(text.String(), `throng_rate_entries{scope="user"} 4096`) {
		t.Error(text.String())
	}
}

func TestRatesThatAreOffCostNothing(t *testing.T) {
	inFixture(t, nil, func(t *testing.T, f *fixture) {
		s, _ := f.user("ana")
		cmd := &proto.Command{Type: proto.CmdMessage, Room: []byte("r")}
		if n := testing.AllocsPerRun(100, func() {
			if err := s.pay(cmd, 10); err != nil {
				t.Fatal(err)
			}
		}); n > 0 || s.rare.Load() != nil {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestRatesThatAreOnAllocateLittle(t *testing.T) {
	all := RateSet{Frames: rate(1e6, 1e6), Bytes: rate(1e6, 1e6), Publishes: rate(1e6, 1e6)}
	inFixture(t, withRates(Rates{Connection: all, User: all, Address: all}), func(t *testing.T, f *fixture) {
		s, c := f.user("ana")
		c.address = netip.MustParseAddr("2001:db8::1")
		cmd := &proto.Command{Type: proto.CmdMessage, Room: []byte("r")}
		if n := testing.AllocsPerRun(100, func() {
			if err := s.pay(cmd, 10); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func BenchmarkPay(b *testing.B) {
	all := RateSet{Frames: rate(1e9, 1e9), Bytes: rate(1e9, 1e9), Publishes: rate(1e9, 1e9)}
	for _, c := range []struct {
		name  string
		rates Rates
	}{
		{"off", Rates{}},
		{"connection", Rates{Connection: all}},
		{"all", Rates{Connection: all, User: all, Address: all, Room: all}},
	} {
		b.Run(c.name, func(b *testing.B) {
			m := NewManager(Options{Rates: c.rates})
			s := &Session{manager: m, conn: &conn{address: netip.MustParseAddr("2001:db8::1")}}
			cmd := &proto.Command{Type: proto.CmdMessage, Room: []byte("r")}
			b.ReportAllocs()
			for b.Loop() {
				if err := s.pay(cmd, 100); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
